"""After a restart: which pods are back. What the API server tells of them at first is from before, and still good.

Pure judges, and the nudge for pods that are held back.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from threezone.clients.docker.containers import execute
from threezone.clients.kubernetes import pods
from threezone.clients.kubernetes.api import Json
from threezone.clients.kubernetes.watch import World, condition, key_of
from threezone.cluster.containers import moment
from threezone.cluster.lifecycle import NODES, only_lacks_network

ALL_PODS = "/api/v1/pods"
HELD_BACK = "CrashLoopBackOff"
_WHOLE_SECONDS = timedelta(seconds=1)  # Kubernetes tells times without their fraction


@dataclass(frozen=True)
class Back:
    """What of a restarted cluster is not back yet: nodes and pods to wait for, pods held back, pods beyond waiting."""

    waiting: tuple[str, ...] = ()
    held: tuple[Json, ...] = ()
    stuck: tuple[str, ...] = ()


def judge(
    world: World,
    started: Mapping[str, datetime],
    nudged: Mapping[str, int] | None = None,
    *,
    pod_network: bool = True,
) -> Back:
    """Hold nodes and pods against the times when the engine started their nodes. Pure.

    `nudged` are the restarts of pods that were held back when they were nudged: one that crashes again does so by
    itself, and is not waited for. Without a `pod_network` of kind's, a node that lacks nothing else is back, and its
    pods are beyond waiting.
    """
    idle = (
        set()
        if pod_network
        else {node["metadata"]["name"] for node in world[NODES].values() if only_lacks_network(node)}
    )
    back = _reporting(world[NODES].values(), started, idle)
    waiting = [f"node {name} to report" for name in sorted(set(started) - back)]
    held: list[Json] = []
    stuck: list[str] = []
    for pod in world[ALL_PODS].values():
        since = started.get((pod.get("spec") or {}).get("nodeName", ""))
        if _is_over(pod) or (pods.is_ready(pod) and (since is None or is_fresh(pod, since))):
            continue
        words = pods.trouble(pod) or _ended(pod)
        line = f"pod {key_of(pod)}" + (f" ({words})" if words else "")
        if (pod.get("spec") or {}).get("nodeName", "") in idle:
            stuck.append(f"{line}: its node has no pod network")
        elif since is not None and not is_fresh(pod, since):
            waiting.append(f"pod {key_of(pod)} to be started again")
        elif _is_held(pod, since):
            if nudged is not None and restarts(pod) > nudged.get(key_of(pod), -1):
                stuck.append(line)
            else:
                held.append(pod)
        elif pods.hopeless(pod) or condition(pod, "PodScheduled").get("status") == "False":
            stuck.append(line)
        else:
            waiting.append(line)
    return Back(tuple(waiting), tuple(held), tuple(stuck))


def not_back(world: World, started: Mapping[str, datetime]) -> list[str]:
    """What of the time before the restart is not back: nodes, and pods that are older than their node's start. Pure."""
    old = {
        key: pod
        for key, pod in world[ALL_PODS].items()
        if (since := started.get((pod.get("spec") or {}).get("nodeName", ""))) is not None
        and (made := moment(str(pod["metadata"].get("creationTimestamp", "")))) is not None
        and made < since
    }
    seen = judge({NODES: world[NODES], ALL_PODS: old}, started)
    return [*seen.waiting, *(f"pod {key_of(pod)} ({pods.trouble(pod) or _ended(pod)})" for pod in seen.held)]


def is_fresh(pod: Json, since: datetime) -> bool:
    """Whether what a pod's status tells was seen after `since`: no container that runs was started before."""
    times = [
        moment(str(((one.get("state") or {}).get("running") or {}).get("startedAt", ""))) for one in _containers(pod)
    ]
    return all(time is None or time + _WHOLE_SECONDS >= since for time in times)


def _reporting(nodes: Iterable[Json], started: Mapping[str, datetime], idle: Collection[str]) -> set[str]:
    """The nodes that are Ready, or one of `idle`, by a report from after their start."""
    found = set()
    for node in nodes:
        ready = condition(node, "Ready")
        told = moment(ready.get("lastHeartbeatTime", ""))
        name = node["metadata"]["name"]
        since = started.get(name)
        good = ready.get("status") == "True" or name in idle
        if good and since is not None and told is not None and told + _WHOLE_SECONDS >= since:
            found.add(name)
    return found


def _is_over(pod: Json) -> bool:
    """Whether nobody waits for the pod: it has ended for good, or is being deleted."""
    ended = (pod.get("status") or {}).get("phase") in ("Succeeded", "Failed")
    return ended or bool(pod["metadata"].get("deletionTimestamp"))


def _containers(pod: Json) -> list[Json]:
    status = pod.get("status") or {}
    return [*(status.get("initContainerStatuses") or []), *(status.get("containerStatuses") or [])]


def _ended(pod: Json) -> str:
    """How a container of the pod ended that should run."""
    for one in _containers(pod):
        if code := ((one.get("state") or {}).get("terminated") or {}).get("exitCode"):
            return f"container {one['name']} ended with exit code {code}"
    return ""


def _is_held(pod: Json, since: datetime | None) -> bool:
    """Whether a container has crashed since its node's start, and the kubelet lets time pass before it starts it again.

    It says so only now and then: for most of that time the container is shown as ended.
    """
    for one in _containers(pod):
        state = one.get("state") or {}
        ended = moment(str((state.get("terminated") or {}).get("finishedAt", "")))
        if (state.get("waiting") or {}).get("reason") == HELD_BACK:
            return True
        if since is not None and ended is not None and ended >= since and state["terminated"].get("exitCode"):
            return True
    return False


def restarts(pod: Json) -> int:
    """How often the pod's containers were started again."""
    return sum(int(one.get("restartCount") or 0) for one in _containers(pod))


def nudge(names: Sequence[str]) -> None:
    """Have these nodes start at once what is held back: a kubelet that is started anew remembers no back-off.

    Nothing that runs is touched, and no pod is deleted: what a pod keeps in an emptyDir stays.
    """
    for name in names:
        execute(name, "systemctl", "restart", "kubelet", check=False)
