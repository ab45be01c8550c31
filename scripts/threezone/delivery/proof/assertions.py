"""The judges of a proof: what has to be seen for a phase to hold. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from threezone.clients.kubernetes import pods
from threezone.clients.kubernetes.api import Json
from threezone.clients.kubernetes.watch import NAMESPACES, World, condition
from threezone.core.errors import DeliveryError
from threezone.delivery import wait
from threezone.delivery.proof import field_ownership, manifests
from threezone.delivery.proof.manifests import Names
from threezone.delivery.revision import short
from threezone.delivery.sync import Target
from threezone.flux import health, objects
from threezone.flux.objects import Entry


@dataclass(frozen=True)
class Paths:
    """The collections in which one proof's objects are seen."""

    names: Names

    @property
    def deployments(self) -> str:
        """The Deployments in the workload's namespace."""
        return health.APPS.format(namespace=self.names.name, plural="deployments")

    @property
    def replicasets(self) -> str:
        """Its ReplicaSets."""
        return health.APPS.format(namespace=self.names.name, plural="replicasets")

    @property
    def pods(self) -> str:
        """Its pods."""
        return health.PODS.format(namespace=self.names.name)

    @property
    def services(self) -> str:
        """Its Services."""
        return f"/api/v1/namespaces/{self.names.name}/services"

    @property
    def configmaps(self) -> str:
        """Its ConfigMaps."""
        return f"/api/v1/namespaces/{self.names.name}/configmaps"

    @property
    def endpoints(self) -> str:
        """Its EndpointSlices: which pods the Service leads to."""
        return f"/apis/discovery.k8s.io/v1/namespaces/{self.names.name}/endpointslices"

    @property
    def beside(self) -> str:
        """The ConfigMaps in the namespace that we made."""
        return f"/api/v1/namespaces/{self.names.ground}/configmaps"

    @property
    def of_kind(self) -> dict[str, str]:
        """Where the objects of a commit are, by their kind, those in the workload's namespace."""
        return {
            "Namespace": NAMESPACES,
            "Deployment": self.deployments,
            "Service": self.services,
            "ConfigMap": self.configmaps,
        }

    @property
    def all(self) -> tuple[str, ...]:
        """Each of them once."""
        return (*self.of_kind.values(), self.replicasets, self.pods, self.endpoints, self.beside)


def declared(world: World, at: Paths, kustomization: Json) -> dict[Entry, Json | None]:
    """The objects that the Kustomization's inventory names, each with what is seen of it."""
    found: dict[Entry, Json | None] = {}
    for item in objects.inventory(kustomization):
        path = at.beside if item.namespace == at.names.ground else at.of_kind.get(item.kind, "")
        found[item] = world.get(path, {}).get(f"{item.namespace}/{item.name}")
    return found


def settled(world: World, at: Paths, target: Target, revision: str) -> list[str]:
    """The revision is applied, and the workload runs as it says and not otherwise."""
    return wait.missing(world, target, revision) or rolled_out(world, at)


def rolled_out(world: World, at: Paths) -> list[str]:
    """The Deployment's present generation runs, its pods are the only ones, and the Service leads to them."""
    deployment = world[at.deployments].get(f"{at.names.name}/{manifests.APP}")
    if deployment is None:
        return [f"the deployment {manifests.APP}"]
    status, wanted = deployment.get("status") or {}, deployment["spec"]["replicas"]
    lines = [
        f"{wanted} {count} replicas (there are {status.get(count, 0)})"
        for count in ("updatedReplicas", "availableReplicas", "replicas")
        if status.get(count, 0) != wanted
    ]
    if status.get("observedGeneration", 0) < deployment["metadata"]["generation"]:
        lines.append("the deployment's controller to see the change")
    living = world[at.pods].values()
    lines += [f"pod {pod['metadata']['name']} to be ready" for pod in living if not pods.is_ready(pod)]
    if len(living) != wanted:
        lines.append(f"{wanted} pods and no more (there are {len(living)})")
    ready = {pod["metadata"]["uid"] for pod in living}
    if (led := _endpoints(world, at)) != ready:
        lines.append(f"the service to lead to {len(ready)} pods (it leads to {len(led)})")
    return lines


