"""Health of the workloads that Flux applied: their rollout, and the pods behind them. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from threezone.clients.kubernetes import pods
from threezone.clients.kubernetes.api import Json
from threezone.clients.kubernetes.watch import World, condition, key_of
from threezone.flux.objects import Entry, condition_text

APPS = "/apis/apps/v1/namespaces/{namespace}/{plural}"
PODS = "/api/v1/namespaces/{namespace}/pods"
EVENTS = "/api/v1/namespaces/{namespace}/events"
WORKLOADS = {("apps", "Deployment"), ("apps", "StatefulSet"), ("apps", "DaemonSet"), ("batch", "Job"), ("", "Pod")}
# Seconds for which no pod may be made before that is final. A new namespace has no ServiceAccount for a moment.
NO_POD = 5.0
# Kinds that are healthy as soon as they exist (fluxcd/cli-utils, pkg/kstatus/status, says the same).
ALWAYS_HEALTHY = {
    "": {"Namespace", "ConfigMap", "Secret", "Service", "ServiceAccount", "LimitRange", "ResourceQuota"},
    "rbac.authorization.k8s.io": {"Role", "RoleBinding", "ClusterRole", "ClusterRoleBinding"},
    "networking.k8s.io": {"NetworkPolicy", "Ingress"},
    "batch": {"CronJob"},
}
REVISION = "deployment.kubernetes.io/revision"  # k8s.io/kubectl, pkg/util/deployment: on Deployment and ReplicaSet


@dataclass(frozen=True)
class Stuck:
    """An applied object that cannot become healthy by waiting: the object, its message, and the failing pod.

    It is final when it has been so for `seconds`.
    """

    item: Entry
    words: str
    pod: str = ""  # namespace/name
    seconds: float = 0.0


def collection(entry: Entry) -> str:
    """The collection of a workload in its namespace, "" for anything else."""
    return entry.collection if (entry.group, entry.kind) in WORKLOADS else ""


def collections(entries: Iterable[Entry]) -> list[str]:
    """The collections to watch for the workloads among `entries` and their pods."""
    paths = set()
    for entry in entries:
        if path := collection(entry):
            paths |= {path, PODS.format(namespace=entry.namespace)}
            if entry.kind == "Deployment":
                paths.add(APPS.format(namespace=entry.namespace, plural="replicasets"))
            elif entry.kind != "Pod":  # their status does not tell why there is no pod
                paths.add(EVENTS.format(namespace=entry.namespace))
    return sorted(paths)


def stuck(world: World, entries: Iterable[Entry]) -> Stuck | None:
    """The first workload that cannot become healthy by waiting, as far as `world` shows; None when there is none."""
    for entry, item in _observed(world, entries):
        progress = condition(item, "Progressing")
        if (words := refusal(world, entry, item)) and "exceeded quota" not in words:  # other pods may make way
            return Stuck(entry, words, seconds=NO_POD)
        for pod in _pods(world, entry, item):
            if words := pods.permanent_problem(pod):
                return Stuck(entry, words, key_of(pod))
        if entry.kind == "Deployment" and progress.get("reason") == "ProgressDeadlineExceeded":
            return Stuck(entry, str(progress.get("message", "")))
    return None


def are_healthy(world: World, entries: Sequence[Entry]) -> bool:
    """Whether all of `entries` are healthy, as far as `world` shows; False for kinds that only Flux can judge."""
    workloads = dict(_observed(world, entries))
    return all(
        entry.kind in ALWAYS_HEALTHY.get(entry.group, ())
        or (entry in workloads and not rollout_gaps(entry.kind, workloads[entry]))
        for entry in entries
    )


def is_observed(item: Json) -> bool:
    """Whether a workload's controller has taken up its latest change."""
    return bool((item.get("status") or {}).get("observedGeneration") == item["metadata"].get("generation"))


def is_taken_up(entry: Entry, item: Json) -> bool:
    """Whether a workload's status is of its latest change; Jobs and pods are never changed."""
    return entry.group != "apps" or is_observed(item)


def rollout_gaps(kind: str, item: Json) -> list[str]:
    """What is missing in a workload's rollout; nothing when only pods of its latest change exist, all available.

    The counts are those that `kubectl rollout status` reads (k8s.io/kubectl, pkg/polymorphichelpers/rollout_status.go).
    """
    if kind == "Job":
        return [] if condition(item, "Complete").get("status") == "True" else ["the end of its pods"]
    if kind == "Pod":
        return [] if pods.is_ready(item) else [pods.problem(item) or "its containers"]
    status, wanted = item.get("status") or {}, (item.get("spec") or {}).get("replicas", 1)
    counts = ["updatedReplicas", "availableReplicas", "replicas"]
    if kind == "DaemonSet":
        counts, wanted = ["updatedNumberScheduled", "numberAvailable"], status.get("desiredNumberScheduled", 0)
    gaps = [
        f"{wanted} {count} (there are {status.get(count, 0)})" for count in counts if status.get(count, 0) != wanted
    ]
    if kind == "StatefulSet" and status.get("currentRevision") != status.get("updateRevision"):
        gaps.append("the update of its pods")
    return gaps if is_observed(item) else [*gaps, "its latest change to be taken up"]


