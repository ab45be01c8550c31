"""Which nodes and pods have recovered from a restart; the restart of kubelets for pods in back-off.

An API server's first answers are from before the restart, and still say Ready.
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
BACK_OFF = "CrashLoopBackOff"
_WHOLE_SECONDS = timedelta(seconds=1)  # Kubernetes writes times without their fraction


@dataclass(frozen=True)
class Recovery:
    """The rest of a restarted cluster: nodes and pods to wait for, pods in back-off, and pods that stay down."""

    waiting: tuple[str, ...] = ()
    back_off: tuple[Json, ...] = ()
    stuck: tuple[str, ...] = ()


def judge(
    world: World,
    started: Mapping[str, datetime],
    before: Mapping[str, int] | None = None,
    *,
    pod_network: bool = True,
) -> Recovery:
    """Compare nodes and pods with the times when the engine started their nodes. Pure.

    `before` are the restarts of pods in back-off when their kubelets were restarted: a pod that crashes again is not
    waited for. Without a `pod_network` of kind's, a node that lacks nothing else has recovered, and its pods stay down.
    """
    nodes = world[NODES].values()
    idle = set() if pod_network else {node["metadata"]["name"] for node in nodes if only_lacks_network(node)}
    waiting = [f"node {name} to report" for name in sorted(set(started) - _reporting(nodes, started, idle))]
    back_off: list[Json] = []
    stuck: list[str] = []
    for pod in world[ALL_PODS].values():
        node = _node_of(pod)
        since = started.get(node)
        stale = since is not None and not is_fresh(pod, since)
        if _has_ended(pod) or (pods.is_ready(pod) and not stale):
            continue
        words = pods.problem(pod) or _ended(pod)
        line = f"pod {key_of(pod)}" + (f" ({words})" if words else "")
        if node in idle:
            stuck.append(f"{line}: its node has no pod network")
        elif stale:
            waiting.append(f"pod {key_of(pod)} to be started again")
        elif _is_in_back_off(pod, since):
            if before is not None and restarts(pod) > before.get(key_of(pod), -1):
                stuck.append(line)
            else:
                back_off.append(pod)
        elif pods.permanent_problem(pod) or condition(pod, "PodScheduled").get("status") == "False":
            stuck.append(line)
        else:
            waiting.append(line)
    return Recovery(tuple(waiting), tuple(back_off), tuple(stuck))


def not_recovered(world: World, started: Mapping[str, datetime]) -> list[str]:
    """The nodes that have not recovered, and their pods from before the restart that have not. Pure."""
    old = {
        key: pod
        for key, pod in world[ALL_PODS].items()
        if (since := started.get(_node_of(pod))) is not None
        and (created := moment(str(pod["metadata"].get("creationTimestamp", "")))) is not None
        and created < since
    }
    recovery = judge({NODES: world[NODES], ALL_PODS: old}, started)
    lines = [f"pod {key_of(pod)} ({pods.problem(pod) or _ended(pod)})" for pod in recovery.back_off]
    return [*recovery.waiting, *lines]


def is_fresh(pod: Json, since: datetime) -> bool:
    """Whether a pod's status was reported after `since`: no running container was started before. Pure."""
    times = [moment(str((_state(each).get("running") or {}).get("startedAt", ""))) for each in _containers(pod)]
    return all(time is None or time + _WHOLE_SECONDS >= since for time in times)


def _reporting(nodes: Iterable[Json], started: Mapping[str, datetime], idle: Collection[str]) -> set[str]:
    """The nodes that are Ready, or one of `idle`, by a report from after their start."""
    names = set()
    for node in nodes:
        name, ready = node["metadata"]["name"], condition(node, "Ready")
        reported, since = moment(ready.get("lastHeartbeatTime", "")), started.get(name)
        is_back = ready.get("status") == "True" or name in idle
        if is_back and since is not None and reported is not None and reported + _WHOLE_SECONDS >= since:
            names.add(name)
    return names


def _node_of(pod: Json) -> str:
    return str((pod.get("spec") or {}).get("nodeName", ""))


def _has_ended(pod: Json) -> bool:
    """Whether the pod has ended, or is being deleted."""
    ended = (pod.get("status") or {}).get("phase") in ("Succeeded", "Failed")
    return ended or bool(pod["metadata"].get("deletionTimestamp"))


def _containers(pod: Json) -> list[Json]:
    status = pod.get("status") or {}
    return [*(status.get("initContainerStatuses") or []), *(status.get("containerStatuses") or [])]


def _state(container: Json) -> Json:
    return container.get("state") or {}


def _ended(pod: Json) -> str:
    """The exit code of a container of the pod that should run."""
    for container in _containers(pod):
        if code := (_state(container).get("terminated") or {}).get("exitCode"):
            return f"container {container['name']} ended with exit code {code}"
    return ""


def _is_in_back_off(pod: Json, since: datetime | None) -> bool:
    """Whether a container has crashed since its node's start, and the kubelet waits before it starts it again.

    The status says so only now and then: most of that time the container is shown as terminated.
    """
    for state in map(_state, _containers(pod)):
        terminated = state.get("terminated") or {}
        ended = moment(str(terminated.get("finishedAt", "")))
        if (state.get("waiting") or {}).get("reason") == BACK_OFF:
            return True
        if since is not None and ended is not None and ended >= since and terminated.get("exitCode"):
            return True
    return False


def restarts(pod: Json) -> int:
    """How often the pod's containers were restarted."""
    return sum(int(container.get("restartCount") or 0) for container in _containers(pod))


def restart_kubelets(nodes: Sequence[str]) -> None:
    """End the back-off of pods on these nodes at once: a restarted kubelet remembers none.

    No running container is affected and no pod is deleted, so a pod's emptyDir is kept.
    """
    for node in nodes:
        execute(node, "systemctl", "restart", "kubelet", check=False)