def _endpoints(world: World, at: Paths) -> set[str]:
    return {
        str((endpoint.get("targetRef") or {}).get("uid", ""))
        for endpoint_slice in world[at.endpoints].values()
        for endpoint in endpoint_slice.get("endpoints") or []
        if (endpoint.get("conditions") or {}).get("ready")
    }


def page_of(world: World, at: Paths) -> Json:
    """The ConfigMap with the page that the Deployment mounts now."""
    deployment = world[at.deployments][f"{at.names.name}/{manifests.APP}"]
    name = deployment["spec"]["template"]["spec"]["volumes"][0]["configMap"]["name"]
    return world[at.configmaps].get(f"{at.names.name}/{name}") or {"metadata": {"name": name}, "data": {}}


def put_back(world: World, at: Paths, page: str, hand: str) -> list[str]:
    """What was changed by hand is as the commit says, and the hand owns nothing any more."""
    deployment = world[at.deployments].get(f"{at.names.name}/{manifests.APP}")
    if deployment is None:
        return [f"the deployment {manifests.APP}"]
    lines = []
    if (replicas := deployment["spec"]["replicas"]) != 1:
        lines.append(f"spec.replicas to be put back to 1 (it is {replicas})")
    if (config := page_of(world, at)).get("data", {}).get(manifests.PAGE) != page:
        lines.append(f"the text in the ConfigMap {config['metadata']['name']} to be put back")
    lines += [
        f"{hand} to own nothing of {item['metadata']['name']} any more"
        for item in (deployment, config)
        if field_ownership.owns(item, hand)
    ]
    return lines


def refused(world: World, at: Paths, target: Target, revision: str) -> list[str]:
    """Flux says that this revision cannot be applied. Raises DeliveryError when it was applied instead."""
    wait.carried(world)
    _, kustomization = target.find(world)
    if kustomization is None or not wait.fetched(world, target, revision):
        return [f"Flux to fetch {short(revision)}"]
    if wait.applied(kustomization, revision):
        raise DeliveryError(
            f"Flux applied {short(revision)}, although it cannot be valid",
            evidence=str(condition(kustomization, "Ready").get("message", "")),
            fix=f"kubectl -n {at.names.name} get deployment {manifests.APP} -o yaml",
        )
    return [] if wait.failure(kustomization, revision) else [f"Flux's word on {short(revision)}"]


def still(world: World, target: Target, revision: str, stamp: str) -> list[str]:
    """A suspended Flux holds the revision's files, has looked at our request, and has not touched the revision.

    kustomize-controller answers a request while it is suspended, and does nothing (its Reconcile, finalizeStatus).
    """
    wait.carried(world)
    _, kustomization = target.find(world)
    if kustomization is None or not wait.fetched(world, target, revision):
        return [f"Flux to fetch {short(revision)}"]
    status = kustomization.get("status") or {}
    if revision in (status.get("lastAttemptedRevision"), status.get("lastAppliedRevision")):
        raise DeliveryError(
            f"Flux took up {short(revision)} while it was suspended",
            evidence=str(condition(kustomization, "Ready").get("message", "")),
            fix=f"kubectl -n {target.namespace} get kustomization {target.name} -o yaml",
        )
    return [] if objects.handled(kustomization) == stamp else ["the suspended Flux to see a request"]


def unpruned(world: World, at: Paths, before: Iterable[Entry]) -> list[str]:
    """Those objects of the former inventory that nobody has asked to go."""
    lines = []
    for item in before:
        path = at.beside if item.namespace == at.names.ground else at.of_kind[item.kind]
        found = world.get(path, {}).get(f"{item.namespace}/{item.name}")
        if found and not found["metadata"].get("deletionTimestamp") and item.name != manifests.KEPT:
            lines.append(str(item))
    return lines


def gone(world: World, at: Paths) -> list[str]:
    """The workload's namespace is gone, and what a finalizer holds waits for its controller."""
    lines = []
    namespace = world[NAMESPACES].get(f"/{at.names.name}")
    if namespace:
        words = [c["message"] for c in (namespace.get("status") or {}).get("conditions") or [] if c["status"] == "True"]
        lines.append(f"the namespace {at.names.name} to be gone" + (f" ({'; '.join(words)})" if words else ""))
    return lines


def guarded(world: World, at: Paths) -> Json | None:
    """The object that a finalizer holds."""
    return world[at.beside].get(f"{at.names.ground}/{manifests.GUARD}")
