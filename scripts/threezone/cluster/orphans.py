"""What is on the engine and on this machine because of a cluster, and is no node of it: found by our label alone.

A create that was killed leaves a derived image, or the container that it is made from; kind's private files; half a
load. The network `kind` is kind's: it makes it, and uses it for every cluster of anybody, so it is left.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from threezone.cluster import kind
from threezone.core import labels, names, process
from threezone.engine.find import explain
from threezone.images import engine_images, prune

REPOSITORY = "threezone/node"  # of the images that are derived for a cluster (images/load.py)


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
    fields = f'{{{{.ID}}}}\t{{{{.Names}}}}\t{{{{.Label "{labels.KIND_CLUSTER}"}}}}'
    argv = ["docker", "ps", "--all", "--no-trunc", "--filter", label, "--filter", "status=created", "--format", fields]
    found = [row for line in _lines(argv) if len(row := line.split("\t")) == 3]  # noqa: PLR2004  the fields above
    tags = _lines(["docker", "image", "ls", "--filter", label, "--format", "{{.Repository}}:{{.Tag}}", REPOSITORY])
    return Left(
        cluster,
        tuple((row[0], row[1]) for row in found if not row[2]),
        tuple(tag for tag in tags if not tag.endswith(":<none>")),
    )


def owners() -> tuple[str, ...]:
    """The names of all clusters of which something of ours is here: nodes, or an image that was made for them."""
    nodes = {node.cluster for node in kind.nodes() if node.ours}
    made = {image.owner for image in prune.observe() if image.repository == REPOSITORY}
    return tuple(sorted(filter(names.is_cluster, nodes | made)))


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
    engine_images.sweep(f"load-{cluster}")


def _lines(argv: Sequence[str]) -> list[str]:
    seen = process.run(argv, timeout=60, check=False)
    if seen.exit_code != 0:
        raise explain(seen.stderr.strip())
    return [line for line in seen.stdout.splitlines() if line]
