"""Read the image archives that `docker save` and OCI tools write, without an engine."""

from __future__ import annotations

import bz2
import gzip
import json
import lzma
import shlex
import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from threezone.core.errors import UsageError
from threezone.core.files import special_kind
from threezone.images.engine_images import Image

DOCKER, OCI = "manifest.json", "index.json"
NAMES = ("io.containerd.image.name", "org.opencontainers.image.ref.name")  # annotations, the preferred one first
# The first bytes of compressed files (RFC 1952; bzip2; xz's format; RFC 8878).
_PACKED: dict[bytes, Any] = {b"\x1f\x8b": gzip.open, b"BZh": bz2.open, b"\xfd7zXZ\0": lzma.open}
ZSTD = b"\x28\xb5\x2f\xfd"
DOCUMENT_LIMIT = 4 * 2**20  # bytes; manifests and configurations are far smaller
_FIX = "docker save --output FILE NAME:TAG"

Load = Callable[[str], Any]  # a JSON document of the archive, by its path there


def read(path: Path) -> tuple[Image, ...]:
    """The images in an archive: name, the digest that a node has for the content, bytes, architectures.

    Raises UsageError for a file that is not an image archive, and for an image without a name.
    """
    if kind := special_kind(path):
        raise UsageError(
            f"{path} is a {kind}; an image archive must be a regular file, as it is read more than once", fix=_FIX
        )
    try:
        _opener(path)
        with tarfile.open(path, "r:*") as tar:
            files = {member.name.removeprefix("./"): member for member in tar if member.isreg()}
            if DOCKER not in files and OCI not in files:
                raise UsageError(f"{path} is not an image archive: it has neither {DOCKER} nor {OCI}", fix=_FIX)

            def load(name: str) -> Any:
                stream = tar.extractfile(files[name])
                return json.loads(stream.read(DOCUMENT_LIMIT)) if stream else None

            size = sum(member.size for member in files.values())
            images = _docker(load, size) if DOCKER in files else _oci(load, size)
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror or error}", fix="check the path") from None
    except (tarfile.TarError, lzma.LZMAError, EOFError, KeyError, TypeError, ValueError) as error:
        raise UsageError(f"{path} is not a complete image archive", evidence=repr(error), fix=_FIX) from None
    if not images or any(not image.reference for image in images):
        raise UsageError(
            f"{path} has an image without a name, which no pod could use",
            fix="name it before it is saved: docker tag ID NAME:TAG && docker save --output FILE NAME:TAG",
        )
    return tuple(images)


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


def _oci(load: Load, size: int) -> list[Image]:
    """The images of an OCI image layout: a name is that of a manifest, or of an index of several."""
    images = []
    for entry in load(OCI)["manifests"]:
        annotations = entry.get("annotations") or {}
        name = next((str(annotations[key]) for key in NAMES if ":" in str(annotations.get(key, ""))), "")
        architectures = tuple(sorted(_architectures(load, entry)))
        images.append(Image(name, str(entry["digest"]), size, architectures=architectures))
    return images


def _architectures(load: Load, entry: dict[str, Any]) -> set[str]:
    """The architectures of a manifest, or of all manifests of an index; attestations have none."""
    platform = (entry.get("platform") or {}).get("architecture")
    if platform:
        return set() if platform == "unknown" else {str(platform)}
    document = load(_blob(entry["digest"]))
    if "manifests" in document:
        return set().union(*(_architectures(load, manifest) for manifest in document["manifests"]))
    return {str(load(_blob(document["config"]["digest"])).get("architecture", ""))}


def _blob(digest: str) -> str:
    """The path of a content in an OCI image layout."""
    return f"blobs/{digest.replace(':', '/', 1)}"


def plain(path: Path, directory: Path) -> Path:
    """The archive as containerd reads it: unpacked below `directory` when it is compressed, else as it is."""
    opener = _opener(path)
    if opener is None:
        return path
    target = directory / f"{abs(hash(path))}.tar"
    with opener(path) as packed, target.open("wb") as unpacked:
        shutil.copyfileobj(packed, unpacked)
    return target


def _opener(path: Path) -> Any:
    """How to read a compressed file, None for another one. Raises UsageError for zstd, which Python cannot read."""
    with path.open("rb") as file:
        start = file.read(max(map(len, (*_PACKED, ZSTD))))
    if start.startswith(ZSTD):
        raise UsageError(f"{path} is packed with zstd", fix=f"zstd --decompress {shlex.quote(str(path))}")
    return next((opener for magic, opener in _PACKED.items() if start.startswith(magic)), None)
