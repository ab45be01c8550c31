"""Images into the nodes of a cluster, and the node image that carries a cluster's name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from threezone import events, labels, process
from threezone.images import docker
from threezone.images.docker import Image


def cluster_image(base: str, cluster: str, version: str = "") -> str:
    """The node image `base` with the label that makes its containers ours, as `threezone/node:TAG-CLUSTER`.

    `version` is the tag; "" means that of `base`.
    """
    tag = version or base.partition("@")[0].rsplit(":", 1)[-1]
    return docker.derive(
        base, f"threezone/node:{tag}-{cluster}", {labels.MANAGED: "true", labels.OWNER: cluster}
    ).reference


def load(kind: Path, cluster: str, nodes: Sequence[str], images: Sequence[Image]) -> tuple[Image, ...]:
    """Load into all `nodes` (container names) of the kind cluster what any of them lacks; returns what was loaded.

    One archive for everything. `kind` is the program's path.
    """
    stores = [held(node) for node in nodes]
    missing = tuple(image for image in images if not all(has(store, image) for store in stores))
    if not missing:
        return ()
    size = sum(image.size for image in missing)
    with events.step(f"load {len(missing)} images into {cluster}") as step, docker.scratch(f"load-{cluster}") as place:
        archive = place / "images.tar"
        process.run(["docker", "save", "--output", archive, *(image.reference for image in missing)], timeout=600)
        argv: list[str | Path] = [kind, "load", "image-archive", archive, "--name", cluster, "--nodes", ",".join(nodes)]
        process.run(argv, timeout=900)
        step.result = f"{size / 1e6:.0f} MB"
    return missing


def held(node: str) -> dict[str, str]:
    """The images in a node's containerd: every name, and the digest that it stands for."""
    done = process.run(["docker", "exec", node, "ctr", "--namespace", "k8s.io", "images", "list"], timeout=60)
    rows = [line.split() for line in done.stdout.splitlines()[1:]]
    return {row[0]: row[2] for row in rows if len(row) > 2}  # noqa: PLR2004 - columns REF TYPE DIGEST …


def has(store: Mapping[str, str], image: Image) -> bool:
    """Whether a node's store has exactly this content under the image's name.

    The engine's id is the digest of the image's configuration, which Kubernetes keeps as a second name of the same
    content; engines with containerd's store use the digest itself.
    """
    digest = store.get(docker.full(image.reference))
    return digest is not None and digest in (image.id, store.get(image.id))
