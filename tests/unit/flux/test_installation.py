from pathlib import Path
from typing import Any

import pytest

from threezone.clients.kubernetes.api import Api, Json
from threezone.cluster.lab import Lab
from threezone.core.errors import Declined, DeliveryError, UsageError
from threezone.core.plan import Plan, Step, StepKind
from threezone.core.settings import Settings
from threezone.flux import install as flux_install
from threezone.flux import installation as flux_installation
from threezone.flux import manifests
from threezone.flux.components import RELEASE_COMPONENTS, SOURCE_COMPONENTS, Component
from threezone.flux.installation import Installation, choose, installer, plan, read
from threezone.flux.manifests import Change

APPLY = {"manager": "threezone-flux", "operation": "Apply", "time": "2026-01-01T00:00:00Z"}
STATUS = {"manager": "kube-controller-manager", "operation": "Update", "subresource": "status", "time": "2026-03-01"}
CHANGED = (Change("change", "Deployment source-controller"),)


def deployment(
    *fields: dict[str, str],
    labels: dict[str, str] | None = None,
    namespace: str = "flux-system",
    name: str = "source-controller",
) -> Json:
    named = {"app.kubernetes.io/part-of": "flux", "app.kubernetes.io/version": "v2.7.3", **(labels or {})}
    return {
        "metadata": {"name": name, "namespace": namespace, "labels": named, "managedFields": [*fields, STATUS]},
        "spec": {"template": {"spec": {"containers": [{"image": "i"}]}}},
    }


def installation(
    version: str = "v2.7.3", installer: str = "threezone", namespace: str = "flux-system", **names: bool
) -> Installation:
    known = {name.replace("_", "-"): ready for name, ready in names.items()} or dict.fromkeys(SOURCE_COMPONENTS, True)
    return Installation(
        version, tuple(Component(n, "image", ready) for n, ready in known.items()), namespace, installer
    )


@pytest.mark.parametrize(
    ("item", "who"),
    [
        (deployment(APPLY), "threezone"),
        (deployment(APPLY, {"manager": "kubectl-scale", "operation": "Update", "time": "2026-02-01"}), "threezone"),
        (deployment({"manager": "flux", "operation": "Apply", "time": "2026-01-01"}), "flux"),
        (deployment(APPLY, {"manager": "flux", "operation": "Apply", "time": "2026-02-01T00:00:00Z"}), "flux"),
        (deployment({"manager": "flux", "operation": "Apply", "time": "2025-12-01T00:00:00Z"}, APPLY), "threezone"),
        (deployment({"manager": "kubectl-client-side-apply", "operation": "Update"}), "kubectl-client-side-apply"),
        (deployment(labels={"app.kubernetes.io/managed-by": "Helm"}), "Helm"),
        (deployment(APPLY, labels={"fluxcd.controlplane.io/name": "flux"}), "flux-operator (FluxInstance flux)"),
        (deployment({"manager": "somebody's-tool", "operation": "Update"}), "somebody's-tool"),
        (deployment(), "somebody"),
    ],
    ids=[
        "we did", "we did, somebody scaled it", "flux install", "flux install over ours", "ours over flux install",
        "kubectl apply", "Helm", "the operator", "a tool that updates", "nobody says",
    ],
)  # fmt: skip
def test_labels_and_field_managers_name_the_installer(item: Json, who: str) -> None:
    assert installer(item) == who


def test_a_bootstrapped_flux_is_not_ours_even_where_we_applied_over_it() -> None:
    labels = {"kustomize.toolkit.fluxcd.io/name": "flux-system", "kustomize.toolkit.fluxcd.io/namespace": "flux-system"}
    assert (
        installer(deployment(APPLY, labels=labels))
        == "flux bootstrap or GitOps (Kustomization flux-system/flux-system)"
    )


