"""What must hold in the cluster for each phase of a proof. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from threezone.clients.kubernetes import pods
from threezone.clients.kubernetes.api import Json
from threezone.clients.kubernetes.watch import NAMESPACES, World, condition
from threezone.core.errors import DeliveryError
from threezone.delivery import final, progress, wait
from threezone.delivery.proof import field_ownership, manifests
from threezone.delivery.proof.manifests import Names
from threezone.delivery.revision import short
from threezone.delivery.sync import Target
from threezone.flux import objects
from threezone.flux.objects import Entry


@dataclass(frozen=True)
class Assertions:
    """The assertions about one proof's objects. Those that return a list return what is still missing."""

    names: Names

    @property
    def target(self) -> Target:
        """Flux's two objects of this proof."""
        return Target(self.names.name, self.names.sandbox)

    @property
    def collections(self) -> dict[str, str]:
        """The API collections of the proof's objects, by kind; `Sandbox` are the ConfigMaps beside Flux's objects."""
        core, apps = f"/api/v1/namespaces/{self.names.name}", f"/apis/apps/v1/namespaces/{self.names.name}"
        return {
            "Namespace": NAMESPACES,
            "Deployment": f"{apps}/deployments",
            "ReplicaSet": f"{apps}/replicasets",
            "Pod": f"{core}/pods",
            "Service": f"{core}/services",
            "ConfigMap": f"{core}/configmaps",
            "EndpointSlice": f"/apis/discovery.k8s.io/v1/namespaces/{self.names.name}/endpointslices",
            "Sandbox": f"/api/v1/namespaces/{self.names.sandbox}/configmaps",
        }

    def listed(self, world: World, kind: str) -> dict[str, Json]:
        """The objects of a kind, by namespace and name."""
        return world.get(self.collections.get(kind, ""), {})

    def find(self, world: World, item: Entry) -> Json | None:
        """The object of an inventory's entry."""
        kind = "Sandbox" if item.namespace == self.names.sandbox else item.kind
        return self.listed(world, kind).get(item.key)

    def declared(self, world: World) -> dict[Entry, Json | None]:
        """The objects in the Kustomization's inventory, each as it is in the cluster."""
        kustomization = self.target.find(world)[1] or {}
        return {item: self.find(world, item) for item in objects.inventory(kustomization)}

    def deployment(self, world: World) -> Json | None:
        """The workload's Deployment."""
        return self.listed(world, "Deployment").get(f"{self.names.name}/{manifests.APP}")

    def page(self, world: World) -> Json:
        """The ConfigMap with the page that the Deployment mounts now."""
        deployment = self.listed(world, "Deployment")[f"{self.names.name}/{manifests.APP}"]
        name = deployment["spec"]["template"]["spec"]["volumes"][0]["configMap"]["name"]
        missing: Json = {"metadata": {"name": name}, "data": {}}
        return self.listed(world, "ConfigMap").get(f"{self.names.name}/{name}", missing)

    def guard(self, world: World) -> Json | None:
        """The object that a finalizer holds."""
        return self.listed(world, "Sandbox").get(f"{self.names.sandbox}/{manifests.GUARD}")

    def settled(self, world: World, revision: str) -> list[str]:
        """The revision is applied, and the workload runs as it says and not otherwise."""
        return wait.missing(world, self.target, revision) or self.rolled_out(world)

    def rolled_out(self, world: World) -> list[str]:
        """The Deployment's current generation runs, its pods are the only ones, and the Service routes to them."""
        deployment = self.deployment(world)
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
        running = self.listed(world, "Pod").values()
        lines += [f"pod {pod['metadata']['name']} to be ready" for pod in running if not pods.is_ready(pod)]
        if len(running) != wanted:
            lines.append(f"{wanted} pods and no more (there are {len(running)})")
        routed = {
            str((endpoint.get("targetRef") or {}).get("uid", ""))
            for endpoint_slice in self.listed(world, "EndpointSlice").values()
            for endpoint in endpoint_slice.get("endpoints") or []
            if (endpoint.get("conditions") or {}).get("ready")
        }
        if routed != {pod["metadata"]["uid"] for pod in running}:
            lines.append(f"the service to route to {len(running)} pods (it routes to {len(routed)})")
        return lines

    def drift_corrected(self, world: World, page: str, hand: str) -> list[str]:
        """What was changed by hand is as the commit says, and the field manager `hand` owns nothing any more."""
        deployment = self.deployment(world)
        if deployment is None:
            return [f"the deployment {manifests.APP}"]
        lines = []
        if (replicas := deployment["spec"]["replicas"]) != 1:
            lines.append(f"spec.replicas to be put back to 1 (it is {replicas})")
        if (config := self.page(world)).get("data", {}).get(manifests.PAGE) != page:
            lines.append(f"the text in the ConfigMap {config['metadata']['name']} to be put back")
        lines += [
            f"{hand} to own nothing of {item['metadata']['name']} any more"
            for item in (deployment, config)
            if field_ownership.owns(item, hand)
        ]
        return lines

    def refused(self, world: World, revision: str) -> list[str]:
        """Flux reports that this revision cannot be applied. Raises DeliveryError when it was applied instead."""
        kustomization = self._fetched(world, revision)
        if kustomization is None:
            return [f"Flux to fetch {short(revision)}"]
        if progress.is_applied(kustomization, revision):
            raise DeliveryError(
                f"Flux applied {short(revision)}, although it cannot be valid",
                evidence=str(condition(kustomization, "Ready").get("message", "")),
                fix=f"kubectl -n {self.names.name} get deployment {manifests.APP} -o yaml",
            )
        return [] if progress.failure(kustomization, revision) else [f"Flux's word on {short(revision)}"]

    def suspended(self, world: World, revision: str, stamp: str) -> list[str]:
        """A suspended Flux has fetched the revision, answered the request `stamp`, and not touched the revision.

        kustomize-controller answers a request while it is suspended, and does nothing (its Reconcile, finalizeStatus).
        """
        kustomization = self._fetched(world, revision)
        if kustomization is None:
            return [f"Flux to fetch {short(revision)}"]
        status = kustomization.get("status") or {}
        if revision in (status.get("lastAttemptedRevision"), status.get("lastAppliedRevision")):
            raise DeliveryError(
                f"Flux took up {short(revision)} while it was suspended",
                evidence=str(condition(kustomization, "Ready").get("message", "")),
                fix=f"kubectl -n {self.names.sandbox} get kustomization {self.names.name} -o yaml",
            )
        return [] if objects.handled(kustomization) == stamp else ["the suspended Flux to see a request"]

    def _fetched(self, world: World, revision: str) -> Json | None:
        """The Kustomization, once its source holds the revision."""
        final.require_carriers(world)
        return self.target.find(world)[1] if progress.fetched(world, self.target, revision) else None

    def remaining(self, world: World, inventory: Iterable[Entry], *, terminating: bool) -> list[str]:
        """The objects of a former inventory that still exist; those that are being deleted only on request."""
        return [
            str(item)
            for item in inventory
            if item.name != manifests.KEPT
            and (live := self.find(world, item))
            and (terminating or not live["metadata"].get("deletionTimestamp"))
        ]

    def namespace_gone(self, world: World) -> list[str]:
        """The workload's namespace is gone."""
        namespace = world[NAMESPACES].get(f"/{self.names.name}")
        if not namespace:
            return []
        conditions = (namespace.get("status") or {}).get("conditions") or []
        reasons = "; ".join(each["message"] for each in conditions if each["status"] == "True")
        return [f"the namespace {self.names.name} to be gone" + (f" ({reasons})" if reasons else "")]
