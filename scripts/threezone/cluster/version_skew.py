"""Whether the versions that meet in a cluster fit each other: kubectl, API server, kubelets, kind, Flux. Pure.

The rules are those of https://kubernetes.io/releases/version-skew-policy/.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

KUBELET_BEHIND = 3  # minor versions that a kubelet may be older than its API server
# What a kind can make: the node images of its release notes, and newer ones whose kubeadm reads the configuration that
# it writes (v1beta3, pkg/cluster/internal/kubeadm/config.go; kubeadm 1.36 reads it).
MADE_BY: dict[tuple[int, ...], tuple[tuple[int, int], tuple[int, int]]] = {(0, 31): ((1, 31), (1, 36))}


@dataclass(frozen=True)
class Versions:
    """Every version as its program says it, with or without its v; "" and none of them are not looked at.

    `kubelets` by node; `flux_needs` is the oldest Kubernetes that this Flux works on.
    """

    server: str
    kubectl: str = ""
    kubelets: Mapping[str, str] = field(default_factory=dict)
    kind: str = ""
    flux: str = ""
    flux_needs: tuple[int, ...] = ()


def sentences(seen: Versions) -> tuple[str, ...]:
    """What does not fit, a sentence each with what mends it; empty when all is well or the server's is unknown."""
    server = minor(seen.server)
    if not server:
        return ()
    shown = seen.server.removeprefix("v")
    told = []
    apart = minor(seen.kubectl)[1] - server[1] if minor(seen.kubectl) else 0
    if abs(apart) > 1:
        told.append(
            f"kubectl {seen.kubectl} is {abs(apart)} minor versions {'newer' if apart > 0 else 'older'} than the API "
            f"server {shown}, and one is supported: set tools.kubectl.version in local/pins.toml to {server[0]}."
            f"{server[1]}.x"
        )
    for node, kubelet in sorted(seen.kubelets.items()):
        behind = server[1] - minor(kubelet)[1] if minor(kubelet) else 0
        if behind < 0 or behind > KUBELET_BEHIND:
            rule = "a kubelet may not be newer" if behind < 0 else f"{KUBELET_BEHIND} minor versions are supported"
            told.append(
                f"the kubelet of {node} is {kubelet.removeprefix('v')}, and the API server is {shown}: {rule}; "
                "create the cluster anew"
            )
    low, high = MADE_BY.get(minor(seen.kind), (server, server))
    if not low <= server <= high:
        told.append(
            f"kind {seen.kind} is known to make Kubernetes {_text(low)} to {_text(high)}, and this is {shown}: "
            "set tools.kind.version in local/pins.toml to one that was released with it"
        )
    if seen.flux and seen.flux_needs and server < seen.flux_needs:
        told.append(
            f"Flux {seen.flux.removeprefix('v')} needs Kubernetes {_text(seen.flux_needs)} or newer, and this is "
            f"{shown}: ask for a newer one (--kubernetes {_text(seen.flux_needs)})"
        )
    return tuple(told)


def minor(version: str) -> tuple[int, ...]:
    """The major and minor number of a version; () when there is none."""
    found = re.match(r"v?(\d+)\.(\d+)", version)
    return (int(found[1]), int(found[2])) if found else ()


def _text(version: tuple[int, ...]) -> str:
    return ".".join(str(part) for part in version)
