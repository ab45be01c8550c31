"""Load images into the nodes of a cluster; derive the node image with a cluster's name."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from types import MappingProxyType

from threezone.clients import kind as kind_cli
from threezone.clients.docker import containers
from threezone.clients.docker.images import save
from threezone.core import events, labels
from threezone.core.errors import CommandFailed, UsageError
from threezone.images import archive, engine_images
from threezone.images.engine_images import Image
from threezone.toolchain.golang import ARCHITECTURES

LOAD_SECONDS = 900.0


def cluster_image(base: str, cluster: str, version: str = "", files: Mapping[str, str] = MappingProxyType({})) -> str:
    """The node image `base` with the label that makes its containers ours, as `threezone/node:TAG-CLUSTER`.

    `version` is the tag; "" means that of `base`. `files` are put into it, by path.
    """
    tag = version or base.partition("@")[0].rsplit(":", 1)[-1]
    marks = {labels.MANAGED: "true", labels.OWNER: cluster}
    return engine_images.derive(base, f"threezone/node:{tag}-{cluster}", marks, files).reference


def load(
    kind: Path,
    cluster: str,
    nodes: Sequence[str],
    images: Sequence[Image],
    archives: Sequence[Path] = (),
    *,
    mounted: Mapping[str, str] = MappingProxyType({}),
) -> tuple[Image, ...]:
    """Load images into all `nodes` (container names) of the kind cluster if one lacks them. Returns the loaded images.

    The engine's images go into one archive, besides the given `archives`; all nodes load at once. `kind` is its path,
    `mounted` has the user's directory for each node that keeps its images in one. Raises UsageError before anything is
    copied: for an invalid archive, for another architecture, and for a directory of the user's.
    """
    packed = {path: archive.read(path) for path in archives}
    with ThreadPoolExecutor(8) as pool:
        stores = dict(zip(nodes, pool.map(stored, nodes), strict=True))

    def lacks(node: str, contents: Sequence[Image]) -> bool:
        return not all(has(stores[node], image) for image in contents)

    missing = [image for image in images if any(lacks(node, [image]) for node in nodes)]
    needed = {path: inside for path, inside in packed.items() if any(lacks(node, inside) for node in nodes)}
    everything = (*missing, *(image for inside in needed.values() for image in inside))
    if not everything:
        engine_images.sweep(f"load-{cluster}")  # of a load that was killed at its end
        return ()
    lacking = [node for node in nodes if lacks(node, everything)]
    require_own_store(lacking, mounted, cluster, images=missing, archives=needed)
    require_architecture(everything, {node: architecture(node) for node in lacking})
    count = f"{len(everything)} image{'s' if len(everything) > 1 else ''}"
    with events.step(f"load {count} into {cluster}") as step, engine_images.scratch(f"load-{cluster}") as directory:
        files = [archive.plain(path, directory) for path in needed]
        if missing:
            files.append(directory / "images.tar")
            save(files[-1], *(image.reference for image in missing))
        step.result = f"{sum(file.stat().st_size for file in files) / 1e6:.0f} MB"
        if len(lacking) > 1:
            step.say(f"{step.result} to each of {len(lacking)} nodes")
        with ExitStack() as stack:
            loads = {node: stack.enter_context(kind_cli.load(kind, cluster, node, files)) for node in lacking}
            for number, (node, running) in enumerate(loads.items(), start=1):
                done = running.wait(LOAD_SECONDS)
                if done.exit_code != 0:
                    raise CommandFailed(running.argv, done.exit_code, running.tail, seconds=done.seconds)
                if len(lacking) > 1:
                    step.say(f"{node} has them ({number} of {len(lacking)})")
    return everything


def stored(node: str) -> dict[str, str]:
    """The images in a node's containerd: each name with the digest of its content."""
    done = containers.execute(node, "ctr", "--namespace", "k8s.io", "images", "list", timeout=60)
    rows = [line.split() for line in done.stdout.splitlines()[1:]]
    return {row[0]: row[2] for row in rows if len(row) > 2}  # noqa: PLR2004 - columns REF TYPE DIGEST …


def has(store: Mapping[str, str], image: Image) -> bool:
    """Whether a node's store has exactly this content under the image's name.

    The engine's id is the digest of the image's configuration, which Kubernetes keeps as a second name of the same
    content; engines with containerd's store use the digest itself.
    """
    digest = store.get(engine_images.full(image.reference))
    return digest is not None and digest in (image.id, store.get(image.id))


def architecture(node: str) -> str:
    """The architecture of a node as Go names it; "" for an unknown one."""
    machine = containers.execute(node, "uname", "-m").stdout.strip()
    return ARCHITECTURES.get(machine, "")


def require_own_store(
    nodes: Sequence[str], mounted: Mapping[str, str], cluster: str, *, images: Sequence[Image], archives: Iterable[Path]
) -> None:
    """Raise UsageError if a node that needs an image keeps its images in a directory of the user's. Pure."""
    if node := next((node for node in nodes if node in mounted), None):
        names = " ".join(image.reference for image in images)
        commands = [f"kind load docker-image {names} --name {cluster}"] if names else []
        commands += [f"kind load image-archive {path} --name {cluster}" for path in archives]
        raise UsageError(
            f"the node {node} keeps its images in your directory {mounted[node]}, so nothing is written there",
            fix=f"{'; '.join(commands)} (writes there), or take the images from a registry: docs/registry.md",
        )


def require_architecture(images: Sequence[Image], nodes: Mapping[str, str]) -> None:
    """Raise UsageError if a node cannot run an image. `nodes` are names with architectures. Pure."""
    for image in images:
        for node, wanted in nodes.items():
            if wanted and image.architectures and wanted not in image.architectures:
                raise UsageError(
                    f"{image.reference} is made for {', '.join(image.architectures)}, but the node {node} is {wanted}",
                    evidence="its pods would end with: exec format error",
                    fix=f"docker pull --platform linux/{wanted} {image.reference}, or build it for linux/{wanted}",
                )
