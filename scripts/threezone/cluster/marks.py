"""The mark in the nodes of a cluster whose creation was completed."""

from __future__ import annotations

from threezone.clients.docker import containers
from threezone.clients.kind import Node
from threezone.core.errors import ClusterError, CommandFailed

MARK = "/kind/threezone-created"  # in the node: written last, so that an interrupted create leaves none
IMAGES = "/kind/threezone-images"  # in the node: the names of the images that it was created with
_MARK = (
    f"[ -e {IMAGES} ] || ctr --namespace k8s.io images list --quiet >{IMAGES}; cat >{MARK}.new && mv {MARK}.new {MARK}"
)
_MARK_AGAIN = f"[ -e {MARK} ] || mv {MARK}.was {MARK} 2>/dev/null || touch {MARK}"


def is_marked(node: Node) -> bool:
    """Whether the creation was completed on this node, which may be stopped.

    Raises EngineError when the engine does not answer: a cluster without a mark is deleted by the next create.
    """
    return containers.has(node.container, MARK)


def unmark(node: Node) -> None:
    """Remove the mark: from now on the cluster counts as interrupted, and `up` removes the rest of it."""
    script = f"[ ! -e {MARK} ] || mv --force {MARK} {MARK}.was"  # an earlier run that was killed has removed it
    containers.execute(node.container, "sh", "-c", script)


def mark(node: Node, text: str = "") -> None:
    """Write the mark, with the last applied configuration as its `text`; without a text an earlier one stays.

    The first mark comes with the names of the node's images: what is loaded later is the user's.
    """
    script = _MARK if text else _MARK_AGAIN
    try:
        containers.execute(node.container, "sh", "-c", script, stdin=text)
    except CommandFailed as error:
        raise ClusterError(f"the node {node.name} does not run", evidence=error.tail) from None
