from typing import Any

import pytest

from threezone.clients.kubernetes.api import Json
from threezone.core.errors import DeliveryError
from threezone.core.plan import Plan, StepKind
from threezone.flux import uninstall
from threezone.flux.components import Component
from threezone.flux.installation import Installation
from threezone.flux.objects import FluxObject, Kind
from threezone.flux.uninstall import FluxState, Part, plan, prunes

KUSTOMIZATION = Kind("Kustomization", "kustomize.toolkit.fluxcd.io", "v1", "kustomizations", frozenset())
RELEASE = Kind("HelmRelease", "helm.toolkit.fluxcd.io", "v2", "helmreleases", frozenset())
GIT = Kind("GitRepository", "source.toolkit.fluxcd.io", "v1", "gitrepositories", frozenset())
DECLARED = [{"manager": "threezone", "operation": "Apply"}]
PARTS = (Part("Deployment", "source-controller", "/d"), Part("CustomResourceDefinition", "x", "/c"))
LABELS = {"app.kubernetes.io/part-of": "flux"}


def found(
    kind: Kind, name: str = "lab", *, applied: tuple[str, ...] = (), ours: bool = True, **spec: Any
) -> FluxObject:
    meta = {
        "name": name,
        "namespace": "flux-system",
        "finalizers": ["finalizers.fluxcd.io"],
        "managedFields": DECLARED if ours else [{"manager": "kubectl", "operation": "Apply"}],
    }
    entries = [{"id": each, "v": "v1"} for each in applied]
    return FluxObject(kind, {"metadata": meta, "spec": spec, "status": {"inventory": {"entries": entries}}})


def installation(installer: str = "threezone", **ready: bool) -> Installation:
    known = {"source": True, "kustomize": True, "helm": True} | ready
    components = tuple(Component(f"{name}-controller", "i", each) for name, each in known.items())
    return Installation("v2.7.3", components, "flux-system", installer)


def seen(*objects: FluxObject, installer: str = "threezone", **more: Any) -> FluxState:
    ready = {key: more.pop(key) for key in ("source", "kustomize", "helm") if key in more}
    namespace: Json = {"metadata": {"name": "flux-system", "labels": LABELS}}
    return FluxState(installation(installer, **ready), objects, PARTS, more.pop("namespace", namespace), **more)


def keys(made: Plan) -> list[tuple[StepKind, bool]]:
    return [(action.kind, action.asks) for action in made.steps]


LAB = (found(GIT), found(KUSTOMIZATION, prune=True, applied=("hello_hello_apps_Deployment", "_hello__Namespace")))


def test_our_own_flux_goes_without_a_question_and_workloads_stay() -> None:
    made = plan(seen(*LAB), prune=False, keep_namespace=False)
    assert keys(made) == [
        (StepKind.SUSPEND_OBJECTS, False),
        (StepKind.DELETE_OBJECTS, False),
        (StepKind.DELETE_COMPONENTS, False),
        (StepKind.DELETE_NAMESPACE, False),
    ]
    assert made.steps[0].sentence == "suspend Kustomization flux-system/lab: what it applied stays"
    assert made.notices == ()


def test_pruning_asks_and_names_what_goes() -> None:
    made = plan(seen(*LAB), prune=True, keep_namespace=False)
    assert keys(made) == [
        (StepKind.DELETE_OBJECTS, True),
        (StepKind.DELETE_COMPONENTS, False),
        (StepKind.DELETE_NAMESPACE, False),
    ]
    assert "Deployment hello/hello, Namespace hello" in made.steps[0].sentence


def test_objects_that_others_declared_are_asked_about_and_those_that_flux_made_are_not() -> None:
    chart = found(Kind("HelmChart", "source.toolkit.fluxcd.io", "v1", "helmcharts", frozenset()), ours=False)
    committed = found(RELEASE, ours=False)
    committed.item["metadata"]["labels"] = {"kustomize.toolkit.fluxcd.io/name": "lab"}
    assert (StepKind.DELETE_OBJECTS, False) in keys(
        plan(seen(*LAB, chart, committed), prune=False, keep_namespace=False)
    )
    assert (StepKind.DELETE_OBJECTS, True) in keys(
        plan(seen(*LAB, found(RELEASE, ours=False)), prune=False, keep_namespace=False)
    )


def test_removing_a_flux_of_others_asks_with_its_installer() -> None:
    made = plan(seen(installer="Helm"), prune=False, keep_namespace=True)
    assert keys(made) == [(StepKind.DELETE_COMPONENTS, True)]
    assert "installed by Helm" in made.steps[0].sentence


def test_suspended_objects_are_not_suspended_again() -> None:
    made = plan(seen(found(KUSTOMIZATION, prune=True, suspend=True)), prune=False, keep_namespace=True)
    assert keys(made) == [(StepKind.DELETE_OBJECTS, False), (StepKind.DELETE_COMPONENTS, False)]


def test_a_controller_that_is_down_is_named_and_its_finalizers_are_taken_off() -> None:
    made = plan(seen(*LAB, kustomize=False), prune=False, keep_namespace=True)
    assert "remove their finalizers ourselves where kustomize-controller does not serve" in made.steps[1].sentence
    assert uninstall.unserved(None, LAB) == ("kustomize-controller", "source-controller")


def test_pruning_without_the_controller_that_does_it_is_refused() -> None:
    with pytest.raises(DeliveryError, match="kustomize-controller does not serve"):
        plan(seen(*LAB, kustomize=False), prune=True, keep_namespace=True)
    plan(seen(*LAB, helm=False), prune=True, keep_namespace=True)


def test_the_namespace_of_others_pods_stays_and_secrets_in_it_are_asked_about() -> None:
    made = plan(seen(tenants=("web-1",)), prune=False, keep_namespace=False)
    assert keys(made) == [(StepKind.DELETE_COMPONENTS, False)]
    assert made.notices == ("the namespace flux-system stays: pods of others run in it: web-1",)
    asked = plan(seen(kept=("deploy-key",)), prune=False, keep_namespace=False).steps[-1]
    assert (asked.kind, asked.asks, "deploy-key" in asked.sentence) == (StepKind.DELETE_NAMESPACE, True, True)


def test_a_namespace_that_was_not_made_with_flux_stays() -> None:
    made = plan(seen(namespace={"metadata": {"name": "flux-system"}}), prune=False, keep_namespace=False)
    assert keys(made) == [(StepKind.DELETE_COMPONENTS, False)]
    assert made.notices == ("the namespace flux-system stays: it was not made with Flux",)


def test_without_flux_the_plan_is_empty() -> None:
    assert plan(FluxState(None), prune=False, keep_namespace=False) == Plan(())
    somebodys: Json = {"metadata": {"name": "flux-system"}}
    assert plan(FluxState(None, namespace=somebodys), prune=False, keep_namespace=False) == Plan(())


@pytest.mark.parametrize(
    ("one", "expected"),
    [
        (found(KUSTOMIZATION, prune=True), True),
        (found(KUSTOMIZATION, prune=False), False),
        (found(KUSTOMIZATION, prune=True, suspend=True), False),
        (found(KUSTOMIZATION, prune=True, deletionPolicy="Orphan"), False),
        (found(KUSTOMIZATION, prune=False, deletionPolicy="Delete"), True),
        (found(KUSTOMIZATION, prune=True, applied=("flux-system_kustomize-controller_apps_Deployment",)), False),
        (found(RELEASE), True),
        (found(RELEASE, suspend=True), False),
        (found(GIT), False),
    ],
)
def test_pruning_follows_the_rules_of_the_controllers(one: FluxObject, expected: bool) -> None:
    assert prunes(one) is expected
