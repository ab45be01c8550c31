"""The file of a bundle: a plain tar archive, whose first member is the manifest of the others.

The whole is not compressed, because scripts/bootstrap.py reads the wheels in it with Python's own library, before
anything is installed. Wheels are compressed already; the large members are compressed with zstd. The same contents give
the same bytes: members are sorted, and have neither times nor owners.
"""

from __future__ import annotations

import hashlib
import io
import re
import tarfile
from collections.abc import Mapping
from pathlib import Path
from typing import BinaryIO, NoReturn

import msgspec

from threezone.core.errors import UsageError
from threezone.core.files import special_kind

FORMAT = 1
MANIFEST = "manifest.json"
_NAME = re.compile(r"(wheels/)?[A-Za-z0-9_][A-Za-z0-9._+-]*")
_MANIFEST_LIMIT = 1 << 20
_CHUNK = 1 << 20


class Member(msgspec.Struct, frozen=True):
    """A file of the bundle: its SHA-256, its bytes, and its bytes when it is unpacked."""

    sha256: str
    size: int
    unpacked: int


class BundledTool(msgspec.Struct, frozen=True):
    """A program: its version and the key of its entry in the cache."""

    version: str
    key: str


class BundledImage(msgspec.Struct, frozen=True):
    """An image: the content hash in its label, and that of the inputs which do not depend on the machine."""

    recipe: str
    inputs: str


class Manifest(msgspec.Struct, frozen=True):
    """What a bundle has, and for which platform."""

    format: int
    threezone: str
    platform: str
    tools: dict[str, BundledTool]
    images: dict[str, BundledImage]
    members: dict[str, Member]


def write(out: BinaryIO, manifest: Manifest, files: Mapping[str, Path]) -> str:
    """Write the manifest and the files of its members. Returns the SHA-256 of what was written."""
    hashed = _Hashed(out)
    with tarfile.open(fileobj=hashed, mode="w|", format=tarfile.GNU_FORMAT) as tar:  # type: ignore[call-overload]
        document = msgspec.json.format(msgspec.json.encode(manifest, order="deterministic"))
        entry = tarfile.TarInfo(MANIFEST)
        entry.size = len(document)
        tar.addfile(entry, io.BytesIO(document))
        for name in sorted(files):
            entry = tarfile.TarInfo(name)
            entry.size = files[name].stat().st_size
            with files[name].open("rb") as content:
                tar.addfile(entry, content)
    return hashed.digest.hexdigest()


class _Hashed:
    """A file that is only written to, with the SHA-256 of everything."""

    def __init__(self, out: BinaryIO) -> None:
        self._out = out
        self.digest = hashlib.sha256()

    def write(self, data: bytes) -> int:
        """Write and hash."""
        self.digest.update(data)
        return self._out.write(data)


def member(file: Path, unpacked: int = 0) -> Member:
    """The manifest's line for a file."""
    size = file.stat().st_size
    return Member(sha256_of(file), size, unpacked or size)


def sha256_of(file: Path) -> str:
    """The SHA-256 of a file."""
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


def unpack(file: Path, into: Path) -> Manifest:
    """Copy the members into the private directory `into`, each compared with the manifest. Returns the manifest.

    Raises UsageError for whatever is not a complete bundle, with the reason. Nothing else has been changed then.
    """
    if kind := special_kind(file):
        raise UsageError(f"{file} is a {kind}, and a bundle is a regular file")
    try:
        with tarfile.open(file, "r:") as tar:
            return _unpack(file, tar, into)
    except FileNotFoundError:
        fix = "./run invoke bundle.save FILE, where there is a network"
        raise UsageError(f"there is no file {file}", fix=fix) from None
    except OSError as error:
        raise UsageError(f"{file} cannot be read: {error.strerror or error}", fix="check the path") from None
    except (tarfile.TarError, EOFError, ValueError) as error:
        _refuse(file, f"it is not a complete archive ({error})")


def _unpack(file: Path, tar: tarfile.TarFile, into: Path) -> Manifest:
    manifest = _manifest(file, tar)
    missing = dict(manifest.members)
    while entry := tar.next():
        name = entry.name
        expected = missing.pop(name, None)
        if expected is None or not _NAME.fullmatch(name):
            _refuse(file, f"its manifest does not name {name!r}, or names it once only")
        content = tar.extractfile(entry) if entry.type == tarfile.REGTYPE else None
        if content is None or entry.size != expected.size:
            _refuse(file, f"{name} is not the file of {expected.size} bytes that its manifest names")
        target = into / name
        target.parent.mkdir(exist_ok=True)
        digest = hashlib.sha256()
        with target.open("xb") as copy:
            while chunk := content.read(_CHUNK):
                digest.update(chunk)
                copy.write(chunk)
        if digest.hexdigest() != expected.sha256:
            _refuse(file, f"the checksum of {name} is {digest.hexdigest()}, not {expected.sha256}")
    if missing:
        _refuse(file, f"{next(iter(missing))} is missing in it")
    return manifest


def _manifest(file: Path, tar: tarfile.TarFile) -> Manifest:
    first = tar.next()
    content = tar.extractfile(first) if first and first.name == MANIFEST and first.isreg() else None
    if content is None:
        _refuse(file, f"its first member is not {MANIFEST}")
    try:
        manifest = msgspec.json.decode(content.read(_MANIFEST_LIMIT), type=Manifest)
    except msgspec.DecodeError as error:
        _refuse(file, f"its {MANIFEST} is not understood ({error})")
    if manifest.format != FORMAT:
        _refuse(file, f"its format is {manifest.format}, and this threezone reads {FORMAT}")
    return manifest


def _refuse(file: Path, why: str) -> NoReturn:
    raise UsageError(
        f"{file} is not a bundle that can be used: {why}",
        fix="copy it again and compare its checksum with the one that bundle.save has printed",
    )
