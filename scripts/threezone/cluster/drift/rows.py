"""The rows of a comparison: one declared field each, and why some need a new cluster. Pure."""

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
MOUNTS = "the engine mounts when it creates a container"
VERSION = "nodes are not upgraded in place: their image is their version"
TOPOLOGY = "kind adds no node to an existing cluster and removes none"
KUBEADM = "kubeadm reads it once, when the node is created"
CONTAINERD = "containerd's settings are patched once, when the node is created"
NETWORK = "addresses are assigned when the cluster is created"
NOT_RECORDED = "an older threezone created this cluster and did not record it"
NOT_READABLE = "its nodes cannot be read: ./run invoke cluster.status"


@dataclass(frozen=True)
class Row:
    """One field: the declared and the live value (as text), the verdict, and the reason for it."""

    field: str
    declared: str
    running: str
    verdict: Verdict
    why: str = ""


def row(field: str, declared: str, live: str | None, why: str, unknown: str = NOT_READABLE) -> Row:
    """A field that only a new cluster changes; `live` is None where it is not known."""
    if live is None:
        return Row(field, declared, "?", "unknown", unknown)
    if live == declared:
        return Row(field, declared, live, "same")
    return Row(field, declared, live, "new cluster", why)


def mapping(value: Any) -> str:
    """A mapping as text, sorted by key; "none" for an empty one."""
    texts = {key: str(item).lower() if isinstance(item, bool) else str(item) for key, item in (value or {}).items()}
    return ", ".join(f"{key}={texts[key]}" for key in sorted(texts)) or "none"


def declared_nodes(cluster: str, declared: Mapping[str, Any]) -> dict[str, Json]:
    """The declared nodes by the names that kind gives them: the first of a role without a number."""
    counts: Counter[str] = Counter()
    nodes: dict[str, Json] = {}
    for node in declared.get("nodes") or [{}]:
        role = str(node.get("role") or "control-plane")
        counts[role] += 1
        number = counts[role] if counts[role] > 1 else ""
        nodes[f"{cluster}-{role}{number}"] = {**node, "role": role}
    return nodes
