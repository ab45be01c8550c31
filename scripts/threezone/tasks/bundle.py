"""bundle.*: all that a lab needs in one file, for machines without a network."""

from pathlib import Path
from typing import Annotated

import msgspec

from threezone.tasks.options import Channel, Json, open_lab
from threezone.tasks.runtime import present, task


@task
def save(
    file: Annotated[str, "the file to write"],
    python: Annotated[
        list[str], "a version of Python on the other machine, such as 3.13; repeatable (default: this one's)"
    ],
    channel: Channel = "",
    json: Json = False,
) -> None:
    """Save programs, images and Python packages into one file; makes what is missing.

    The file is for this platform, and for the versions that are pinned here. Images are those of the channel source,
    whatever the channel: an engine cannot restore images that are named by a digest.
    """
    from threezone.engine import find
    from threezone.images.bundle.save import save as write

    find.require(find.observe())
    lab = open_lab("", channel)
    saved = write(Path(file), lab.images, lab.root, lab.settings.channel, python)
    size = Path(file).stat().st_size
    facts = {"file": file, "bytes": size, "sha256": saved.sha256, **msgspec.to_builtins(saved.manifest)}
    text = (
        f"{file}: {size / 1e6:.0f} MB, {len(saved.manifest.images)} images, {', '.join(saved.manifest.tools)}\n"
        f"sha256 {saved.sha256}\n"
        f"where there is no network: ./run invoke bundle.load {file} --sha256 {saved.sha256}"
    )
    present(facts, text, as_json=json)


@task
def load(
    file: Annotated[str, "the file that bundle.save has written"],
    sha256: Annotated[str, "the checksum that bundle.save has printed; compared before anything else"] = "",
    json: Json = False,
) -> None:
    """Load a bundle: programs into the cache, images into the engine. Uses no network; safe to repeat.

    A file that is damaged, of another platform or of other versions is refused before anything is changed. In a
    checkout of threezone, the first `./run invoke bundle.load FILE` makes its Python environment from the bundle, too.
    """
    from threezone.engine import find
    from threezone.images.bundle.load import load as read

    find.require(find.observe())
    lab = open_lab("")
    loaded = read(Path(file), lab.images, lab.root, sha256)
    facts = {"tools": loaded.tools, "images": loaded.images, "threezone": loaded.manifest.threezone}
    brought = ", ".join([*loaded.tools, *loaded.images])
    text = f"loaded {brought}" if brought else "nothing to do: everything was here"
    present(facts, f"{text}\nnext: ./run invoke up --channel source", as_json=json)
