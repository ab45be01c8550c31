"""Compress and unpack the large members: a directory of programs, and an archive of images."""

from __future__ import annotations

import re
import shutil
import tarfile
from collections.abc import Mapping
from pathlib import Path

from threezone.core.errors import UsageError

MAKE = "make the bundle again: ./run invoke bundle.save FILE"
LEVEL = 9  # of zstd: 30 s for the images on two cores, a third smaller than the default
_ENTRY = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._+-]*/[A-Za-z0-9_][A-Za-z0-9._+-]*")


def compress(source: Path, target: Path) -> None:
    """Compress a file with zstd, on all processors. The number of processors does not change the result."""
    import zstandard

    compressor = zstandard.ZstdCompressor(level=LEVEL, threads=-1)
    with source.open("rb") as content, target.open("xb") as packed:
        compressor.copy_stream(content, packed, size=source.stat().st_size)


def decompress(source: Path, target: Path, size: int) -> None:
    """Unpack a file of `size` bytes. Raises UsageError when it has more or less."""
    import zstandard

    left = size + 1  # however much there is: one byte more is enough to see that it is too much
    with source.open("rb") as packed, target.open("xb") as content:
        try:
            with zstandard.ZstdDecompressor().stream_reader(packed) as reader:
                while left and (data := reader.read(min(left, 1 << 20))):
                    content.write(data)
                    left -= len(data)
        except zstandard.ZstdError as error:
            raise UsageError(f"{source.name} in the bundle cannot be unpacked: {error}", fix=MAKE) from None
    if left != 1:
        raise UsageError(f"{source.name} in the bundle has not the {size} bytes that its manifest names", fix=MAKE)


def pack_entries(entries: Mapping[str, Path], target: Path) -> None:
    """Pack directories of the cache, by key, into a tar archive: their regular files only, without times and owners."""
    with tarfile.open(target, "x", format=tarfile.GNU_FORMAT) as tar:
        for key, directory in sorted(entries.items()):
            for path in sorted(path for path in directory.iterdir() if path.is_file()):
                entry = tarfile.TarInfo(f"{key}/{path.name}")
                entry.size, entry.mode = path.stat().st_size, 0o755 if path.stat().st_mode & 0o100 else 0o644
                with path.open("rb") as content:
                    tar.addfile(entry, content)


def unpack_entries(source: Path, into: Path) -> dict[str, Path]:
    """Unpack what `pack_entries` has packed into the private directory `into`. Returns the directories by key."""
    found: dict[str, Path] = {}
    with tarfile.open(source, "r:") as tar:
        for entry in tar:
            content = tar.extractfile(entry) if entry.type == tarfile.REGTYPE else None
            if content is None or not _ENTRY.fullmatch(entry.name):
                raise UsageError(
                    f"the programs of the bundle have an entry {entry.name!r}, which is not expected", fix=MAKE
                )
            key, _, name = entry.name.partition("/")
            found[key] = into / key
            found[key].mkdir(parents=True, exist_ok=True)
            with (found[key] / name).open("xb") as target:
                shutil.copyfileobj(content, target)
            (found[key] / name).chmod(0o755 if entry.mode & 0o100 else 0o644)
    return found