def troubles(world: World, entries: Iterable[Entry]) -> list[str]:
    """A line for each pod behind `entries` that is not ready or cannot be made, and for other objects that say so."""
    lines = []
    for entry in entries:
        item = world.get(collection(entry) or entry.collection, {}).get(entry.key)
        if item is None:
            continue
        if not collection(entry):
            words = unready(item)
            event = _last_event(world, entry, item) if words else {}
            words += f"; {event['reason']}: {event['message']}" if event.get("type") == "Warning" else ""
        else:
            words = refusal(world, entry, item) if is_taken_up(entry, item) else ""
            lines += [
                f"pod {key_of(pod)}: {pods.problem(pod) or 'not ready'}"
                for pod in (_pods(world, entry, item) if is_taken_up(entry, item) else ())
                if not pods.is_ready(pod)
            ]
        lines += [f"{entry}: {words}"] if words else []
    return lines


def refusal(world: World, entry: Entry, item: Json) -> str:
    """Why no pod of a workload can be made (a missing ServiceAccount, a policy), "" when there is one or no such word.

    A Deployment says so itself; of others an event tells it.
    """
    if entry.kind == "Pod" or _pods(world, entry, item):
        return ""
    if entry.kind == "Deployment":
        refused = condition(item, "ReplicaFailure")
        return str(refused.get("message", "")) if refused.get("status") == "True" else ""
    if entry.kind == "Job" and (item.get("status") or {}).get("conditions"):
        return ""  # it has ended, and its pods are gone
    latest = _last_event(world, entry, item)
    return str(latest.get("message", "")) if latest.get("reason") == "FailedCreate" else ""


def _last_event(world: World, entry: Entry, item: Json) -> Json:
    """The last event of an object, {} for none."""
    events = world.get(EVENTS.format(namespace=entry.namespace), {}).values()
    own = [event for event in events if (event.get("involvedObject") or {}).get("uid") == item["metadata"].get("uid")]
    return max(own, key=lambda event: event.get("lastTimestamp") or event.get("eventTime") or "", default={})


def is_judged(entry: Entry) -> bool:
    """Whether an object can be other than healthy once it exists."""
    return entry.kind not in ALWAYS_HEALTHY.get(entry.group, ())


def unready(item: Json) -> str:
    """What any object says that it lacks, by the rules of kstatus; "" for nothing.

    The rules: fluxcd/cli-utils, pkg/kstatus/status/generic.go (checkGenericProperties) and core.go (pvcConditions).
    """
    status, meta = item.get("status") or {}, item["metadata"]
    if meta.get("deletionTimestamp"):
        return "it is being deleted"
    if status.get("observedGeneration", meta.get("generation")) != meta.get("generation"):
        return "its latest change is not taken up yet"
    for kind, bad in (("Stalled", {"True"}), ("Reconciling", {"True"}), ("Ready", {"False", "Unknown"})):
        if (words := condition(item, kind)).get("status") in bad:
            return condition_text(words) or f"{kind} is {words['status']}"
    return "it is pending" if status.get("phase") == "Pending" else ""


def _observed(world: World, entries: Iterable[Entry]) -> Iterator[tuple[Entry, Json]]:
    """The workloads in `world` whose controllers have taken up their latest change."""
    for entry in entries:
        item = world.get(collection(entry), {}).get(entry.key)
        if item and is_taken_up(entry, item):
            yield entry, item


def _pods(world: World, entry: Entry, item: Json) -> list[Json]:
    """The pods of the workload's present revision. Those of an older one are about to be deleted."""
    if entry.kind == "Pod":
        return [item]
    every = world.get(PODS.format(namespace=entry.namespace), {}).values()
    living = [pod for pod in every if not pod["metadata"].get("deletionTimestamp")]
    if entry.kind == "Deployment":
        sets = world.get(APPS.format(namespace=entry.namespace, plural="replicasets"), {}).values()
        present = {
            replicaset["metadata"]["uid"]
            for replicaset in _owned(sets, item)
            if _annotation(replicaset, REVISION) == _annotation(item, REVISION)
        }
        return [pod for pod in living if _owners(pod) & present]
    own = _owned(living, item)
    newest = (item.get("status") or {}).get("updateRevision")
    if entry.kind == "StatefulSet" and newest:
        return [pod for pod in own if (pod["metadata"].get("labels") or {}).get("controller-revision-hash") == newest]
    return own


def _annotation(item: Json, name: str) -> str | None:
    return (item["metadata"].get("annotations") or {}).get(name)


def _owners(item: Json) -> set[str]:
    return {str(owner["uid"]) for owner in item["metadata"].get("ownerReferences") or []}


def _owned(items: Iterable[Json], owner: Json) -> list[Json]:
    return [item for item in items if owner["metadata"]["uid"] in _owners(item)]
