"""image.*: the lab's container images."""

from __future__ import annotations

from invoke import Context

from threezone.tasks.edge import emit, say, table, task
from threezone.tasks.lab import CHANNEL, session


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

    at = session("", channel)
    made = []
    if name != preload.NAME:
        images = ensure_all(at.images if name == "all" else (name,), at.channel)
        made = [image for group in images.values() for image in group]
    if name in ("all", preload.NAME):
        made.append(preload.ensure(at.images, at.channel))
    rows = [(image.reference, image.id.removeprefix("sha256:")[:12], f"{image.size / 1e6:.0f} MB") for image in made]
    say(table([("image", "id", "size"), *rows]))


@task(name="list", help={"channel": CHANNEL, "json": "print JSON"})
def list_(c: Context, channel: str = "", json: bool = False) -> None:
    """The lab's images, and which of them the container engine has."""
    from threezone.images import preload
    from threezone.images.build import observe, references

    at = session("", channel)
    chosen = at.channel
    present = observe(at.images, chosen)
    rows = []
    for name in at.images:
        sizes = {image.reference: image.size for image in present.get(name, ())}
        rows += [
            {"name": name, "reference": reference, "present": reference in sizes, "bytes": sizes.get(reference)}
            for reference in references(name, chosen)
        ]
    combination, made = preload.observe(at.images, chosen, present)
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
