from datetime import UTC, datetime
from typing import Any

import pytest

from threezone.clients.kubernetes.api import Json
from threezone.core.errors import DeliveryError, UsageError
from threezone.flux import objects, reconcile
from threezone.flux import status as flux_status
from threezone.flux.components import Component
from threezone.flux.installation import Installation
from threezone.flux.objects import Entry, FluxObject, Kind, kinds
from threezone.flux.reconcile import select, sources_of
from threezone.flux.status import State, state

RESOURCES: list[Json] = [
    {
        "groupVersion": "kustomize.toolkit.fluxcd.io/v1",
        "resources": [
            {"name": "kustomizations", "singularName": "kustomization", "kind": "Kustomization", "namespaced": True}
            | {"shortNames": ["ks"]},
            {"name": "kustomizations/status", "singularName": "", "kind": "Kustomization", "namespaced": True},
        ],
    },
    {
        "groupVersion": "source.toolkit.fluxcd.io/v1",
        "resources": [
            {"name": "gitrepositories", "singularName": "gitrepository", "kind": "GitRepository", "namespaced": True},
            {
                "name": "helmrepositories",
                "singularName": "helmrepository",
                "kind": "HelmRepository",
                "namespaced": True,
            },
            {"name": "helmcharts", "singularName": "helmchart", "kind": "HelmChart", "namespaced": True},
        ],
    },
    {
        "groupVersion": "source.toolkit.fluxcd.io/v1beta2",
        "resources": [{"name": "gitrepositories", "singularName": "", "kind": "GitRepository", "namespaced": True}],
    },
    {
        "groupVersion": "helm.toolkit.fluxcd.io/v2",
        "resources": [{"name": "helmreleases", "kind": "HelmRelease", "namespaced": True, "shortNames": ["hr"]}],
    },
    {
        "groupVersion": "notification.toolkit.fluxcd.io/v1",
        "resources": [{"name": "receivers", "kind": "Receiver", "namespaced": True}],
    },
    {
        "groupVersion": "notification.toolkit.fluxcd.io/v1beta3",
        "resources": [{"name": "alerts", "kind": "Alert", "namespaced": True}],
    },
]
KINDS = {each.kind: each for each in kinds(RESOURCES)}
KUSTOMIZATION, RELEASE, GIT = KINDS["Kustomization"], KINDS["HelmRelease"], KINDS["GitRepository"]


def found(kind: Kind, name: str = "lab", namespace: str = "flux-system", **parts: Any) -> FluxObject:
    meta = {"name": name, "namespace": namespace, "generation": 2, **parts.pop("metadata", {})}
    return FluxObject(kind, {"metadata": meta, "spec": parts.get("spec", {}), "status": parts.get("status", {})})


def status(ready: str = "True", reason: str = "", message: str = "", *, observed: int = 2, handled: str = "") -> Json:
    condition = {"type": "Ready", "status": ready, "reason": reason, "message": message}
    return {
        "observedGeneration": observed,
        "lastHandledReconcileAt": handled,
        "conditions": [{**condition, "lastTransitionTime": "2026-01-01T00:00:00Z"}],
    }


def test_every_kind_is_known_once_in_its_best_version_and_sources_come_first() -> None:
    order = ["GitRepository", "HelmRepository", "HelmChart", "Kustomization", "HelmRelease", "Alert", "Receiver"]
    assert [each.kind for each in kinds(RESOURCES)] == order
    assert GIT.path == "/apis/source.toolkit.fluxcd.io/v1/gitrepositories"
    assert GIT.of("a", "b") == "/apis/source.toolkit.fluxcd.io/v1/namespaces/a/gitrepositories/b"
    assert KINDS["Alert"].version == "v1beta3"


