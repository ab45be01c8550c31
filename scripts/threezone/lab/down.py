"""down: remove what up made, found by labels; everything else stays."""

from __future__ import annotations

from collections.abc import Sequence

from threezone.clients import kind
from threezone.cluster import lease, lifecycle, orphans
from threezone.cluster.lab import Lab
from threezone.cluster.node_images import plan_prune
from threezone.core import events
from threezone.core.errors import ClusterError
from threezone.core.plan import Step, StepKind, has
from threezone.delivery import git_forward, git_server
from threezone.extras.addons import proxy
from threezone.images import prune
from threezone.zones import connect
from threezone.zones.export import path
from threezone.zones.kubeconfig_entry import find


def plan(lab: Lab) -> tuple[Step, ...]:
    """What there is to remove. A cluster of the same name that is not ours is not touched, nor is its context."""
    name = lab.name
    nodes = kind.nodes(name)
    if nodes and not nodes[0].ours:
        return ()
    if holder := lease.read(name):
        return (lease.wait_step(holder),)
    steps = []
    if nodes:
        sentence = f"delete the cluster {name} with everything in it: {', '.join(node.name for node in nodes)}"
        steps.append(Step(StepKind.DELETE_CLUSTER, sentence, f"kind delete cluster --name {name}", asks=True))
    elif left := orphans.observe(name):
        sentence = f"remove what an interrupted create of {name} left: {', '.join(left.names)}"
        steps.append(Step(StepKind.REMOVE_ORPHANS, sentence, asks=True))
    if find(lab.context):
        sentence = f"remove the context {lab.context} from the kubeconfig"
        steps.append(Step(StepKind.REMOVE_CONTEXT, sentence, f"kubectl config delete-context {lab.context}", asks=True))
    return tuple(steps)


def plan_images() -> tuple[Step, ...]:
    """The removal of our images that then no cluster and no container needs. Others' images stay."""
    images = prune.observe()
    if not images:
        return ()
    sentence = "remove the images that threezone made and no other cluster and no container needs"
    sentence = f"{sentence} ({len(images)} names at most)"
    return (Step(StepKind.REMOVE_IMAGES, sentence, "./run invoke image.prune --all", asks=True),)


def plan_all(labs: Sequence[Lab]) -> list[tuple[Lab, tuple[Step, ...]]]:
    """The plans for several clusters, all made before the first is carried out.

    Raises ClusterError for a cluster that does not exist, and for one that is not ours.
    """
    plans = []
    for lab in labs:
        name = lab.name
        nodes = kind.nodes(name)
        if nodes and not nodes[0].ours:
            raise ClusterError(
                f"the cluster {name} was not made by threezone; it is left alone",
                fix=f"kind delete cluster --name {name}",
            )
        steps = plan(lab)
        if not steps:
            clusters = ", ".join(sorted({node.cluster for node in kind.nodes()})) or "none"
            raise ClusterError(f"there is no cluster named {name}", evidence=f"clusters here: {clusters}")
        plans.append((lab, steps))
    return sorted(plans, key=lambda each: has(each[1], StepKind.WAIT_FOR_LEASE))  # those are refused: last


def apply(lab: Lab, steps: Sequence[Step]) -> None:
    """Carry the plan out. Raises ClusterError if another run is at work on the cluster."""
    kinds = {step.kind for step in steps}
    if kinds - {StepKind.REMOVE_IMAGES}:
        with lease.hold(lab.name, lease.BRIEF):
            if StepKind.WAIT_FOR_LEASE in kinds:
                raise ClusterError(f"another run has just changed the cluster {lab.name}", fix="run this again")
            _remove(lab, ours=StepKind.DELETE_CLUSTER in kinds)
    if StepKind.REMOVE_IMAGES in kinds:
        images = plan_prune(lab, everything=True)  # the cluster's own is among them only now
        prune.apply([step for step in images if step.kind is StepKind.REMOVE_IMAGE])


def _remove(lab: Lab, *, ours: bool) -> None:
    """Remove what `up` made: the cluster, orphans, the kubeconfig entry, our network attachment, our state."""
    if ours:
        lifecycle.delete(lab)
    with events.step(f"remove the context {lab.context}") as running:
        running.result = "" if connect.disconnect(lab.name) else "there was none"
    orphans.remove(orphans.observe(lab.name))
    git_forward.close(lab.context)
    proxy.stop(lab.context)
    if ours:
        path.forget(lab.name)
    git_server.forget(lab.key)