def test_one_component_of_somebody_else_makes_the_installation_theirs() -> None:
    (seen,) = read([deployment(APPLY), deployment({"manager": "flux", "operation": "Apply"}, name="helm-controller")])
    assert (seen.ours, seen.installer, seen.names) == (
        False,
        "flux",
        ("helm-controller", "source-controller"),
    )


def test_each_namespace_with_a_flux_is_one_installation() -> None:
    assert [each.namespace for each in read([deployment(APPLY, namespace="b"), deployment(APPLY, namespace="a")])] == [
        "a",
        "b",
    ]


def test_a_first_installation_asks_nothing() -> None:
    actions = plan(None, "flux-system", "v2.7.3", SOURCE_COMPONENTS, ()).steps
    assert [(action.kind, action.asks) for action in actions] == [
        (StepKind.INSTALL_FLUX, False),
        (StepKind.WAIT_FOR_FLUX, False),
    ]
    assert actions[0].sentence == "install Flux v2.7.3: source-controller, kustomize-controller, helm-controller"
    assert actions[0].command.endswith("--components=source-controller,kustomize-controller,helm-controller")


def test_no_change_is_an_empty_plan() -> None:
    assert plan(installation(), "flux-system", "v2.7.3", SOURCE_COMPONENTS, ()) == Plan()


def test_a_controller_that_does_not_serve_yet_is_only_waited_for() -> None:
    seen = installation(source_controller=True, kustomize_controller=False)
    assert [a.kind for a in plan(seen, "flux-system", "v2.7.3", ("source-controller",), ()).steps] == [
        StepKind.WAIT_FOR_FLUX
    ]


@pytest.mark.parametrize(
    ("seen", "sentence", "asks"),
    [
        (installation("v2.6.4"), "upgrade Flux from v2.6.4 to v2.7.3", False),
        (installation("v2.10.0"), "downgrade Flux from v2.10.0 to v2.7.3", True),
        (installation(), "put back what differs from Flux v2.7.3: Deployment source-controller", False),
        (installation(source_controller=True), "add kustomize-controller, helm-controller to Flux v2.7.3", False),
        (
            installation("v2.6.4", "Helm"),
            "replace Flux v2.6.4, installed by Helm (which may put its own back), by v2.7.3 of ours",
            True,
        ),
        (
            Installation("v2.6.4", (), "", "threezone"),
            f"install Flux v2.7.3 over the resource definitions left from v2.6.4: {', '.join(SOURCE_COMPONENTS)}",
            False,
        ),
        (Installation("v2.6.4", (), "", "flux"), "replace Flux v2.6.4, installed by flux, by v2.7.3 of ours", True),
    ],
    ids=["older", "newer", "changed by hand", "fewer components", "Helm's", "our leftovers", "leftovers of others"],
)
def test_the_existing_flux_decides_the_sentence_and_the_question(seen: Installation, sentence: str, asks: bool) -> None:
    action = plan(seen, "flux-system", "v2.7.3", SOURCE_COMPONENTS, CHANGED).steps[0]
    assert (action.kind, action.sentence, action.asks) == (StepKind.INSTALL_FLUX, sentence, asks)


def test_a_foreign_flux_that_is_as_wanted_is_left_alone_and_named() -> None:
    made = plan(installation(installer="Helm"), "flux-system", "v2.7.3", SOURCE_COMPONENTS, ())
    assert made.steps == ()
    assert "installed by Helm" in made.notices[0]


def test_no_second_flux_is_installed_beside_one_elsewhere() -> None:
    with pytest.raises(DeliveryError, match="runs in the namespace infra already"):
        plan(installation(namespace="infra"), "flux-system", "v2.7.3", SOURCE_COMPONENTS, CHANGED)


def test_a_component_outside_the_channel_stays_as_it_is_and_is_named() -> None:
    seen = installation("v2.6.4", source_controller=True, notification_controller=True)
    assert (
        "notification-controller stays at v2.6.4"
        in plan(seen, "flux-system", "v2.7.3", SOURCE_COMPONENTS, CHANGED).notices[0]
    )


