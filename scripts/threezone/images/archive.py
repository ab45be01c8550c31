"""Image archives as files: what `docker save` and OCI tools write, read without an engine."""

from __future__ import annotations

import gzip
import json
import shutil
import tarfile
from pathlib import Path
from typing import Any

from threezone.core.errors import UsageError
from threezone.core.files import special
from threezone.images.engine_images import Image

DOCKER, OCI = "manifest.json", "index.json"
NAMES = ("io.containerd.image.name", "org.opencontainers.image.ref.name")  # annotations, the better one first
MAGIC = b"\x1f\x8b"  # gzip, RFC 1952
SMALL = 4 * 2**20  # bytes; manifests and configurations are far smaller


def read(path: Path) -> tuple[Image, ...]:
    """The images in an archive: name, the digest that a node knows the content by, bytes, architectures.

    Raises UsageError for what is no image archive, or holds an image without a name.
    """
    if kind := special(path):
        raise UsageError(f"{path} is a {kind} and no image archive: it is read more than once", fix=_MAKE)
    try:
        with tarfile.open(path, "r:*") as tar:
            files = {member.name.removeprefix("./"): member for member in tar if member.isreg()}
            if DOCKER not in files and OCI not in files:
                raise UsageError(f"{path} is no image archive: it has neither {DOCKER} nor {OCI}", fix=_MAKE)

            def load(name: str) -> Any:
                member = files[name]
                stream = tar.extractfile(member)
                if stream is None or member.size > SMALL:
                    raise UsageError(f"{path}: {name} is not what an image archive has there", fix=_MAKE)
                return json.load(stream)

            size = sum(member.size for member in files.values())
            images = _docker(load, size) if DOCKER in files else _oci(load, size)
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror or error}", fix="check the path") from None
    except (tarfile.TarError, EOFError, KeyError, TypeError, ValueError) as error:
        raise UsageError(f"{path} is no whole image archive", evidence=repr(error), fix=_MAKE) from None
    if not images or any(not image.reference for image in images):
        raise UsageError(
            f"{path} holds an image without a name, which no pod could ask for",
            fix="name it before it is saved: docker tag ID NAME:TAG && docker save --output FILE NAME:TAG",
        )
    return images


_MAKE = "docker save --output FILE NAME:TAG"


def _docker(load: Any, size: int) -> tuple[Image, ...]:
    """As `docker save` writes it: the configuration's digest is the engine's id."""
    images = []
    for entry in load(DOCKER):
        config = str(entry["Config"])
        digest = config.rpartition("/")[2].removesuffix(".json")
        architecture = str(load(config).get("architecture", ""))
        names = entry.get("RepoTags") or [""]
        images += [Image(str(name), f"sha256:{digest}", size, architectures=(architecture,)) for name in names]
    return tuple(images)


def _oci(load: Any, size: int) -> tuple[Image, ...]:
    """As the OCI's image layout has it: a name stands for a manifest, or for an index of several."""
    images = []
    for entry in load(OCI)["manifests"]:
        marks = entry.get("annotations") or {}
        name = next((str(marks[key]) for key in NAMES if ":" in str(marks.get(key, ""))), "")
        found = Image(name, str(entry["digest"]), size, architectures=tuple(sorted(_architectures(load, entry))))
        images.append(found)
    return tuple(images)


def _architectures(load: Any, entry: dict[str, Any]) -> set[str]:
    """What a manifest, or every manifest of an index, is made for; attestations are for nothing."""
    platform = (entry.get("platform") or {}).get("architecture")
    if platform:
        return set() if platform == "unknown" else {str(platform)}
    document = load(_blob(entry["digest"]))
    if "manifests" in document:
        return {each for below in document["manifests"] for each in _architectures(load, below)}
    return {str(load(_blob(document["config"]["digest"])).get("architecture", ""))}


def _blob(digest: str) -> str:
    """Where a layout keeps a content."""
    algorithm, _, value = digest.partition(":")
    return f"blobs/{algorithm}/{value}"


def plain(path: Path, place: Path) -> Path:
    """The archive as containerd reads it: unpacked below `place` when it is compressed, else as it is."""
    with path.open("rb") as file:
        if file.read(len(MAGIC)) != MAGIC:
            return path
    target = place / f"{abs(hash(path))}.tar"
    with gzip.open(path) as packed, target.open("wb") as unpacked:
        shutil.copyfileobj(packed, unpacked)
    return target
