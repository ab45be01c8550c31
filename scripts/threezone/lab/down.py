"""down: the way back, by label. What we did not make stays."""

from __future__ import annotations

from collections.abc import Sequence

from threezone.cluster import kind
from threezone.lab import steps
from threezone.lab.observe import current
from threezone.lab.session import Session
from threezone.plan import Action


def plan(session: Session) -> tuple[Action, ...]:
    """What there is to remove. A cluster of the same name that is not ours is not touched, nor is its context."""
    name = session.lab.name
    nodes = kind.nodes(name)
    if nodes and not nodes[0].ours:
        return ()
    actions = []
    if nodes:
        actions.append(
            Action(
                "delete",
                f"delete the cluster {name} with everything in it: {', '.join(node.name for node in nodes)}",
                f"kind delete cluster --name {name}",
                asks=True,
            )
        )
    if current(session.lab):
        actions.append(
            Action(
                "context",
                f"remove the context {session.lab.context} from the kubeconfig",
                f"kubectl config delete-context {session.lab.context}",
                asks=True,
            )
        )
    return tuple(actions)


def apply(session: Session, actions: Sequence[Action]) -> None:
    """Carry the plan out."""
    steps.down(session, ours=any(action.key == "delete" for action in actions))
