"""Version skew: which of the lab's versions do not work together, in a running or a planned cluster."""

from __future__ import annotations

from collections.abc import Sequence

from threezone.cluster import version_skew
from threezone.cluster.lab import Lab
from threezone.core import pins
from threezone.core.plan import Step, StepKind, has
from threezone.core.versions import parse
from threezone.delivery import repository
from threezone.flux import removed_apis as flux_apis
from threezone.flux.check import KUBERNETES
from threezone.flux.components import LABELLED
from threezone.flux.manifests import COLLECTIONS
from threezone.lab import plan
from threezone.lab.observe import LabState
from threezone.toolchain import install


def live_skew(lab: Lab, state: LabState) -> tuple[str, ...]:
    """The version skew of the running lab, a sentence each."""
    kubelets = {node.name: node.version for node in state.nodes}
    return _skew(lab, state.kubernetes, kubelets, state.flux.version)


def planned_skew(lab: Lab) -> tuple[str, ...]:
    """The version skew of a cluster as the settings declare it."""
    return _skew(lab, lab.kubernetes, {}, pins.tools(lab.root).flux.version)


def removed_apis(lab: Lab, state: LabState, planned: Sequence[Step]) -> tuple[str, ...]:
    """What the Flux that a plan installs, or delivers to, no longer has: in the commit's files, and in the cluster."""
    if not (has(planned, StepKind.INSTALL_FLUX) or has(planned, StepKind.DELIVER)):
        return ()
    flux = pins.tools(lab.root).flux.version
    lines = repository.matching(lab.root, state.head.sha, flux_apis.PATTERN) if state.head else []
    stored: tuple[str, ...] = ()
    if plan.flux_change(lab, state):
        listed = lab.api.get(COLLECTIONS["CustomResourceDefinition"], labelSelector=LABELLED) or {}
        stored = flux_apis.in_cluster(listed.get("items") or [], flux)
    return (*flux_apis.in_files(lines, flux), *stored)


def _skew(lab: Lab, server: str, kubelets: dict[str, str], flux: str) -> tuple[str, ...]:
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
