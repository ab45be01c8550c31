"""Whether the versions in a cluster fit each other: kubectl, API server, kubelets, kind, Flux. Pure.

The rules are those of https://kubernetes.io/releases/version-skew-policy/.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from threezone.core.versions import dotted, parse

KUBELET_BEHIND = 3  # minor versions that a kubelet may be older than its API server
# The oldest and newest Kubernetes that a kind can create: the node images of its release notes, and newer ones whose
# kubeadm reads its configuration (pkg/cluster/internal/kubeadm/config.go). kubeadm 1.36 reads v1beta3, which kind 0.31
# writes; from 0.32 on, kind writes v1beta4 for 1.36 and newer.
SUPPORTED_BY_KIND: dict[tuple[int, int], tuple[tuple[int, int], tuple[int, int]]] = {
    (0, 31): ((1, 31), (1, 36)),
    (0, 32): ((1, 31), (1, 37)),
    (0, 33): ((1, 31), (1, 37)),
}


@dataclass(frozen=True)
class Versions:
    """Each version as its program prints it, with or without its v; "" and None are not checked.

    `kubelets` by node; `flux_needs` is the oldest Kubernetes that this Flux works on.
    """

    server: str
    kubectl: str = ""
    kubelets: Mapping[str, str] = field(default_factory=dict)
    kind: str = ""
    flux: str = ""
    flux_needs: tuple[int, int] | None = None


def sentences(versions: Versions) -> tuple[str, ...]:
    """A sentence for each misfit, with the fix; none when the API server's version is unknown."""
    server = parse(versions.server)
    if not server:
        return ()
    shown = versions.server.removeprefix("v")
    misfits = []
    kubectl = parse(versions.kubectl)
    apart = kubectl.minor - server.minor if kubectl else 0
    if abs(apart) > 1:
        misfits.append(
            f"kubectl {versions.kubectl} is {abs(apart)} minor versions {'newer' if apart > 0 else 'older'} than the "
            f"API server {shown}, and one is supported: set tools.kubectl.version in local/pins.toml to "
            f"{dotted(server.series)}.x"
        )
    for node, kubelet in sorted(versions.kubelets.items()):
        behind = server.minor - parse(kubelet).minor if parse(kubelet) else 0
        if behind < 0 or behind > KUBELET_BEHIND:
            rule = "a kubelet may not be newer" if behind < 0 else f"{KUBELET_BEHIND} minor versions are supported"
            misfits.append(
                f"the kubelet of {node} is {kubelet.removeprefix('v')}, and the API server is {shown}: {rule}; "
                "create the cluster again"
            )
    oldest, newest = SUPPORTED_BY_KIND.get(parse(versions.kind).series, (server.series, server.series))
    if not oldest <= server.series <= newest:
        misfits.append(
            f"kind {versions.kind} can create Kubernetes {dotted(oldest)} to {dotted(newest)}, and this is {shown}: "
            f"set tools.kind.version in local/pins.toml to {_kind_for(server.series)}"
        )
    if versions.flux and versions.flux_needs and server.series < versions.flux_needs:
        needed = dotted(versions.flux_needs)
        misfits.append(
            f"Flux {versions.flux.removeprefix('v')} needs Kubernetes {needed} or newer, and this is {shown}: ask for "
            f"a newer one (--kubernetes {needed})"
        )
    return tuple(misfits)


def _kind_for(kubernetes: tuple[int, int]) -> str:
    """The newest known kind that supports a Kubernetes, in words."""
    able = [kind for kind, (oldest, newest) in SUPPORTED_BY_KIND.items() if oldest <= kubernetes <= newest]
    return f"{dotted(max(able))}.0" if able else "a kind that supports it"
