"""The mark in the nodes of a cluster that it was created to the end."""

from __future__ import annotations

from threezone.clients.docker import containers
from threezone.clients.kind import Node
from threezone.core.errors import ClusterError, CommandFailed

MARK = "/kind/threezone-created"  # in the node: written last, so that an interrupted create has none
IMAGES = "/kind/threezone-images"  # in the node: the names of the images that it came with
_MARK = (
    f"[ -e {IMAGES} ] || ctr --namespace k8s.io images list --quiet >{IMAGES}; cat >{MARK}.new && mv {MARK}.new {MARK}"
)
_MARK_AGAIN = f"[ -e {MARK} ] || mv {MARK}.was {MARK} 2>/dev/null || touch {MARK}"


def is_marked(node: Node) -> bool:
    """Whether `cluster.create` finished on this node (works on stopped containers too).

    Raises EngineError where the engine does not say: what counts as interrupted is deleted by the next create.
    """
    return containers.has(node.container, MARK)


def unmark(node: Node) -> None:
    """Take the mark away again: what is left of the cluster from now on counts as interrupted, and `up` removes it."""
    script = f"[ ! -e {MARK} ] || mv --force {MARK} {MARK}.was"  # a run that was killed after this has taken it already
    containers.execute(node.container, "sh", "-c", script)


def mark(node: Node, record: str = "") -> None:
    """Note in the node itself that its cluster was created to the end, and from what; without it an earlier one stays.

    The first one comes with the names of the images that the node has: what is loaded later is the user's.
    """
    script = _MARK if record else _MARK_AGAIN
    try:
        containers.execute(node.container, "sh", "-c", script, stdin=record)
    except CommandFailed as error:
        raise ClusterError(f"the node {node.name} does not run", evidence=error.tail) from None
