"""Flux's components in the cluster: looked at, and watched until they serve."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from threezone.clients.kubernetes import pods
from threezone.clients.kubernetes.api import Api, Json
from threezone.clients.kubernetes.watch import World, wait_for
from threezone.core.errors import DeliveryError
from threezone.core.events import step

NAMESPACE = "flux-system"
DEPLOYMENTS = f"/apis/apps/v1/namespaces/{NAMESPACE}/deployments"
PODS = f"/api/v1/namespaces/{NAMESPACE}/pods"
PART = "app.kubernetes.io/part-of"
LABELLED = f"{PART}=flux"

# What `flux install` brings by default, and what can be built from Go modules: the others are not published there.
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
    def ready(self) -> bool:
        """Whether there is a Flux that delivers commits, and each of its components serves."""
        return not self.troubles

    @property
    def troubles(self) -> tuple[str, ...]:
        """What keeps it from being ready, a line each."""
        absent = sorted(set(REQUIRED) - {component.name for component in self.components})
        unready = [component.name for component in self.components if not component.ready]
        return (*(f"{name} is not installed" for name in absent), *(f"{name} is not available" for name in unready))


def observe(api: Api) -> Flux:
    """Look at Flux's Deployments (one request)."""
    return read((api.get(DEPLOYMENTS, labelSelector=LABELLED) or {}).get("items") or [])


def read(deployments: Sequence[Json]) -> Flux:
    """Flux from its Deployments. Pure."""
    version = next((str(d["metadata"]["labels"].get("app.kubernetes.io/version", "")) for d in deployments), "")
    return Flux(
        version,
        tuple(
            sorted(
                (
                    Component(
                        d["metadata"]["name"], d["spec"]["template"]["spec"]["containers"][0]["image"], _serves(d)
                    )
                    for d in deployments
                ),
                key=lambda component: component.name,
            )
        ),
    )


def _serves(deployment: Json) -> bool:
    """Whether the present generation is rolled out, as `kubectl rollout status` asks, and not scaled to nothing."""
    spec, status = deployment.get("spec") or {}, deployment.get("status") or {}
    wanted = spec.get("replicas", 1)
    return bool(
        wanted > 0
        and status.get("observedGeneration", 0) >= deployment["metadata"].get("generation", 0)
        and status.get("updatedReplicas", 0) == wanted
        and status.get("availableReplicas", 0) == wanted
        and status.get("replicas", 0) == wanted
    )


def missing(world: World, expected: Sequence[str]) -> list[str]:
    """The judge of a ready Flux: every expected component rolled out, no pod that cannot start. Pure."""
    of_flux = (pod for pod in world[PODS].values() if pod["metadata"].get("labels", {}).get(PART) == "flux")
    lines = pods.missing(of_flux)
    serving = {c.name for c in read(list(world[DEPLOYMENTS].values())).components if c.ready}
    lines.extend(f"deployment {name}" for name in expected if name not in serving)
    return lines


def wait_ready(api: Api, expected: Sequence[str], seconds: float) -> None:
    """Watch until every component serves; a pod that cannot start ends the wait with its own message."""
    with step("wait for Flux"):
        wait_for(api, [DEPLOYMENTS, PODS], lambda world: missing(world, expected), seconds=seconds, what="Flux")


def require(seen: Flux) -> Flux:
    """The same Flux when it is there and ready; raises DeliveryError otherwise."""
    if not seen.components:
        raise DeliveryError("Flux is not installed in this cluster", fix="./run invoke flux.install")
    if not seen.ready:
        raise DeliveryError(
            "Flux is installed but not ready",
            evidence="\n".join(seen.troubles),
            fix="./run invoke flux.install",
        )
    return seen
