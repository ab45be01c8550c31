"""Whether the versions that meet in a cluster fit each other: kubectl, API server, kubelets, kind, Flux. Pure.

The rules are those of https://kubernetes.io/releases/version-skew-policy/.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from threezone.core.versions import dotted, parse

KUBELET_BEHIND = 3  # minor versions that a kubelet may be older than its API server
# What a kind can make: the node images of its release notes, and newer ones whose kubeadm reads the configuration that
# it writes (v1beta3, pkg/cluster/internal/kubeadm/config.go; kubeadm 1.36 reads it).
MADE_BY: dict[tuple[int, int], tuple[tuple[int, int], tuple[int, int]]] = {(0, 31): ((1, 31), (1, 36))}


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
    flux_needs: tuple[int, int] | None = None


def sentences(seen: Versions) -> tuple[str, ...]:
    """What does not fit, a sentence each with what mends it; empty when all is well or the server's is unknown."""
    server = parse(seen.server)
    if not server:
        return ()
    shown = seen.server.removeprefix("v")
    told = []
    kubectl = parse(seen.kubectl)
    apart = kubectl.minor - server.minor if kubectl else 0
    if abs(apart) > 1:
        told.append(
            f"kubectl {seen.kubectl} is {abs(apart)} minor versions {'newer' if apart > 0 else 'older'} than the API "
            f"server {shown}, and one is supported: set tools.kubectl.version in local/pins.toml to "
            f"{dotted(server.series)}.x"
        )
    for node, kubelet in sorted(seen.kubelets.items()):
        behind = server.minor - parse(kubelet).minor if parse(kubelet) else 0
        if behind < 0 or behind > KUBELET_BEHIND:
            rule = "a kubelet may not be newer" if behind < 0 else f"{KUBELET_BEHIND} minor versions are supported"
            told.append(
                f"the kubelet of {node} is {kubelet.removeprefix('v')}, and the API server is {shown}: {rule}; "
                "create the cluster anew"
            )
    low, high = MADE_BY.get(parse(seen.kind).series, (server.series, server.series))
    if not low <= server.series <= high:
        told.append(
            f"kind {seen.kind} is known to make Kubernetes {dotted(low)} to {dotted(high)}, and this is {shown}: "
            "set tools.kind.version in local/pins.toml to one that was released with it"
        )
    if seen.flux and seen.flux_needs and server.series < seen.flux_needs:
        told.append(
            f"Flux {seen.flux.removeprefix('v')} needs Kubernetes {dotted(seen.flux_needs)} or newer, and this is "
            f"{shown}: ask for a newer one (--kubernetes {dotted(seen.flux_needs)})"
        )
    return tuple(told)
