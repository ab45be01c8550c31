"""Read the image archives that `docker save` and OCI tools write, without an engine; prepare them for containerd."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import shlex
import shutil
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from threezone.core.errors import ToolError, UsageError
from threezone.core.files import special_kind
from threezone.images import oci_layout
from threezone.images.engine_images import Image
from threezone.images.oci_layout import INDEX, LAYOUT, Entry, Load

DOCKER = "manifest.json"
# The first bytes of compressed files (RFC 1952; bzip2; xz's format; RFC 8878).
_PACKED: dict[bytes, Any] = {b"\x1f\x8b": gzip.open, b"BZh": bz2.open, b"\xfd7zXZ\0": lzma.open}
ZSTD = b"\x28\xb5\x2f\xfd"
DOCUMENT_LIMIT = 4 * 2**20  # bytes; manifests and configurations are far smaller
_FIX = "docker save --output FILE NAME:TAG"


@dataclass(frozen=True)
class Archive:
    """An archive's images: name, the digest that a node has for the content, bytes, architectures; and its OCI layout.

    `layout` is empty in the older format of `docker save`.
    """

    path: Path
    images: tuple[Image, ...]
    layout: tuple[Entry, ...] = ()


def read(path: Path, architecture: str = "") -> Archive:
    """Read an archive without unpacking its layers.

    Of an image for several platforms only some may be in the archive: then it is the one for `architecture`, if that is
    there. Raises UsageError for a file that is not an image archive, for an image without a name, and for one of which
    no platform is complete.
    """
    if kind := special_kind(path):
        raise UsageError(
            f"{path} is a {kind}; an image archive must be a regular file, as it is read more than once", fix=_FIX
        )
    try:
        with _opened(path) as tar:
            files, load = _contents(tar)
            size = sum(member.size for member in files.values())
            layout = []
            if LAYOUT in files:  # containerd prefers it, too (containerd, core/images/archive/importer.go)
                layout = oci_layout.entries(load, files)
                images = [_image(path, entry, architecture, size) for entry in layout]
            elif DOCKER in files:
                images = _docker(load, size)
            else:
                raise UsageError(f"{path} is not an image archive: it has neither {DOCKER} nor {LAYOUT}", fix=_FIX)
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror or error}", fix="check the path") from None
    except (tarfile.TarError, lzma.LZMAError, EOFError, AttributeError, KeyError, TypeError, ValueError) as error:
        raise UsageError(f"{path} is not a complete image archive", evidence=repr(error), fix=_FIX) from None
    if not images or any(not image.reference for image in images):
        raise UsageError(
            f"{path} has an image without a name, which no pod could use",
            fix="name it before it is saved: docker tag ID NAME:TAG && docker save --output FILE NAME:TAG",
        )
    return Archive(path, tuple(images), tuple(layout))


def _contents(tar: tarfile.TarFile) -> tuple[dict[str, tarfile.TarInfo], Load]:
    """The files of an archive by their paths, and how to read a JSON document of it."""
    files = {_path(member): member for member in tar if member.isreg()}

    def load(name: str) -> Any:
        stream = tar.extractfile(files[name])
        return json.loads(stream.read(DOCUMENT_LIMIT)) if stream else None

    return files, load


def _path(member: tarfile.TarInfo) -> str:
    return member.name.removeprefix("./")


def _docker(load: Load, size: int) -> list[Image]:
    """The images that `docker save` wrote: the configuration's digest is the engine's id."""
    images = []
    for entry in load(DOCKER):
        config = str(entry["Config"])
        digest = config.rpartition("/")[2].removesuffix(".json")
        architecture = str(load(config).get("architecture", ""))
        names = entry.get("RepoTags") or [""]
        images += [Image(str(name), f"sha256:{digest}", size, architectures=(architecture,)) for name in names]
    return images


def _image(path: Path, entry: Entry, architecture: str, size: int) -> Image:
    """An image of an OCI layout. Nodes know one that is not complete by the configuration of its only platform."""
    if not entry.absent:
        return Image(entry.name, str(entry.descriptor["digest"]), size, architectures=entry.architectures)
    variant = entry.usable(architecture)
    if variant is None:
        name, platform = entry.name or "NAME:TAG", f" --platform linux/{architecture}" if architecture else ""
        raise UsageError(
            f"{path} does not have all that {entry.name or 'its image'} consists of, for any platform",
            evidence=f"content digest {entry.absent}: not found",
            fix=f"docker pull{platform} {name} && docker save --output {shlex.quote(str(path))} {name}",
        )
    return Image(entry.name, variant.config, size, architectures=entry.architectures)


def prepare(archive: Archive, directory: Path, architecture: str = "") -> Path:
    """The archive as containerd imports it for all platforms: not compressed, and with all contents that it names.

    It is the file itself if nothing has to be changed, else a file below `directory`, where an image that is not
    complete has only the platform that `read` has found for `architecture`. Raises ToolError when there is no room.
    """
    path = archive.path
    opener, target = _opener(path), directory / f"{abs(hash(path))}.tar"
    try:
        if any(entry.absent for entry in archive.layout):
            _trim(archive, architecture, target)
        elif opener is not None:
            with opener(path) as packed, target.open("wb") as unpacked:
                shutil.copyfileobj(packed, unpacked)
        else:
            return path
    except OSError as error:
        cause = error.strerror or error
        raise ToolError(f"{path} cannot be unpacked in {directory}: {cause}", fix="make room there") from None
    return target


def _trim(archive: Archive, architecture: str, target: Path) -> None:
    """Copy a layout without the index of an image whose other platforms are absent."""
    index, contents = oci_layout.trimmed(archive.layout, architecture)
    with _opened(archive.path) as tar, tarfile.open(target, "w") as copy:
        for member in tar:
            if member.isreg() and _path(member) in {LAYOUT, *contents}:
                copy.addfile(member, tar.extractfile(member))
        data = json.dumps(index).encode()
        entry = tarfile.TarInfo(INDEX)
        entry.size = len(data)
        copy.addfile(entry, io.BytesIO(data))


@contextmanager
def _opened(path: Path) -> Iterator[tarfile.TarFile]:
    """The archive, compressed or not. zstd cannot be read backwards, so it is unpacked into a temporary file."""
    if _opener(path) is not _zstd:
        with tarfile.open(path, "r:*") as tar:
            yield tar
        return
    import zstandard

    with tempfile.TemporaryFile() as plain:
        try:
            with _zstd(path) as packed:
                shutil.copyfileobj(packed, plain)
        except zstandard.ZstdError as error:
            raise ValueError(str(error)) from None
        plain.seek(0)
        with tarfile.open(fileobj=plain, mode="r:") as tar:
            yield tar


def _zstd(path: Path) -> Any:
    import zstandard

    return zstandard.open(path, "rb")


def _opener(path: Path) -> Any:
    """How to read a compressed file, None for another one."""
    openers = {**_PACKED, ZSTD: _zstd}
    with path.open("rb") as file:
        start = file.read(max(map(len, openers)))
    return next((opener for magic, opener in openers.items() if start.startswith(magic)), None)
