"""What Flux has delivered, and why it does not become healthy: from an inventory to the pods behind it. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from threezone.clients.kubernetes import pods
from threezone.clients.kubernetes.api import Json
from threezone.clients.kubernetes.watch import World, condition, key_of

APPS = "/apis/apps/v1/namespaces/{namespace}/{plural}"
PODS = "/api/v1/namespaces/{namespace}/pods"
PLURALS = {"Deployment": "deployments", "StatefulSet": "statefulsets", "DaemonSet": "daemonsets"}
# Kinds that are as they should be as soon as they are there (fluxcd/cli-utils, pkg/kstatus/status, says the same).
STILL = {
    "": {"Namespace", "ConfigMap", "Secret", "Service", "ServiceAccount", "LimitRange", "ResourceQuota"},
    "rbac.authorization.k8s.io": {"Role", "RoleBinding", "ClusterRole", "ClusterRoleBinding"},
    "networking.k8s.io": {"NetworkPolicy", "Ingress"},
    "batch": {"CronJob"},
}
REVISION = "deployment.kubernetes.io/revision"  # k8s.io/kubectl, pkg/util/deployment: on Deployment and ReplicaSet


@dataclass(frozen=True)
class Item:
    """One object of an inventory. `namespace` is empty for what has none."""

    kind: str
    group: str
    version: str
    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.kind} {self.namespace}/{self.name}" if self.namespace else f"{self.kind} {self.name}"


def inventory(kustomization: Json) -> tuple[Item, ...]:
    """The objects that a Kustomization has applied.

    An entry's id is `namespace_name_group_kind`, with a colon in a name spelled `__` (fluxcd/cli-utils,
    pkg/object/objmetadata.go).
    """
    entries = ((kustomization.get("status") or {}).get("inventory") or {}).get("entries") or []
    return tuple(_item(entry["id"], entry["v"]) for entry in entries)


def _item(identity: str, version: str) -> Item:
    rest, group, kind = identity.rsplit("_", 2)
    namespace, name = rest.split("_", 1)
    return Item(kind, group, version, namespace, name.replace("__", ":"))


@dataclass(frozen=True)
class Stuck:
    """A delivered object that waiting cannot heal: which one, its own words, and the pod that holds it back."""

    item: Item
    words: str
    pod: str = ""  # namespace/name


def collections(items: Iterable[Item]) -> list[str]:
    """What has to be followed to know about the pods of `items`."""
    paths = set()
    for item in items:
        if item.group == "apps" and item.kind in PLURALS:
            paths.add(APPS.format(namespace=item.namespace, plural=PLURALS[item.kind]))
            paths.add(PODS.format(namespace=item.namespace))
            if item.kind == "Deployment":
                paths.add(APPS.format(namespace=item.namespace, plural="replicasets"))
    return sorted(paths)


def stuck(world: World, items: Iterable[Item]) -> Stuck | None:
    """The first of `items` that cannot become healthy by waiting, as far as `world` shows; None when there is none."""
    for item, found in _seen(world, items):
        progress = condition(found, "Progressing")
        for pod in _pods(world, item, found):
            if words := pods.hopeless(pod):
                return Stuck(item, words, key_of(pod))
        if item.kind == "Deployment" and progress.get("reason") == "ProgressDeadlineExceeded":
            return Stuck(item, str(progress.get("message", "")))
    return None


def runs(world: World, items: Sequence[Item]) -> bool:
    """Whether all of `items` run as they say, as far as `world` shows; False too for kinds that only Flux can judge."""
    seen = dict(_seen(world, items))
    return all(
        item.kind in STILL.get(item.group, ()) or (item in seen and rolled_out(item.kind, seen[item])) for item in items
    )


def rolled_out(kind: str, found: Json) -> bool:
    """Whether the pods of the present generation are all there, available, and the only ones. Pure.

    The counts are those that `kubectl rollout status` reads (k8s.io/kubectl, pkg/polymorphichelpers/rollout_status.go).
    """
    status, wanted = found.get("status") or {}, found["spec"].get("replicas", 1)
    counts = ["replicas", "updatedReplicas", "availableReplicas"]
    if kind == "DaemonSet":
        counts, wanted = ["updatedNumberScheduled", "numberAvailable"], status.get("desiredNumberScheduled", 0)
    elif kind == "StatefulSet" and status.get("currentRevision") != status.get("updateRevision"):
        return False
    return all(status.get(count, 0) == wanted for count in counts)


def troubles(world: World, items: Iterable[Item]) -> list[str]:
    """A line for each pod behind `items` that is not ready, with its own words."""
    return [
        f"pod {key_of(pod)}: {pods.trouble(pod) or 'not ready'}"
        for item, found in _seen(world, items)
        for pod in _pods(world, item, found)
        if not pods.is_ready(pod)
    ]


def _seen(world: World, items: Iterable[Item]) -> Iterator[tuple[Item, Json]]:
    """Those of `items` that are seen, as far as their controllers have taken up the present generation."""
    for item in items:
        if item.group != "apps" or item.kind not in PLURALS:
            continue
        path = APPS.format(namespace=item.namespace, plural=PLURALS[item.kind])
        found = world.get(path, {}).get(f"{item.namespace}/{item.name}")
        if found and (found.get("status") or {}).get("observedGeneration") == found["metadata"].get("generation"):
            yield item, found


def _pods(world: World, item: Item, found: Json) -> list[Json]:
    """The pods of the object's present revision. Those of an older one are on their way out, whatever they say."""
    every = world.get(PODS.format(namespace=item.namespace), {}).values()
    living = [pod for pod in every if not pod["metadata"].get("deletionTimestamp")]
    if item.kind == "Deployment":
        sets = world.get(APPS.format(namespace=item.namespace, plural="replicasets"), {}).values()
        revision = (found["metadata"].get("annotations") or {}).get(REVISION)
        now = {
            s["metadata"]["uid"]
            for s in owned(sets, found)
            if (s["metadata"].get("annotations") or {}).get(REVISION) == revision
        }
        return [pod for pod in living if owners(pod) & now]
    mine = owned(living, found)
    newest = (found.get("status") or {}).get("updateRevision")
    if item.kind == "StatefulSet" and newest:
        return [pod for pod in mine if (pod["metadata"].get("labels") or {}).get("controller-revision-hash") == newest]
    return mine


def owners(item: Json) -> set[str]:
    """The uids of an object's owners."""
    return {str(owner["uid"]) for owner in item["metadata"].get("ownerReferences") or []}


def owned(items: Iterable[Json], owner: Json) -> list[Json]:
    """Those of `items` that `owner` owns."""
    return [item for item in items if owner["metadata"]["uid"] in owners(item)]
