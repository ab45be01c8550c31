"""down: the way back, by label. What we did not make stays."""

from __future__ import annotations

from collections.abc import Sequence

from threezone.clients import kind
from threezone.cluster import lifecycle, orphans
from threezone.cluster.lab import Lab
from threezone.cluster.node_images import plan_prune
from threezone.core.errors import ClusterError
from threezone.core.events import step
from threezone.core.plan import Step, StepKind
from threezone.delivery import git_forward, git_server
from threezone.extras.addons import proxy
from threezone.images import prune
from threezone.lab.observe import current
from threezone.zones import connect as zone
from threezone.zones.export import path


def plan(lab: Lab) -> tuple[Step, ...]:
    """What there is to remove. A cluster of the same name that is not ours is not touched, nor is its context."""
    name = lab.name
    nodes = kind.nodes(name)
    if nodes and not nodes[0].ours:
        return ()
    actions = []
    if nodes:
        actions.append(
            Step(
                StepKind.DELETE_CLUSTER,
                f"delete the cluster {name} with everything in it: {', '.join(node.name for node in nodes)}",
                f"kind delete cluster --name {name}",
                asks=True,
            )
        )
    elif left := orphans.observe(name):
        actions.append(
            Step(
                StepKind.REMOVE_ORPHANS,
                f"remove what an interrupted create of {name} left: {', '.join(left.names)}",
                asks=True,
            )
        )
    if current(lab):
        actions.append(
            Step(
                StepKind.REMOVE_CONTEXT,
                f"remove the context {lab.context} from the kubeconfig",
                f"kubectl config delete-context {lab.context}",
                asks=True,
            )
        )
    return tuple(actions)


def plan_images() -> tuple[Step, ...]:
    """What removes the images that we made, as far as no cluster and no container needs them then. Others' stay."""
    found = prune.observe()
    if not found:
        return ()
    sentence = "remove the images that threezone made and no other cluster and no container needs"
    return (
        Step(
            StepKind.REMOVE_IMAGES,
            f"{sentence} ({len(found)} names at most)",
            "./run invoke image.prune --all",
            asks=True,
        ),
    )


def several(sessions: Sequence[Lab]) -> list[tuple[Lab, tuple[Step, ...]]]:
    """The plans for several clusters, all made before the first is carried out.

    Raises ClusterError for a cluster that is not there, and for one that is not ours.
    """
    planned = []
    for lab in sessions:
        name = lab.name
        nodes = kind.nodes(name)
        if nodes and not nodes[0].ours:
            raise ClusterError(
                f"the cluster {name} was not made by threezone; it is left alone",
                fix=f"kind delete cluster --name {name}",
            )
        actions = plan(lab)
        if not actions:
            known = ", ".join(sorted({node.cluster for node in kind.nodes()})) or "none"
            raise ClusterError(f"there is no cluster named {name}", evidence=f"clusters here: {known}")
        planned.append((lab, actions))
    return planned


def apply(lab: Lab, actions: Sequence[Step]) -> None:
    """Carry the plan out."""
    kinds = {action.kind for action in actions}
    if kinds - {StepKind.REMOVE_IMAGES}:
        _remove(lab, ours=StepKind.DELETE_CLUSTER in kinds)
    if StepKind.REMOVE_IMAGES in kinds:
        actions = plan_prune(lab, everything=True)  # the cluster's own is among them only now
        prune.apply([action for action in actions if action.kind is StepKind.REMOVE_IMAGE])


def _remove(lab: Lab, *, ours: bool) -> None:
    """Remove what `up` made: the cluster, its leavings, the kubeconfig entry, our network attachment, our state."""
    if ours:
        lifecycle.delete(lab)
    with step(f"remove the context {lab.context}") as running:
        running.result = "" if zone.disconnect(lab.name) else "there was none"
    orphans.remove(orphans.observe(lab.name))
    git_forward.close(lab.context)
    proxy.stop(lab.context)
    if ours:
        path.forget(lab.name)
    git_server.forget(lab.key)
