"""Why a pod is not ready, and whether waiting helps, from its status. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from threezone.clients.kubernetes.api import Json
from threezone.clients.kubernetes.watch import condition, key_of
from threezone.core.errors import ClusterError

# Final reasons of a waiting container (kubelet, pkg/kubelet/images/types.go and kuberuntime). A first ErrImagePull may
# be a short failure of the network; ImagePullBackOff means that it failed again.
PERMANENT = {
    *("ImagePullBackOff", "ErrImageNeverPull", "InvalidImageName", "ImageInspectError"),
    *("CreateContainerConfigError", "CreateContainerError", "RunContainerError"),
}


def is_ready(pod: Json) -> bool:
    """Whether the pod is ready, or has succeeded."""
    return (pod.get("status") or {}).get("phase") == "Succeeded" or condition(pod, "Ready").get("status") == "True"


def problem(pod: Json) -> str:
    """The pod's message about what is wrong with it, or ""."""
    status = pod.get("status") or {}
    for container in [*(status.get("initContainerStatuses") or []), *(status.get("containerStatuses") or [])]:
        waiting = (container.get("state") or {}).get("waiting") or {}
        if waiting.get("reason") and waiting["reason"] not in ("ContainerCreating", "PodInitializing"):
            last = ((container.get("lastState") or {}).get("terminated") or {}).get("message", "")
            words = " ".join(filter(None, (waiting.get("message"), last)))
            return f"container {container['name']}: {waiting['reason']}: {words}".rstrip(": ")
    scheduled = condition(pod, "PodScheduled")
    if scheduled.get("status") == "False":
        return f"{scheduled.get('reason')}: {scheduled.get('message')}"
    return ""


def permanent_problem(pod: Json) -> str:
    """The pod's message if it cannot become ready, or ""."""
    words = problem(pod)
    return words if any(f": {reason}" in words for reason in PERMANENT) else ""


def missing(pods: Iterable[Json]) -> list[str]:
    """The pods that are not ready, each with its message. Raises ClusterError for one that cannot become ready."""
    lines = []
    for pod in pods:
        if is_ready(pod) or (pod.get("metadata") or {}).get("deletionTimestamp"):
            continue
        name = key_of(pod)
        if words := permanent_problem(pod):
            namespace, _, short = name.partition("/")
            raise ClusterError(
                f"the pod {name} cannot start", evidence=words, fix=f"kubectl -n {namespace} describe pod {short}"
            )
        lines.append(f"pod {name}" + (f" ({words})" if (words := problem(pod)) else ""))
    return lines