def test_each_kind_knows_its_controller() -> None:
    controllers = [KINDS[kind].controller for kind in ("GitRepository", "Kustomization", "HelmRelease", "Alert")]
    assert controllers == ["source-controller", "kustomize-controller", "helm-controller", "notification-controller"]
    image = Kind("ImagePolicy", "image.toolkit.fluxcd.io", "v1", "imagepolicies", frozenset())
    assert image.controller == "image-reflector-controller"


def test_an_object_is_told_with_its_revision_and_fluxs_words() -> None:
    seen = state(found(KUSTOMIZATION, status=status(message="Applied") | {"lastAppliedRevision": "main@sha1:1"}))
    assert (seen.ready, seen.revision, seen.message, seen.failing) == (True, "main@sha1:1", "Applied", False)
    assert state(found(GIT, status=status() | {"artifact": {"revision": "main@sha1:2"}})).revision == "main@sha1:2"
    released = found(RELEASE, status=status() | {"history": [{"chartVersion": "0.2.0"}, {"chartVersion": "0.1.0"}]})
    assert state(released).revision == "0.2.0"


@pytest.mark.parametrize(
    "unready",
    [status("False"), status("Unknown"), status(observed=1), {}],
    ids=["failed", "under way", "said of an older spec", "never looked at"],
)
def test_what_is_not_ready_now_is_not_ready(unready: Json) -> None:
    seen = state(found(KUSTOMIZATION, status=unready))
    assert (seen.ready, seen.failing) == (False, True)
    assert not state(found(KUSTOMIZATION, spec={"suspend": True}, status=unready)).failing


def test_what_nothing_reconciles_has_no_readiness() -> None:
    assert state(found(KINDS["Alert"])).ready is None
    assert state(found(KINDS["HelmRepository"], spec={"type": "oci"})).ready is None
    assert state(found(KINDS["HelmRepository"])).ready is False


def test_the_first_failing_object_ends_with_fluxs_reason_and_every_message() -> None:
    states = [
        state(found(GIT, status=status())),
        state(found(KUSTOMIZATION, status=status("False", "BuildFailed", "no such file"))),
        state(found(RELEASE, status=status("False", "InstallFailed", "timed out"))),
    ]
    with pytest.raises(
        DeliveryError, match=r"Kustomization flux-system/lab is not ready: BuildFailed, and 1 more"
    ) as caught:
        flux_status.require(states)
    assert "no such file" in caught.value.evidence
    assert "timed out" in caught.value.evidence
    assert "--object kustomization/lab" in caught.value.fix


def test_all_ready_or_suspended_is_well() -> None:
    flux_status.require([state(found(GIT, status=status())), state(found(RELEASE, spec={"suspend": True}))])


@pytest.mark.parametrize(
    ("since", "shown"),
    [
        ("2026-01-02T00:00:00Z", "0s"),
        ("2026-01-01T23:59:15Z", "45s"),
        ("2026-01-01T23:45:01Z", "14m"),
        ("2026-01-01T23:00:00Z", "1h"),
        ("2025-12-30T23:00:00Z", "2d"),
        ("2026-01-02T00:00:09Z", "0s"),
        ("", ""),
    ],
)
def test_an_age_is_told_as_kubectl_tells_it(since: str, shown: str) -> None:
    assert flux_status.age(since, datetime(2026, 1, 2, tzinfo=UTC)) == shown


def test_a_table_row_is_one_line_with_a_short_hash() -> None:
    one = State("Kustomization", "a", "b", False, False, "main@sha1:0123456789", "", "first\nsecond", "")
    assert flux_status.rows([one])[1] == ["Kustomization", "a/b", "no", "main@sha1:0123456", "", "first second"]


