"""Save all that a lab needs into one file, for machines without a network."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from threezone import __version__
from threezone.clients.docker import images as docker_images
from threezone.core import events, paths
from threezone.core.errors import ToolError
from threezone.core.files import output
from threezone.core.settings import Channel
from threezone.images import build, engine_images, preload
from threezone.images.bundle import format as bundle_format
from threezone.images.bundle import packed, python_packages
from threezone.images.bundle.format import BundledImage, BundledTool, Manifest, Member
from threezone.toolchain import golang, install, release

IMAGES, TOOLS, WHEELS = "images.tar.zst", "tools.tar.zst", "wheels"
SPACE = 4e9  # bytes: the images, as an archive and compressed, and the bundle
# Docker keeps no digest in an archive, so images that are named by their digest would not be found after a load.
CHANNEL: build.Channel = "source"


@dataclass(frozen=True)
class Saved:
    """A bundle that was written."""

    path: Path
    sha256: str
    manifest: Manifest


def platform() -> str:
    """The platform of this machine's programs and images, as a bundle names it."""
    return f"{release.system()}-{golang.architecture()}"


def save(file: Path, names: Sequence[str], root: Path, channel: Channel, pythons: Sequence[str] = ()) -> Saved:
    """Write a bundle with the lab's images `names`, the programs, and threezone's Python packages for `pythons`.

    What is missing is made first. Raises ToolError, CommandFailed, and UsageError for a path that cannot be written.
    """
    tools = install.ensure(install.NAMES, channel, root)
    present = build.ensure_all(names, CHANNEL)
    node, _ = preload.ensure(names, CHANNEL)
    images = {image.reference: name for name, group in present.items() for image in group}
    with engine_images.scratch("bundle") as directory:
        _require_space(directory)
        files: dict[str, Path] = {}
        members: dict[str, Member] = {}

        def add(name: str, path: Path, unpacked: int = 0) -> None:
            files[name], members[name] = path, bundle_format.member(path, unpacked)

        with events.step("fetch threezone's Python packages") as step:
            python_packages.fetch(root, directory / WHEELS, directory, pythons)
            for wheel in (directory / WHEELS).iterdir():
                add(f"{WHEELS}/{wheel.name}", wheel)
            step.result = f"{len(files)} wheels"
        with events.step("pack the programs"):
            packed.pack_entries(
                {each.path.parent.name: each.path.parent for each in tools.values()}, directory / "tools"
            )
            add(TOOLS, *_compressed(directory / "tools", directory / TOOLS))
        with events.step("pack the images") as step:
            docker_images.save(directory / "images", *images, build.APP, node.reference)
            add(IMAGES, *_compressed(directory / "images", directory / IMAGES))
            step.result = f"{members[IMAGES].unpacked / 1e6:.0f} MB, compressed {members[IMAGES].size / 1e6:.0f} MB"
        manifest = Manifest(
            bundle_format.FORMAT,
            __version__,
            platform(),
            {name: BundledTool(tool.version, tool.path.parent.name) for name, tool in tools.items()},
            {
                image.reference: BundledImage(image.recipe, build.inputs(name, CHANNEL))
                for name, group in present.items()
                for image in group
            },
            members,
        )
        with events.step(f"write {file}"), output(file, 0o644) as out:
            digest = bundle_format.write(out, manifest, files)
    return Saved(file, digest, manifest)


def _compressed(source: Path, target: Path) -> tuple[Path, int]:
    packed.compress(source, target)
    size = source.stat().st_size
    source.unlink()
    return target, size


def _require_space(directory: Path) -> None:
    if (free := shutil.disk_usage(directory).free) < SPACE:
        raise ToolError(
            f"{SPACE / 1e9:.0f} GB of free disk are needed, and {paths.cache_dir()} has {free / 1e9:.1f} GB",
            fix="free space, or set THREEZONE_CACHE to another disk",
        )