def test_the_default_is_the_channels_components_and_later_those_that_run() -> None:
    assert choose((), "release", None) == RELEASE_COMPONENTS
    assert choose((), "source", None) == SOURCE_COMPONENTS
    two = installation(source_controller=True, kustomize_controller=True)
    assert choose((), "source", two) == ("source-controller", "kustomize-controller")


def test_a_flux_that_cannot_deliver_is_completed() -> None:
    assert choose((), "source", installation(source_controller=True)) == SOURCE_COMPONENTS


def test_components_are_added_to_those_that_run_and_never_taken_away() -> None:
    two = installation(source_controller=True, kustomize_controller=True)
    assert choose(("helm-controller",), "source", two) == SOURCE_COMPONENTS
    assert choose(("source-controller",), "release", two) == ("source-controller", "kustomize-controller")


def test_a_component_outside_the_channel_is_refused_with_the_available_ones() -> None:
    with pytest.raises(UsageError, match="source channel has no component notification-controller") as caught:
        choose(("notification-controller",), "source", None)
    assert caught.value.fix == "choose from source-controller, kustomize-controller, helm-controller"
    assert "notification-controller" in choose(("notification-controller",), "release", None)


def test_only_the_pinned_version_is_available() -> None:
    for same in ("", "2.7.3", "v2.7.3"):
        flux_installation.require_version(same, "2.7.3", "source")
    with pytest.raises(UsageError, match=r"Flux v2.8.0 is not available: the source channel has v2.7.3") as caught:
        flux_installation.require_version("v2.8.0", "2.7.3", "source")
    assert 'threezone.flux.version: "2.8.0"' in (caught.value.fix or "")


MANIFEST = """\
---
# Flux Version: v2.7.3
apiVersion: v1
kind: Namespace
metadata: {name: flux-system, labels: {app.kubernetes.io/version: v2.7.3}}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: source-controller, namespace: flux-system}
"""


class Server:
    """An API server of some objects, that remembers what was sent and answers a dry run with `applied`."""

    def __init__(self, objects: dict[str, Json], applied: dict[str, Json]) -> None:
        self.objects, self.applied, self.sent = objects, applied, list[tuple[str, str, Any]]()

    def get(self, path: str, **_query: Any) -> Json | None:
        return self.objects.get(path)

    apply = Api.apply  # the real one, by `send`

    def send(self, method: str, path: str, _body: Any = None, content: str = "", **query: Any) -> Json:  # noqa: ARG002
        self.sent.append((method, path, query))
        return self.applied[path]


NAMESPACE_PATH, DEPLOYMENT_PATH = (
    "/api/v1/namespaces/flux-system",
    "/apis/apps/v1/namespaces/flux-system/deployments/source-controller",
)


def at(replicas: int, version: str = "1", **meta: Any) -> Json:
    return {
        "metadata": {"name": "source-controller", "resourceVersion": version, **meta},
        "spec": {"replicas": replicas},
    }


@pytest.mark.parametrize(
    ("live", "applied", "expected"),
    [
        (at(1, "1", managedFields=[APPLY]), at(1, "2"), ()),
        (at(0), at(1), (Change("change", "Deployment source-controller"),)),
        (at(1, deletionTimestamp="now"), at(1), (Change("create", "Deployment source-controller"),)),
        (None, at(1), (Change("create", "Deployment source-controller"),)),
    ],
    ids=["equal", "different", "going", "absent"],
)
def test_a_change_is_what_the_api_server_would_make_of_an_apply(
    live: Json | None, applied: Json, expected: tuple[Change, ...]
) -> None:
    namespace: Json = {"metadata": {"name": "flux-system"}}
    there = {NAMESPACE_PATH: namespace} | ({DEPLOYMENT_PATH: live} if live else {})
    server: Any = Server(there, {NAMESPACE_PATH: namespace, DEPLOYMENT_PATH: applied})
    assert manifests.changes(server, manifests.parse(MANIFEST)) == expected
    assert all(query["dryRun"] == "All" and query["fieldManager"] == "threezone-flux" for _, _, query in server.sent)