OBJECTS = (
    found(GIT, status=status()),
    found(KINDS["HelmChart"], "apps-web", spec={"sourceRef": {"kind": "GitRepository", "name": "lab"}}),
    found(KUSTOMIZATION, spec={"sourceRef": {"kind": "GitRepository", "name": "lab"}}),
    found(KUSTOMIZATION, "other", "apps", spec={"sourceRef": {"kind": "GitRepository", "name": "lab"}}),
    found(
        RELEASE, "web", "apps",
        spec={"chart": {"spec": {"sourceRef": {"kind": "GitRepository", "name": "lab", "namespace": "flux-system"}}}},
        status={"helmChart": "flux-system/apps-web"},
    ),
)  # fmt: skip


@pytest.mark.parametrize("spelling", ["kustomization/lab", "Kustomization/lab", "ks/lab", "kustomizations/lab"])
def test_a_kind_may_be_spelled_as_kubectl_has_it(spelling: str) -> None:
    assert select(OBJECTS, tuple(KINDS.values()), [spelling], "flux-system") == (OBJECTS[2],)


def test_what_is_asked_for_comes_once_and_sources_first() -> None:
    asked = ["ks/lab", "gitrepository/lab", "ks/lab"]
    assert select(OBJECTS, tuple(KINDS.values()), asked, "flux-system") == (OBJECTS[0], OBJECTS[2])


@pytest.mark.parametrize(
    ("spelling", "sentence", "fix"),
    [
        ("lab", "'lab' names no object", "KIND/NAME"),
        ("deployment/lab", "Flux serves no kind 'deployment' here", "kustomization"),
        ("ks/nothing", "there is no Kustomization flux-system/nothing", "flux.status"),
        ("ks/other", "there is no Kustomization flux-system/other", "--namespace apps"),
    ],
)
def test_an_object_that_is_not_there_is_refused_with_what_is(spelling: str, sentence: str, fix: str) -> None:
    with pytest.raises(UsageError, match=sentence) as caught:
        select(OBJECTS, tuple(KINDS.values()), [spelling], "flux-system")
    assert fix in caught.value.fix


def test_an_object_reads_from_its_source_and_a_release_through_its_chart() -> None:
    assert sources_of(OBJECTS, OBJECTS[2]) == (OBJECTS[0],)
    assert sources_of(OBJECTS, OBJECTS[3]) == (), "a source of the same name in another namespace is not its own"
    assert sources_of(OBJECTS, OBJECTS[4]) == (OBJECTS[0], OBJECTS[1])
    by_chart = found(RELEASE, spec={"chartRef": {"kind": "HelmChart", "name": "apps-web"}})
    assert sources_of(OBJECTS, by_chart) == (OBJECTS[0], OBJECTS[1])


KEY = "flux-system/lab"


def judged(kind: Kind, item: Json) -> list[str]:
    return reconcile.missing({kind.path: {KEY: found(kind, status=item).item}}, kind, [KEY], "now")


def test_a_handled_and_ready_request_is_done() -> None:
    assert judged(KUSTOMIZATION, status(handled="now")) == []


@pytest.mark.parametrize(
    "waiting",
    [
        status(handled="before"),
        status("False", "BuildFailed", "old words", handled="before"),
        status("Unknown", "Progressing", handled="now"),
        status("False", "DependencyNotReady", "dependency not ready", handled="now"),
        status("False", "ArtifactFailed", "Source artifact not found, retrying in 30s", handled="now"),
        status(handled="now", observed=1),
    ],
    ids=["not handled", "an older failure", "under way", "a dependency", "a source on its way", "an older spec"],
)
def test_what_may_still_come_is_waited_for(waiting: Json) -> None:
    (line,) = judged(KUSTOMIZATION, waiting)
    assert line.startswith("Kustomization flux-system/lab to be")


def test_a_failure_that_answers_our_request_ends_the_wait_with_fluxs_words() -> None:
    with pytest.raises(DeliveryError, match="Kustomization flux-system/lab failed: BuildFailed") as caught:
        judged(KUSTOMIZATION, status("False", "BuildFailed", "no such file", handled="now"))
    assert caught.value.evidence == "flux-system/lab: no such file"


