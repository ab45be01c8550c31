"""Load a bundle: its programs into the cache, its images into the engine. No network is used."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from threezone.clients.docker import images as docker_images
from threezone.core import events, paths
from threezone.core.errors import ToolError, UsageError
from threezone.images import build, engine_images
from threezone.images.bundle import format as bundle_format
from threezone.images.bundle import packed, record
from threezone.images.bundle.format import BundledImage, Manifest
from threezone.images.bundle.save import CHANNEL, IMAGES, TOOLS, platform
from threezone.toolchain import cache, install


@dataclass(frozen=True)
class Loaded:
    """What a bundle has brought: the names of the programs and of the images that were missing."""

    manifest: Manifest
    tools: tuple[str, ...]
    images: tuple[str, ...]


def load(file: Path, names: Sequence[str], root: Path, sha256: str = "") -> Loaded:
    """Load a bundle for the lab's images `names`. With everything there it changes nothing.

    The whole file is checked before anything is changed: against `sha256` if that is given, and its members against
    its manifest. Raises UsageError for a file that is damaged, of another platform, or does not fit these pins.
    """
    with engine_images.scratch("bundle") as directory:
        with events.step(f"check {file}") as step:
            if sha256 and bundle_format.sha256_of(file) != sha256.lower():
                raise UsageError(
                    f"the checksum of {file} is not {sha256}", fix="copy the file again; nothing was changed"
                )
            manifest = bundle_format.unpack(file, directory)
            require_fit(manifest, names, root)
            step.result = f"of threezone {manifest.threezone}, for {manifest.platform}"
        _require_space(manifest, directory)
        tools = _load_tools(manifest, directory)
        present = engine_images.inspect(list(manifest.images))
        missing = [name for name, image in manifest.images.items() if not _has(present.get(name), image)]
        record.add(manifest.images)  # before the images: one that is there, and is not accepted, would be built again
        if missing:
            with events.step(f"load {len(manifest.images)} images into the engine"):
                packed.decompress(directory / IMAGES, directory / "images", manifest.members[IMAGES].unpacked)
                docker_images.load(directory / "images")
    return Loaded(manifest, tools, tuple(missing))


def _has(image: engine_images.Image | None, wanted: BundledImage) -> bool:
    return image is not None and image.recipe == wanted.recipe


def require_fit(manifest: Manifest, names: Sequence[str], root: Path) -> None:
    """Raise UsageError unless a bundle has what this threezone needs, for this platform."""
    again = "make one with this version of threezone and the same local/pins.toml: ./run invoke bundle.save FILE"
    if manifest.platform != platform():
        raise UsageError(f"the bundle is for {manifest.platform}, and this machine is {platform()}", fix=again)
    if absent := [name for name in (IMAGES, TOOLS) if name not in manifest.members]:
        raise UsageError(f"the bundle has no {absent[0]}", fix=again)
    lacking = []
    for name in install.NAMES:
        bundled = manifest.tools.get(name)
        if bundled is None or bundled.key not in install.cache_keys(name, root):
            lacking.append(f"{name} (it has {bundled.version if bundled else 'none'})")
    for name in names:
        for reference in build.references(name, CHANNEL):
            image = manifest.images.get(reference)
            if image is None or image.inputs != build.inputs(name, CHANNEL):
                lacking.append(reference)
    if lacking:
        raise UsageError(
            f"the bundle of threezone {manifest.threezone} does not have what is pinned here",
            evidence=f"missing: {', '.join(lacking)}",
            fix=again,
        )


def _load_tools(manifest: Manifest, directory: Path) -> tuple[str, ...]:
    wanted = {tool.key: name for name, tool in manifest.tools.items()}
    if missing := [name for key, name in wanted.items() if cache.lookup("tools", key) is None]:
        with events.step(f"put {', '.join(missing)} into the cache"):
            packed.decompress(directory / TOOLS, directory / "tools", manifest.members[TOOLS].unpacked)
            entries = packed.unpack_entries(directory / "tools", directory / "entries")
            for key in wanted:
                if key not in entries:
                    raise UsageError(f"the bundle has no entry {key}", fix=packed.MAKE)
                cache.entry("tools", key, partial(_copy, entries[key]))
    return tuple(missing)


def _copy(source: Path, target: Path) -> None:
    shutil.copytree(source, target, dirs_exist_ok=True)


def _require_space(manifest: Manifest, directory: Path) -> None:
    needed = sum(member.unpacked for member in manifest.members.values())
    if (free := shutil.disk_usage(directory).free) < needed:
        raise ToolError(
            f"{needed / 1e9:.1f} GB of free disk are needed, and {paths.cache_dir()} has {free / 1e9:.1f} GB",
            fix="free space, or set THREEZONE_CACHE to another disk",
        )
