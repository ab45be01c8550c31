import pytest
from tests.unit.flux.flux_objects import GIT, KINDS, KUSTOMIZATION, RELEASE, flux_object, status

from threezone.clients.kubernetes.api import Json
from threezone.core.errors import DeliveryError, UsageError
from threezone.flux import reconcile
from threezone.flux.components import Component
from threezone.flux.installation import Installation
from threezone.flux.objects import Kind
from threezone.flux.reconcile import select, sources_of

OBJECTS = (
    flux_object(GIT, status=status()),
    flux_object(KINDS["HelmChart"], "apps-web", spec={"sourceRef": {"kind": "GitRepository", "name": "lab"}}),
    flux_object(KUSTOMIZATION, spec={"sourceRef": {"kind": "GitRepository", "name": "lab"}}),
    flux_object(KUSTOMIZATION, "other", "apps", spec={"sourceRef": {"kind": "GitRepository", "name": "lab"}}),
    flux_object(
        RELEASE, "web", "apps",
        spec={"chart": {"spec": {"sourceRef": {"kind": "GitRepository", "name": "lab", "namespace": "flux-system"}}}},
        status={"helmChart": "flux-system/apps-web"},
    ),
)  # fmt: skip


@pytest.mark.parametrize("spelling", ["kustomization/lab", "Kustomization/lab", "ks/lab", "kustomizations/lab"])
def test_a_kind_may_be_spelled_as_kubectl_has_it(spelling: str) -> None:
    assert select(OBJECTS, tuple(KINDS.values()), [spelling], "flux-system") == (OBJECTS[2],)


def test_selected_objects_come_once_and_sources_first() -> None:
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
def test_a_missing_object_is_refused_with_the_existing_ones(spelling: str, sentence: str, fix: str) -> None:
    with pytest.raises(UsageError, match=sentence) as caught:
        select(OBJECTS, tuple(KINDS.values()), [spelling], "flux-system")
    assert fix in caught.value.fix


def test_the_sources_of_an_object_include_the_chart_between() -> None:
    assert sources_of(OBJECTS, OBJECTS[2]) == (OBJECTS[0],)
    assert sources_of(OBJECTS, OBJECTS[3]) == (), "a source of the same name in another namespace is not its own"
    assert sources_of(OBJECTS, OBJECTS[4]) == (OBJECTS[0], OBJECTS[1])
    by_chart = flux_object(RELEASE, spec={"chartRef": {"kind": "HelmChart", "name": "apps-web"}})
    assert sources_of(OBJECTS, by_chart) == (OBJECTS[0], OBJECTS[1])


KEY = "flux-system/lab"


def judged(kind: Kind, item: Json) -> list[str]:
    return reconcile.missing({kind.path: {KEY: flux_object(kind, status=item).item}}, kind, [KEY], "now")


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
def test_an_unanswered_or_passing_state_is_waited_for(waiting: Json) -> None:
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


def test_a_controller_that_does_not_serve_is_refused() -> None:
    names = {"source-controller": True, "kustomize-controller": False}
    seen = Installation("v2.7.3", tuple(Component(n, "i", r) for n, r in names.items()), "flux-system", "threezone")
    reconcile.require_controllers(seen, [GIT])
    with pytest.raises(DeliveryError, match="kustomize-controller does not serve"):
        reconcile.require_controllers(seen, [GIT, KUSTOMIZATION])
    with pytest.raises(DeliveryError, match="helm-controller does not serve"):
        reconcile.require_controllers(seen, [RELEASE])
    with pytest.raises(DeliveryError, match="not installed"):
        reconcile.require_controllers(None, [])
