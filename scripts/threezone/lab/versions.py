"""The versions that meet in the lab, held against each other: in the cluster that is there, or is about to be made."""

from __future__ import annotations

from threezone.cluster import version_skew
from threezone.cluster.lab import Lab
from threezone.core import pins
from threezone.core.versions import parse
from threezone.flux.check import KUBERNETES
from threezone.lab.observe import Seen
from threezone.toolchain import install


def seen_apart(lab: Lab, seen: Seen) -> tuple[str, ...]:
    """What does not fit in the cluster that was seen, a sentence each."""
    kubelets = {node.name: node.version for node in seen.nodes}
    return _apart(lab, seen.kubernetes, kubelets, seen.flux.version)


def planned_apart(lab: Lab) -> tuple[str, ...]:
    """What would not fit in the cluster that the settings ask for."""
    return _apart(lab, lab.kubernetes, {}, pins.tools(lab.root).flux.version)


def _apart(lab: Lab, server: str, kubelets: dict[str, str], flux: str) -> tuple[str, ...]:
    pinned = pins.tools(lab.root)
    kubectl = install.find("kubectl", root=lab.root)
    return version_skew.sentences(
        version_skew.Versions(
            server=server,
            kubectl=kubectl.version if kubectl else pinned.kubectl.version,
            kubelets=kubelets,
            kind=pinned.kind.version,
            flux=flux,
            flux_needs=KUBERNETES.get(parse(flux).series),
        )
    )
