"""image.*: the lab's container images."""

import re
from pathlib import Path
from typing import Annotated

from threezone.tasks.display import table
from threezone.tasks.options import Channel, ClusterName, DryRun, Json, Yes, open_lab, words
from threezone.tasks.runtime import agreed, present, say, task

ARCHIVE = re.compile(r"\.(tar(\.(gz|bz2|xz|zst))?|tgz|tbz2|txz|tzst)$")


@task
def build(
    name: Annotated[
        str,
        "node, node:1.34 (for another Kubernetes), flux, git-server, hello, balancer, preloaded (the node with "
        "Flux, the Git server and the app inside), or all that the lab needs",
    ],
    channel: Channel = "",
) -> None:
    """Pull an image by digest, or build it here from Debian and Go modules; does nothing if it exists.

    `release` pulls the node image and builds the small ones on a public Debian. `source` needs package registries
    only, root on Debian or Ubuntu, 16 GB of disk and, the first time, up to 25 minutes on two cores.
    """
    from threezone.images import preload
    from threezone.images.build import ensure_all

    lab = open_lab("", channel)
    images = []
    if name != preload.NAME:
        groups = ensure_all(lab.images if name == "all" else (name,), lab.channel)
        images = [image for group in groups.values() for image in group]
    if name in ("all", preload.NAME):
        images.append(preload.ensure(lab.images, lab.channel)[0])
    rows = [(image.reference, image.id.removeprefix("sha256:")[:12], f"{image.size / 1e6:.0f} MB") for image in images]
    say(table([("image", "id", "size"), *rows]))


@task
def load(
    images: Annotated[
        str, "comma-separated: flux, git-server, hello, an image of the engine, an archive (.tar, .tar.zst)", "images"
    ],
    archive: Annotated[list[str], "one more file that `docker save` or an OCI tool wrote; repeatable"],
    name: ClusterName = "",
    channel: Channel = "",
) -> None:
    """Load images into all nodes of a cluster in parallel; skips those that a node has, by digest.

    An image for another architecture than the nodes' is refused before anything is copied.
    """
    from threezone.cluster import node_images

    wanted = words(images)
    files = [word for word in wanted if ARCHIVE.search(word)]
    lab = open_lab(name, channel, "")
    names = [word for word in wanted if word not in files]
    loaded = node_images.into_nodes(lab, names, [Path(file) for file in (*files, *archive)])
    references = ", ".join(image.reference for image in loaded)
    say(
        f"loaded into {lab.display_name}: {references}"
        if loaded
        else f"nothing to do: every node of {lab.display_name} has them"
    )


@task
def prune(
    all: Annotated[bool, "also the images of the lab here, and build caches"] = False,
    dry_run: DryRun = False,
    yes: Yes = False,
    channel: Channel = "",
) -> None:
    """Remove images of ours that no cluster and no lab here uses, and leftovers of interrupted runs."""
    from threezone.cluster import node_images
    from threezone.images.prune import apply

    steps = node_images.plan_prune(open_lab("", channel), everything=all)
    if agreed(steps, yes=yes, dry_run=dry_run or not steps):
        apply(steps)
        say(f"removed: {len(steps)}")


@task
def list_(channel: Channel = "", json: Json = False) -> None:
    """List the lab's images, and which of them the container engine has."""
    from threezone.images import preload
    from threezone.images.build import observe, references

    lab = open_lab("", channel)
    present_images = observe(lab.images, lab.channel)
    sizes: list[tuple[str, str, int | None]] = []  # name, reference, bytes
    for name in lab.images:
        by_reference = {image.reference: image.size for image in present_images.get(name, ())}
        sizes += [(name, reference, by_reference.get(reference)) for reference in references(name, lab.channel)]
    combination, preloaded = preload.observe(lab.images, lab.channel, present_images)
    reference = combination.reference if combination else preload.REPOSITORY
    sizes.append((preload.NAME, reference, preloaded.size if preloaded else None))
    data = [
        {"name": name, "reference": reference, "present": size is not None, "bytes": size}
        for name, reference, size in sizes
    ]
    rows = [(name, image, "missing" if size is None else f"{size / 1e6:.0f} MB") for name, image, size in sizes]
    present(data, table([("image", "reference", "size"), *rows]), as_json=json)
