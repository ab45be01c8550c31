"""Images into the nodes of a cluster, and the node image that carries a cluster's name."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from threezone import events, process
from threezone.images import docker
from threezone.images.docker import Image

CLUSTER = "io.threezone.cluster"  # containers inherit it from their image: so a cluster's nodes are known as ours


def cluster_image(base: str, cluster: str) -> str:
    """The node image `base` with the label that makes its containers ours, as `threezone/node:TAG-CLUSTER`."""
    tag = base.partition("@")[0].rsplit(":", 1)[-1]
    return docker.derive(base, f"threezone/node:{tag}-{cluster}", {docker.MANAGED: "true", CLUSTER: cluster}).reference


def load(kind: Path, cluster: str, nodes: Sequence[str], images: Sequence[Image]) -> tuple[Image, ...]:
    """Load into all `nodes` (container names) of the kind cluster what any of them lacks; returns what was loaded.

    One archive for everything. `kind` is the program's path.
    """
    missing = tuple(image for image in images if any(not _has(node, image) for node in nodes))
    if not missing:
        return ()
    size = sum(image.size for image in missing)
    with events.step(f"load {len(missing)} images into {cluster}") as step, docker.scratch(f"load-{cluster}") as place:
        archive = place / "images.tar"
        process.run(["docker", "save", "--output", archive, *(image.reference for image in missing)], timeout=600)
        argv = [kind, "load", "image-archive", archive, "--name", cluster, "--nodes", ",".join(nodes)]
        process.run(argv, timeout=900)
        step.result = f"{size / 1e6:.0f} MB"
    return missing


def _has(node: str, image: Image) -> bool:
    """Whether a node's containerd has this content under this name."""
    return image.id in held(node).get(_full(image.reference), "")


def held(node: str) -> dict[str, str]:
    """A node's images: full name → the digests that containerd knows it by."""
    raise NotImplementedError


def _full(reference: str) -> str:
    """A reference as containerd writes it: with its registry."""
    first, _, rest = reference.partition("/")
    return reference if rest and ("." in first or ":" in first) else f"docker.io/{reference}"
