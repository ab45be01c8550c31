"""image.*: the lab's container images."""

from __future__ import annotations

from pathlib import Path

from invoke import Context

from threezone.tasks.lab import CHANNEL, NAME, open_lab
from threezone.tasks.runtime import consent, emit, say, table, task


@task(
    help={
        "name": "node, node:1.34 (of another Kubernetes), flux, git-server, hello, balancer, preloaded (the node with "
        "Flux, the Git server and the app inside), or all that the lab needs",
        "channel": CHANNEL,
    }
)
def build(c: Context, name: str, channel: str = "") -> None:
    """Get an image: pulled by digest, or built on this machine from Debian and Go modules; nothing if it is there.

    `release` pulls the node image and builds the small ones on a public Debian. `source` needs package registries
    only, root on Debian or Ubuntu, 16 GB of disk and, the first time, up to 25 minutes on two cores.
    """
    from threezone.images import preload
    from threezone.images.build import ensure_all

    lab = open_lab("", channel)
    made = []
    if name != preload.NAME:
        images = ensure_all(lab.images if name == "all" else (name,), lab.channel)
        made = [image for group in images.values() for image in group]
    if name in ("all", preload.NAME):
        made.append(preload.ensure(lab.images, lab.channel)[0])
    rows = [(image.reference, image.id.removeprefix("sha256:")[:12], f"{image.size / 1e6:.0f} MB") for image in made]
    say(table([("image", "id", "size"), *rows]))


@task(
    iterable=["archive"],
    help={
        "images": "comma-separated: flux, git-server, hello, any image of the engine by its name, or an archive (.tar)",
        "archive": "one more file that `docker save` or an OCI tool wrote; repeatable",
        "name": NAME,
        "channel": CHANNEL,
    },
)
def load(c: Context, images: str, archive: list[str], name: str = "", channel: str = "") -> None:
    """Load images into every node of a cluster at once: only what a node lacks, compared by digest.

    An image for another architecture than the nodes' is refused before anything is copied.
    """
    from threezone.cluster import node_images as room

    wanted = [each.strip() for each in images.split(",") if each.strip()]
    files = [each for each in wanted if each.endswith((".tar", ".tar.gz", ".tgz"))]
    lab = open_lab(name, channel, "")
    names = [each for each in wanted if each not in files]
    loaded = room.into_nodes(lab, names, [Path(file) for file in (*files, *archive)])
    told = ", ".join(image.reference for image in loaded)
    say(f"loaded into {lab.called}: {told}" if loaded else f"nothing to do: every node of {lab.called} has them")


@task(
    help={
        "all": "also what the lab here would make or fetch again, and what is only needed to compile again",
        "dry-run": "print the plan and change nothing",
        "yes": "answer yes to the question",
        "channel": CHANNEL,
    }
)
def prune(c: Context, all: bool = False, dry_run: bool = False, yes: bool = False, channel: str = "") -> None:  # noqa: A002
    """Remove images of ours that no cluster and no lab here uses, and what interrupted runs left; nothing of others."""
    from threezone.cluster import node_images as room
    from threezone.core.plan import describe
    from threezone.images import prune as images

    actions = room.plan_prune(open_lab("", channel), everything=all)
    if dry_run or not actions:
        say(describe(actions))
        return
    consent(actions, yes=yes)
    images.apply(actions)
    say(f"removed: {len(actions)}")


@task(name="list", help={"channel": CHANNEL, "json": "print JSON"})
def list_(c: Context, channel: str = "", json: bool = False) -> None:
    """The lab's images, and which of them the container engine has."""
    from threezone.images import preload
    from threezone.images.build import observe, references

    lab = open_lab("", channel)
    chosen = lab.channel
    present = observe(lab.images, chosen)
    rows = []
    for name in lab.images:
        sizes = {image.reference: image.size for image in present.get(name, ())}
        rows += [
            {"name": name, "reference": reference, "present": reference in sizes, "bytes": sizes.get(reference)}
            for reference in references(name, chosen)
        ]
    combination, made = preload.observe(lab.images, chosen, present)
    reference = combination.reference if combination else preload.REPOSITORY
    size = made.size if made else None
    rows.append({"name": preload.NAME, "reference": reference, "present": made is not None, "bytes": size})
    if json:
        emit(rows)
        return
    lines = [(str(row["name"]), str(row["reference"]), _size(row["bytes"])) for row in rows]
    say(table([("image", "reference", "size"), *lines]))


def _size(size: object) -> str:
    return f"{size / 1e6:.0f} MB" if isinstance(size, int) else "not there"
