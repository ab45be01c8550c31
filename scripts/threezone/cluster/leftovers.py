"""What is on the engine and on this machine because of a cluster, and is no node of it: found by our label alone.

A create that was killed leaves a derived image, or the container that it is made from; kind's private files; half a
load. The network `kind` is kind's: it makes it, and uses it for every cluster of anybody, so it is left.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from threezone import labels, process
from threezone.cluster import kind
from threezone.engine.observe import explain
from threezone.images import docker


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
    """What is left of a cluster beside its nodes. Two engine calls. Raises EngineError."""
    label = f"label={labels.OWNER}={cluster}"
    fields = f'{{{{.ID}}}}\t{{{{.Names}}}}\t{{{{.Label "{labels.KIND_CLUSTER}"}}}}'
    rows = _lines(["docker", "ps", "--all", "--no-trunc", "--filter", label, "--format", fields])
    found = [row.split("\t") for row in rows]
    tags = _lines(["docker", "image", "ls", "--filter", label, "--format", "{{.Repository}}:{{.Tag}}"])
    return Left(
        cluster,
        tuple((row[0], row[1]) for row in found if not row[2]),
        tuple(tag for tag in tags if not tag.endswith(":<none>")),
    )


def owners() -> tuple[str, ...]:
    """The names of all clusters of which something of ours is here: nodes, or an image that was made for them."""
    nodes = {node.cluster for node in kind.nodes() if node.ours}
    made = {str(image["Config"]["Labels"][labels.OWNER]) for image in _images(labels.OWNER)}
    return tuple(sorted((nodes | made) - {""}))


def _images(label: str) -> list[dict[str, Any]]:
    """The images with a label, as the engine inspects them."""
    ids = set(_lines(["docker", "image", "ls", "--quiet", "--no-trunc", "--filter", f"label={label}"]))
    if not ids:
        return []
    seen = process.run(["docker", "image", "inspect", *sorted(ids)], timeout=60, check=False)
    listed: list[dict[str, Any]] = json.loads(seen.stdout or "[]")
    return listed


def remove(left: Left) -> None:
    """Remove the leavings of a cluster whose nodes are gone. What somebody still uses, the engine keeps."""
    if left.containers:
        ids = [container for container, _ in left.containers]
        process.run(["docker", "rm", "--force", "--volumes", *ids], timeout=120, check=False)
    if left.images:
        process.run(["docker", "image", "rm", *left.images], timeout=120, check=False)
    forget(left.cluster)


def forget(cluster: str) -> None:
    """Remove the files that killed runs left of this cluster on this machine."""
    kind.forget(cluster)
    docker.sweep(f"load-{cluster}")


def ours() -> tuple[tuple[str, ...], int]:
    """Every image that we made and no cluster that is there needs: its references, and their size in bytes together.

    An image that was made for a cluster of ours with nodes stays, as does what any container uses.
    """
    kept = {node.cluster for node in kind.nodes()}
    used = set(_lines(["docker", "ps", "--all", "--no-trunc", "--format", "{{.Image}}"]))
    names: list[str] = []
    size = 0
    for image in _images(labels.MANAGED):
        tags = [tag for tag in image.get("RepoTags") or [] if tag not in used]
        of = (image["Config"].get("Labels") or {}).get(labels.OWNER)
        if of not in kept and image["Id"] not in used and tags:
            names += tags
            size += int(image["Size"])
    return tuple(sorted(names)), size


def remove_images(names: Sequence[str]) -> None:
    """Remove images by reference, and then those of ours that have no name left."""
    process.run(["docker", "image", "rm", *names], timeout=300, check=False)
    docker.prune()


def _lines(argv: Sequence[str]) -> list[str]:
    seen = process.run(argv, timeout=60, check=False)
    if seen.exit_code != 0:
        raise explain(seen.stderr.strip())
    return [line for line in seen.stdout.splitlines() if line]
