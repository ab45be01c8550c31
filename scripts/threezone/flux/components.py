"""Flux's controllers in the cluster: observed, and watched until they serve."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from threezone.clients.kubernetes import pods
from threezone.clients.kubernetes.api import Api, Json
from threezone.clients.kubernetes.watch import World, wait_for
from threezone.core.errors import DeliveryError
from threezone.core.events import step
from threezone.flux import manifests
from threezone.flux.health import rollout_gaps

NAMESPACE = "flux-system"
DEPLOYMENTS = f"/apis/apps/v1/namespaces/{NAMESPACE}/deployments"
PODS = f"/api/v1/namespaces/{NAMESPACE}/pods"
LABELLED = f"{manifests.PART}=flux"

# The components that `flux install` brings by default, and those that are published as Go modules.
RELEASE_COMPONENTS = ("source-controller", "kustomize-controller", "helm-controller", "notification-controller")
SOURCE_COMPONENTS = ("source-controller", "kustomize-controller", "helm-controller")
REQUIRED = ("source-controller", "kustomize-controller")  # without these two no commit becomes a workload


@dataclass(frozen=True)
class Component:
    """One controller of Flux, as its Deployment shows it."""

    name: str
    image: str
    ready: bool


@dataclass(frozen=True)
class Flux:
    """Flux as observed. `version` is the release's (such as v2.7.3), empty when nothing is installed."""

    version: str
    components: tuple[Component, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """The names of its controllers."""
        return tuple(component.name for component in self.components)

    @property
    def down(self) -> tuple[str, ...]:
        """The names of its controllers that do not serve."""
        return tuple(component.name for component in self.components if not component.ready)

    @property
    def ready(self) -> bool:
        """Whether there is a Flux that delivers commits, and each of its components serves."""
        return not self.troubles

    @property
    def troubles(self) -> tuple[str, ...]:
        """Why it is not ready, a line for each reason."""
        absent = sorted(set(REQUIRED) - set(self.names))
        return (*(f"{name} is not installed" for name in absent), *(f"{name} is not available" for name in self.down))

    def unserved(self, controllers: Iterable[str]) -> tuple[str, ...]:
        """Those of `controllers` that are not installed or do not serve, each once."""
        return tuple(sorted({name for name in controllers if name not in self.names or name in self.down}))


def observe(api: Api) -> Flux:
    """Look at Flux's Deployments (one request)."""
    return read((api.get(DEPLOYMENTS, labelSelector=LABELLED) or {}).get("items") or [])


def read(deployments: Sequence[Json]) -> Flux:
    """Flux from its Deployments. Pure. One that is scaled to zero does not serve."""
    components = [
        Component(
            d["metadata"]["name"],
            d["spec"]["template"]["spec"]["containers"][0]["image"],
            ready=d["spec"].get("replicas", 1) > 0 and not rollout_gaps("Deployment", d),
        )
        for d in deployments
    ]
    return Flux(manifests.version(deployments), tuple(sorted(components, key=lambda component: component.name)))


def is_part(item: Json) -> bool:
    """Whether an object carries the label of Flux's own installation."""
    return bool((item["metadata"].get("labels") or {}).get(manifests.PART) == "flux")


def missing(world: World, expected: Sequence[str]) -> list[str]:
    """What is missing for a ready Flux: rollouts of expected components, and pods that cannot start. Pure."""
    lines = pods.missing(filter(is_part, world[PODS].values()))
    lines.extend(f"deployment {name}" for name in read(list(world[DEPLOYMENTS].values())).unserved(expected))
    return lines


def wait_ready(api: Api, expected: Sequence[str], seconds: float) -> None:
    """Watch until every component serves; a pod that cannot start ends the wait with its own message."""
    with step("wait for Flux"):
        wait_for(api, [DEPLOYMENTS, PODS], lambda world: missing(world, expected), seconds=seconds, what="Flux")


def require(flux: Flux) -> Flux:
    """The same Flux when it is installed and ready; raises DeliveryError otherwise."""
    fix = "./run invoke flux.install"
    if not flux.components:
        raise DeliveryError("Flux is not installed in this cluster", fix=fix)
    if not flux.ready:
        raise DeliveryError("Flux is installed but not ready", evidence="\n".join(flux.troubles), fix=fix)
    return flux
