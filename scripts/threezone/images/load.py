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
from threezone.core.errors import CommandFailed, ToolError, UsageError
from threezone.images import archive, engine_images
from threezone.images.archive import Archive
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
    copied: for an invalid archive, for another architecture, and for a directory of the user's. Raises ToolError for an
    image of which the engine has only a part.
    """
    with ThreadPoolExecutor(8) as pool:
        stores = dict(zip(nodes, pool.map(stored, nodes), strict=True))

    def lack(node: str, contents: Iterable[Image]) -> bool:
        return not all(has(stores[node], image) for image in contents)

    missing = [image for image in images if any(lack(node, [image]) for node in nodes)]
    machines = {node: architecture(node) for node in nodes} if missing or archives else {}
    platform = next(iter(machines.values()), "")  # all nodes are on one engine
    packed = [archive.read(path, platform) for path in archives]
    needed = [each for each in packed if any(lack(node, each.images) for node in nodes)]
    saved = [image for each in needed for image in each.images]
    everything = (*missing, *saved)
    lacking = [node for node in nodes if lack(node, everything)]
    require_own_store(lacking, mounted, cluster, images=missing, archives=[each.path for each in needed])
    require_architecture(missing, machines)
    require_architecture(saved, machines, saved=True)
    if not everything:
        engine_images.sweep(f"load-{cluster}")  # of a load that was killed at its end
        return ()
    count = f"{len(everything)} image{'s' if len(everything) > 1 else ''}"
    with events.step(f"load {count} into {cluster}") as step, engine_images.scratch(f"load-{cluster}") as directory:
        if missing:
            needed.append(_save(directory / "images.tar", missing, platform))
            require_architecture(needed[-1].images, machines)
            # The id of an image for several platforms is not that of what is saved: only now is it known who lacks it.
            lacking = [node for node in nodes if any(lack(node, each.images) for each in needed)]
        if not lacking:
            step.result = "every node has it"
            return ()
        files = [archive.prepare(each, directory, platform) for each in needed]
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


def _save(file: Path, images: Sequence[Image], architecture: str) -> Archive:
    """Write the engine's images into an archive. Raises ToolError when the engine lacks a part of them."""
    names = [image.reference for image in images]
    try:
        save(file, *names, architecture=architecture)
        return archive.read(file, architecture)
    except (CommandFailed, UsageError) as error:
        if "content digest" not in error.evidence:
            raise
        platform = f" --platform linux/{architecture}" if architecture else ""
        raise ToolError(
            f"the engine has only a part of {', '.join(names)}",
            evidence=error.evidence,
            fix="; ".join(f"docker pull{platform} {name}" for name in names) + ", or build it again",
        ) from None


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


def require_architecture(images: Sequence[Image], nodes: Mapping[str, str], *, saved: bool = False) -> None:
    """Raise UsageError if a node cannot run an image. `nodes` are names with architectures. Pure.

    `saved` images are in an archive of the user's.
    """
    for image in images:
        for node, wanted in nodes.items():
            if wanted and image.architectures and wanted not in image.architectures:
                fix = f"docker pull --platform linux/{wanted} {image.reference}, or build it for linux/{wanted}"
                again = f"; then: docker save --output FILE {image.reference}"
                raise UsageError(
                    f"{image.reference} is made for {', '.join(image.architectures)}, but the node {node} is {wanted}",
                    evidence="its pods would end with: exec format error",
                    fix=fix + again if saved else fix,
                )
