"""Why a pod is not ready, from its own status: what heals by waiting, and what never will. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from threezone.clients.kubernetes.api import Json
from threezone.clients.kubernetes.watch import condition, key_of
from threezone.core.errors import ClusterError

# Reasons of a waiting container that no waiting heals (kubelet, pkg/kubelet/images/types.go and kuberuntime). A first
# ErrImagePull may be the network's hiccup; ImagePullBackOff means that it failed again.
HOPELESS = {
    "ImagePullBackOff",
    "ErrImageNeverPull",
    "InvalidImageName",
    "ImageInspectError",
    "CreateContainerConfigError",
    "CreateContainerError",
    "RunContainerError",
}


def is_ready(pod: Json) -> bool:
    """Whether the pod serves, or has ended as it should."""
    return (pod.get("status") or {}).get("phase") == "Succeeded" or condition(pod, "Ready").get("status") == "True"


def trouble(pod: Json) -> str:
    """The pod's own message when something is wrong with it, else nothing."""
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


def hopeless(pod: Json) -> str:
    """The pod's message when waiting cannot heal it, else nothing."""
    words = trouble(pod)
    return words if any(f": {reason}" in words for reason in HOPELESS) else ""


def missing(pods: Iterable[Json]) -> list[str]:
    """The pods that are not ready, each with its trouble. Raises ClusterError for one that never will be."""
    lines = []
    for pod in pods:
        if is_ready(pod) or (pod.get("metadata") or {}).get("deletionTimestamp"):
            continue
        name = key_of(pod)
        if words := hopeless(pod):
            namespace, _, short = name.partition("/")
            raise ClusterError(
                f"the pod {name} cannot start", evidence=words, fix=f"kubectl -n {namespace} describe pod {short}"
            )
        lines.append(f"pod {name}" + (f" ({words})" if (words := trouble(pod)) else ""))
    return lines
