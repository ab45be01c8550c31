import pytest

from threezone.clients.kubernetes.api import Json
from threezone.core.errors import DeliveryError
from threezone.flux import components, manifests


def deployment(name: str, *, available: int = 1, updated: int = 1, generation: int = 1, replicas: int = 1) -> Json:
    return {
        "metadata": {
            "name": name,
            "namespace": "flux-system",
            "generation": generation,
            "labels": {"app.kubernetes.io/part-of": "flux", "app.kubernetes.io/version": "v2.7.3"},
        },
        "spec": {"replicas": replicas, "template": {"spec": {"containers": [{"image": f"ghcr.io/fluxcd/{name}:v1"}]}}},
        "status": {
            "observedGeneration": 1,
            "availableReplicas": min(available, replicas),
            "updatedReplicas": min(updated, replicas),
            "replicas": replicas,
        },
    }


REQUIRED = [deployment(name) for name in components.REQUIRED]


def pod(labels: dict[str, str]) -> Json:
    waiting = {"waiting": {"reason": "ImagePullBackOff", "message": "no such image"}}
    return {
        "metadata": {"namespace": "flux-system", "name": "p", "labels": labels},
        "status": {"containerStatuses": [{"name": "c", "state": waiting}]},
    }


def test_flux_is_read_from_its_deployments() -> None:
    seen = components.read([deployment("source-controller"), deployment("kustomize-controller")])
    assert (seen.version, seen.ready) == ("v2.7.3", True)
    assert [c.name for c in seen.components] == ["kustomize-controller", "source-controller"]


@pytest.mark.parametrize(
    "unready",
    [
        deployment("a", available=0),
        deployment("a", updated=0),
        deployment("a", generation=2),
        deployment("a", replicas=0),
    ],
    ids=["not available", "old pods", "not yet observed", "scaled to nothing"],
)
def test_a_component_that_does_not_serve_its_present_generation_is_not_ready(unready: Json) -> None:
    assert not components.read([*REQUIRED, unready]).ready
    with pytest.raises(DeliveryError, match="not ready") as caught:
        components.require(components.read([*REQUIRED, unready]))
    assert caught.value.evidence == "a is not available"


def test_a_flux_that_cannot_deliver_a_commit_is_not_ready() -> None:
    with pytest.raises(DeliveryError, match="not ready") as caught:
        components.require(components.read([deployment("source-controller")]))
    assert caught.value.evidence == "kustomize-controller is not installed"


def test_no_flux_is_not_ready() -> None:
    assert not components.read([]).ready
    with pytest.raises(DeliveryError, match="not installed"):
        components.require(components.read([]))


def test_components_are_waited_for_by_name() -> None:
    world = {
        components.PODS: {},
        components.DEPLOYMENTS: {"flux-system/source-controller": deployment("source-controller")},
    }
    assert components.missing(world, ["source-controller", "kustomize-controller"]) == [
        "deployment kustomize-controller"
    ]


def test_a_pod_of_somebody_else_in_the_namespace_does_not_end_the_wait_and_one_of_flux_does() -> None:
    deployments = {f"flux-system/{d['metadata']['name']}": d for d in REQUIRED}
    assert (
        components.missing(
            {components.PODS: {"p": pod({"app": "theirs"})}, components.DEPLOYMENTS: deployments}, components.REQUIRED
        )
        == []
    )
    with pytest.raises(Exception, match="cannot start"):
        components.missing(
            {components.PODS: {"p": pod({manifests.PART: "flux"})}, components.DEPLOYMENTS: deployments},
            components.REQUIRED,
        )