def test_a_manifest_is_read_with_its_version_and_components() -> None:
    objects = manifests.parse(MANIFEST)
    assert [manifests.path(each) for each in objects] == [NAMESPACE_PATH, DEPLOYMENT_PATH]
    assert (manifests.version(objects), manifests.components(objects)) == ("v2.7.3", ("source-controller",))


def test_an_unknown_kind_in_a_manifest_is_refused_and_not_put_somewhere() -> None:
    with pytest.raises(DeliveryError, match="hold a Widget"):
        manifests.path({"kind": "Widget", "metadata": {"name": "x"}})


KUSTOMIZE = "kustomize-controller"
CONTROLLER = """\
apiVersion: apps/v1
kind: Deployment
metadata:
  labels:
    app.kubernetes.io/version: {version}
  name: {name}
  namespace: flux-system
spec:
  template:
    spec:
      containers:
      - args:
        - --log-level=info
        - --log-encoding=json
"""


def test_kustomize_controller_leaves_a_failing_revision_for_a_newer_one() -> None:
    both = "---\n".join(CONTROLLER.format(name=name, version="v2.7.3") for name in ("helm-controller", KUSTOMIZE))
    helm, kustomize = manifests.parse(manifests.with_short_waits(both))
    assert args(helm) == ["--log-level=info", "--log-encoding=json"]
    assert args(kustomize) == [
        "--log-level=info",
        "--feature-gates=CancelHealthCheckOnNewRevision=true",
        "--log-encoding=json",
    ]


@pytest.mark.parametrize("version", ["v2.6.4", "v2.8.0", "v2.8.1"])
def test_a_flux_without_the_gate_or_with_its_fault_gets_no_feature_gate(version: str) -> None:
    old = CONTROLLER.format(name=KUSTOMIZE, version=version)
    assert manifests.with_short_waits(old) == old


PROBE = """\
        readinessProbe:
          httpGet:
            path: /readyz
            port: healthz
        resources: {}
"""


def test_readiness_is_probed_every_second() -> None:
    manifest = CONTROLLER.format(name="source-controller", version="v2.7.3") + PROBE
    (made,) = manifests.parse(manifests.with_short_waits(manifest))
    (container,) = made["spec"]["template"]["spec"]["containers"]
    assert container["readinessProbe"] == {"periodSeconds": 1, "httpGet": {"path": "/readyz", "port": "healthz"}}
    assert container["resources"] == {}


def test_a_probe_period_in_the_manifest_is_kept() -> None:
    own = CONTROLLER.format(name="source-controller", version="v2.7.3") + PROBE.replace(
        "          httpGet:", "          periodSeconds: 5\n          httpGet:"
    )
    assert manifests.with_short_waits(own) == own


def args(deployment: Json) -> list[str]:
    found: list[str] = deployment["spec"]["template"]["spec"]["containers"][0]["args"]
    return found


@pytest.mark.parametrize("agreed", ["", "downgrade Flux from v2.9.5 to v2.7.3"])
def test_a_downgrade_is_declined_unless_that_very_step_was_agreed_to(
    agreed: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    step = Step(StepKind.INSTALL_FLUX, "downgrade Flux from v2.9.5 to v2.7.3", asks=True)
    done: list[object] = []
    monkeypatch.setattr(flux_install, "plan", lambda _: (Plan((step,)), []))
    monkeypatch.setattr(flux_install, "apply", lambda _lab, steps, *_: done.extend(steps))
    lab = Lab(Path("/project"), Settings(), "lab")
    if agreed:
        flux_install.install(lab, agreed=f"{agreed} (on docker-desktop)")
        assert done == [step]
        return
    for other in ("", "install Flux", "downgrade Flux from v2.8.8 to v2.7.3"):
        with pytest.raises(Declined):
            flux_install.install(lab, agreed=other)
    assert done == []
