import pytest

from threezone.errors import DeliveryError
from threezone.gitops import flux
from threezone.kube.client import Json


def deployment(name: str, *, available: int = 1, updated: int = 1, generation: int = 1) -> Json:
    return {
        "metadata": {
            "name": name,
            "namespace": "flux-system",
            "generation": generation,
            "labels": {"app.kubernetes.io/part-of": "flux", "app.kubernetes.io/version": "v2.7.3"},
        },
        "spec": {"replicas": 1, "template": {"spec": {"containers": [{"image": f"ghcr.io/fluxcd/{name}:v1"}]}}},
        "status": {"observedGeneration": 1, "availableReplicas": available, "updatedReplicas": updated, "replicas": 1},
    }


def test_flux_is_read_from_its_deployments() -> None:
    seen = flux.read([deployment("source-controller"), deployment("helm-controller")])
    assert (seen.version, seen.ready) == ("v2.7.3", True)
    assert [c.name for c in seen.components] == ["helm-controller", "source-controller"]


@pytest.mark.parametrize(
    "unready",
    [deployment("a", available=0), deployment("a", updated=0), deployment("a", generation=2)],
    ids=["not available", "old pods", "not yet observed"],
)
def test_a_component_that_does_not_serve_its_present_generation_is_not_ready(unready: Json) -> None:
    assert not flux.read([deployment("b"), unready]).ready
    with pytest.raises(DeliveryError, match="not ready"):
        flux.require(flux.read([deployment("b"), unready]))


def test_no_flux_is_not_ready() -> None:
    assert not flux.read([]).ready
    with pytest.raises(DeliveryError, match="not installed"):
        flux.require(flux.read([]))


def test_components_are_waited_for_by_name() -> None:
    world = {flux.PODS: {}, flux.DEPLOYMENTS: {"flux-system/source-controller": deployment("source-controller")}}
    assert flux.missing(world, ["source-controller", "kustomize-controller"]) == ["deployment kustomize-controller"]
