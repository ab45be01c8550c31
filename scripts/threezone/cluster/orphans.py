"""What is on the engine and on this machine because of a cluster, and is no node of it: found by our label alone.

A create that was killed leaves a derived image, or the container that it is made from; kind's private files; half a
load. The network `kind` is kind's: it makes it, and uses it for every cluster of anybody, so it is left.
"""

from __future__ import annotations

from dataclasses import dataclass

from threezone.clients import kind
from threezone.clients.docker import containers, images
from threezone.core import labels, names
from threezone.images import engine_images, prune


@dataclass(frozen=True)
class Left:
    """The leavings of one cluster: containers that are no nodes (id, name), and image references."""

    cluster: str
    containers: tuple[tuple[str, str], ...] = ()
    images: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.containers or self.images)

    @property
    def names(self) -> tuple[str, ...]:
        """What it is, for a person."""
        return (*(f"container {name}" for _, name in self.containers), *(f"image {name}" for name in self.images))


def observe(cluster: str) -> Left:
    """What is left of a cluster beside its nodes. Two engine calls. Raises EngineError.

    Whoever builds on an image of ours inherits its label, and so does a container: what counts is a container that
    never ran, as the one that an image is derived from, and an image that is ours by its name too.
    """
    label = f"label={labels.OWNER}={cluster}"
    listed = containers.ls(label, "status=created", fields=("ID", "Names", containers.label(labels.KIND_CLUSTER)))
    return Left(
        cluster,
        tuple((container, name) for container, name, of in listed if not of),
        tuple(images.names(kind.NODE_IMAGE, label)),
    )


def owners() -> tuple[str, ...]:
    """The names of all clusters of which something of ours is here: nodes, or an image that was made for them."""
    nodes = {node.cluster for node in kind.nodes() if node.ours}
    made = {image.owner for image in prune.observe() if image.repository == kind.NODE_IMAGE}
    return tuple(sorted(filter(names.is_cluster, nodes | made)))


def remove(left: Left) -> None:
    """Remove the leavings of a cluster whose nodes are gone. What somebody still uses, the engine keeps."""
    containers.remove(*(container for container, _ in left.containers))
    images.remove(*left.images)
    forget(left.cluster)


def forget(cluster: str) -> None:
    """Remove the files that killed runs left of this cluster on this machine."""
    kind.forget(cluster)
    engine_images.sweep(f"load-{cluster}")
