"""Orphans: what a cluster leaves on the engine and this machine besides its nodes, found by our label.

A create that was killed leaves a derived image, or the container that it is derived from; kind's private files; half
a load. The network `kind` is kind's, which uses it for all clusters, so it is kept.
"""

from __future__ import annotations

from dataclasses import dataclass

from threezone.clients import kind
from threezone.clients.docker import containers, images
from threezone.core import labels, names
from threezone.images import engine_images, prune


@dataclass(frozen=True)
class Orphans:
    """The orphans of one cluster: containers that are not nodes (id, name), and image references."""

    cluster: str
    containers: tuple[tuple[str, str], ...] = ()
    images: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.containers or self.images)

    @property
    def names(self) -> tuple[str, ...]:
        """Their names, for a person."""
        return (*(f"container {name}" for _, name in self.containers), *(f"image {name}" for name in self.images))


def observe(cluster: str) -> Orphans:
    """The orphans of a cluster. Two engine calls. Raises EngineError.

    A user's image that is built on ours, and its containers, have our label too. So only containers count
    that never ran (an image is derived from one), and images that also have our name.
    """
    label = f"label={labels.OWNER}={cluster}"
    listed = containers.ls(label, "status=created", fields=("ID", "Names", containers.label(labels.KIND_CLUSTER)))
    never_ran = tuple((container, name) for container, name, of in listed if not of)
    return Orphans(cluster, never_ran, tuple(images.names(kind.NODE_IMAGE, label)))


def owners() -> tuple[str, ...]:
    """The names of all clusters of ours that have nodes, or an image derived for them."""
    clusters = {node.cluster for node in kind.nodes() if node.ours}
    clusters |= {image.owner for image in prune.observe() if image.repository == kind.NODE_IMAGE}
    return tuple(sorted(filter(names.is_cluster, clusters)))


def remove(orphans: Orphans) -> None:
    """Remove the orphans of a cluster whose nodes are gone. The engine keeps what somebody still uses."""
    containers.remove(*(container for container, _ in orphans.containers))
    images.remove(*orphans.images)
    kind.forget(orphans.cluster)
    engine_images.sweep(f"load-{orphans.cluster}")
