"""One field of a comparison, and why some take a new cluster. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from threezone.cluster.drift.merge_patch import Json

Verdict = Literal["same", "in place", "new cluster", "unknown"]
API = "6443/tcp"  # the API server's port inside its container (kind, common.APIServerInternalPort)
ROOTLESS_GATE = "KubeletInUserNamespace"  # kind sets it by itself on a rootless engine

PORTS = "a published port cannot be moved (kind#2720)"
MOUNTS = "the engine mounts when it makes a container"
VERSION = "nodes are not upgraded in place: their image is their version"
TOPOLOGY = "kind adds and removes no node of a cluster that exists"
KUBEADM = "kubeadm reads it once, when the node is made"
CONTAINERD = "containerd's settings are patched once, when the node is made"
NETWORK = "addresses are handed out when the cluster is made"
NOT_RECORDED = "an older threezone made this cluster and wrote nothing down of it"
NOT_READABLE = "its nodes cannot be read: ./run invoke cluster.status"


@dataclass(frozen=True)
class Row:
    """One field: what is declared and what runs (as text), whether that is the same, and what a change takes."""

    field: str
    declared: str
    running: str
    verdict: Verdict
    why: str = ""


def row(field: str, declared: str, running: str | None, why: str, unknown: str = NOT_READABLE) -> Row:
    """A field that only a new cluster changes; `running` None is not known."""
    if running is None:
        return Row(field, declared, "?", "unknown", unknown)
    if running == declared:
        return Row(field, declared, running, "same")
    return Row(field, declared, running, "new cluster", why)


def mapping(value: Any) -> str:
    """A mapping as text, in one order; none for an empty one."""
    shown = {key: str(each).lower() if isinstance(each, bool) else str(each) for key, each in (value or {}).items()}
    return ", ".join(f"{key}={shown[key]}" for key in sorted(shown)) or "none"


def declared_nodes(cluster: str, declared: Mapping[str, Any]) -> dict[str, Json]:
    """The declared nodes by the names that kind gives them: the first of a role without a number."""
    counted: Counter[str] = Counter()
    found: dict[str, Json] = {}
    for node in declared.get("nodes") or [{}]:
        role = str(node.get("role") or "control-plane")
        counted[role] += 1
        number = counted[role] if counted[role] > 1 else ""
        found[f"{cluster}-{role}{number}"] = {**node, "role": role}
    return found


def place(name: str, nodes: Mapping[str, Json]) -> str:
    """Where a node stands in the file."""
    return f"nodes[{list(nodes).index(name)}]"