def test_a_missing_artifact_ends_the_wait_of_a_kustomization_and_not_of_a_release() -> None:
    gone = status("False", "ArtifactFailed", 'GitRepository "x" not found', handled="now")
    with pytest.raises(DeliveryError, match="ArtifactFailed"):
        judged(KUSTOMIZATION, gone)
    assert judged(RELEASE, gone)


def test_an_object_that_is_deleted_meanwhile_is_not_waited_for() -> None:
    with pytest.raises(DeliveryError, match="was deleted meanwhile"):
        reconcile.missing({KUSTOMIZATION.path: {}}, KUSTOMIZATION, [KEY], "now")


def test_nobody_is_asked_who_does_not_serve() -> None:
    names = {"source-controller": True, "kustomize-controller": False}
    seen = Installation("v2.7.3", tuple(Component(n, "i", r) for n, r in names.items()), "flux-system", "threezone")
    reconcile.require_controllers(seen, [GIT])
    with pytest.raises(DeliveryError, match="kustomize-controller does not serve"):
        reconcile.require_controllers(seen, [GIT, KUSTOMIZATION])
    with pytest.raises(DeliveryError, match="helm-controller does not serve"):
        reconcile.require_controllers(seen, [RELEASE])
    with pytest.raises(DeliveryError, match="not installed"):
        reconcile.require_controllers(None, [])


def test_an_inventory_is_read_as_cli_utils_writes_it() -> None:
    entries = [
        {"id": "shop_web_apps_Deployment", "v": "v1"},
        {"id": "_shop__Namespace", "v": "v1"},
        {"id": "_system__controller__web_rbac.authorization.k8s.io_ClusterRole", "v": "v1"},
    ]
    items = objects.inventory({"status": {"inventory": {"entries": entries}}})
    assert [str(item) for item in items] == [
        "Deployment shop/web",
        "Namespace shop",
        "ClusterRole system:controller:web",
    ]
    assert items[0] == Entry("Deployment", "apps", "v1", "shop", "web")
    assert objects.inventory({"status": {}}) == ()


def test_what_is_still_there_is_told_with_what_holds_it() -> None:
    item: Json = {"metadata": {"name": "lab", "finalizers": ["finalizers.fluxcd.io"]}}
    namespace: Json = {"metadata": {"name": "gone"}, "spec": {"finalizers": ["kubernetes"]}}
    world = {"/apis/k/kustomizations": {"a/lab": item, "a/other": item}, "/api/v1/namespaces": {"/gone": namespace}}
    wanted = {"/apis/k/kustomizations": {"a/lab", "a/past"}, "/api/v1/namespaces": {"/gone"}}
    assert objects.remaining(world, wanted) == [
        "kustomizations a/lab to be gone (held by finalizers.fluxcd.io)",
        "namespaces gone to be gone (held by kubernetes)",
    ]


class Server:
    """An API server with one object, which notes the patches."""

    def __init__(self, *finalizers: str) -> None:
        self.finalizers, self.merged = finalizers, list[Json]()

    def get(self, _path: str) -> Json | None:
        return {"metadata": {"finalizers": list(self.finalizers)}} if self.finalizers else None

    def merge(self, _path: str, change: Json) -> None:
        self.merged.append(change)


@pytest.mark.parametrize(
    ("finalizers", "kept"),
    [
        (("finalizers.fluxcd.io",), [None]),
        (("finalizers.fluxcd.io", "example.org/backup"), [["example.org/backup"]]),
        (("example.org/backup",), []),
        ((), []),
    ],
    ids=["Flux's alone", "others stay", "none of Flux", "the object is missing"],
)
def test_only_the_finalizers_of_flux_are_removed(finalizers: tuple[str, ...], kept: list[Any]) -> None:
    api: Any = Server(*finalizers)
    assert objects.release(api, "/path") is bool(kept)
    assert [change["metadata"]["finalizers"] for change in api.merged] == kept
