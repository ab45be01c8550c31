"""The large members of a bundle."""

import io
import tarfile
from pathlib import Path

import pytest

from threezone.core.errors import UsageError
from threezone.images.bundle.packed import compress, decompress, pack_entries, unpack_entries


def test_a_file_is_the_same_after_compression(tmp_path: Path) -> None:
    source, packed, again = tmp_path / "source", tmp_path / "packed", tmp_path / "again"
    source.write_bytes(b"content " * 1_000_000)
    compress(source, packed)
    assert packed.stat().st_size < 100_000
    decompress(packed, again, 8_000_000)
    assert again.read_bytes() == source.read_bytes()
    other = tmp_path / "other"
    compress(source, other)
    assert other.read_bytes() == packed.read_bytes()


@pytest.mark.parametrize("size", [0, 1, 7_999_999, 8_000_001])
def test_what_unpacks_to_another_size_is_refused_before_it_fills_the_disk(tmp_path: Path, size: int) -> None:
    source, packed, again = tmp_path / "source", tmp_path / "packed", tmp_path / "again"
    source.write_bytes(b"content " * 1_000_000)
    compress(source, packed)
    with pytest.raises(UsageError):
        decompress(packed, again, size)
    assert again.stat().st_size <= size + 1


def test_what_is_not_compressed_is_refused(tmp_path: Path) -> None:
    (tmp_path / "packed").write_bytes(b"not zstd")
    with pytest.raises(UsageError):
        decompress(tmp_path / "packed", tmp_path / "again", 8)


def test_entries_of_the_cache_keep_names_contents_and_modes(tmp_path: Path) -> None:
    home = tmp_path / "kind-0.31.0-abc"
    home.mkdir()
    (home / "kind").write_bytes(b"program")
    (home / "kind").chmod(0o700)
    (home / "record.json").write_text("{}")
    pack_entries({home.name: home}, tmp_path / "one.tar")
    (home / "kind").chmod(0o755)
    pack_entries({home.name: home}, tmp_path / "two.tar")
    assert (tmp_path / "one.tar").read_bytes() == (tmp_path / "two.tar").read_bytes()
    found = unpack_entries(tmp_path / "one.tar", tmp_path / "entries")[home.name]
    assert {path.name: (path.read_bytes(), path.stat().st_mode & 0o111) for path in found.iterdir()} == {
        "kind": (b"program", 0o111),
        "record.json": (b"{}", 0),
    }


@pytest.mark.parametrize("name", ["../kind", "/etc/kind", "a/../../kind", "kind", "a/b/c", ".a/kind", "a/.kind"])
@pytest.mark.parametrize("kind", [tarfile.REGTYPE, tarfile.SYMTYPE], ids=["file", "link"])
def test_an_entry_with_another_path_or_type_is_refused(tmp_path: Path, name: str, kind: bytes) -> None:
    with tarfile.open(tmp_path / "tools.tar", "w") as tar:
        entry = tarfile.TarInfo("a/kind" if kind == tarfile.SYMTYPE else name)
        entry.type, entry.linkname = kind, "/etc/passwd"
        tar.addfile(entry, io.BytesIO())
    with pytest.raises(UsageError):
        unpack_entries(tmp_path / "tools.tar", tmp_path / "entries")
    assert not list((tmp_path / "entries").rglob("kind"))
