"""The file of a bundle: what is written is read back, and everything else is refused."""

import gzip
import io
import tarfile
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from threezone.core.errors import UsageError
from threezone.images.bundle import format as bundle_format
from threezone.images.bundle.format import FORMAT, MANIFEST, BundledImage, BundledTool, Manifest, unpack, write

LONG = f"wheels/tiny-1.0-{'manylinux_2_17.' * 9}x86_64.whl"


@dataclass(frozen=True)
class Made:
    """A bundle with two members."""

    path: Path
    manifest: Manifest
    files: dict[str, Path]


@pytest.fixture
def made(tmp_path: Path) -> Made:
    files = {"images.tar.zst": tmp_path / "one", LONG: tmp_path / "two"}
    for number, file in enumerate(files.values()):
        file.write_bytes(bytes([65 + number]) * 700)
    members = {name: bundle_format.member(file, unpacked=9000) for name, file in files.items()}
    tools, images = {"kind": BundledTool("0.31.0", "kind-1")}, {"node:1": BundledImage("recipe", "inputs")}
    manifest = Manifest(FORMAT, "0.1.0", "linux-amd64", tools, images, members)
    path = tmp_path / "bundle.tar"
    with path.open("wb") as out:
        digest = write(out, manifest, files)
    assert digest == bundle_format.sha256_of(path)
    return Made(path, manifest, files)


def names_in(path: Path) -> list[str]:
    with tarfile.open(path) as tar:
        return tar.getnames()


def into(tmp_path: Path) -> Path:
    directory = tmp_path / "into"
    directory.mkdir()
    return directory


def test_what_is_written_is_read_back(made: Made, tmp_path: Path) -> None:
    directory = into(tmp_path)
    assert unpack(made.path, directory) == made.manifest
    assert {name: (directory / name).read_bytes() for name in made.files} == {
        name: file.read_bytes() for name, file in made.files.items()
    }
    assert names_in(made.path)[0] == MANIFEST, "it is read before anything else"


def test_the_same_contents_give_the_same_bytes(made: Made, tmp_path: Path) -> None:
    again = tmp_path / "again.tar"
    for file in made.files.values():
        file.touch()
        file.chmod(0o600)
    with again.open("wb") as out:
        write(out, made.manifest, dict(reversed(made.files.items())))
    assert again.read_bytes() == made.path.read_bytes()


def repacked(made: Made, change: Callable[[list[tuple[tarfile.TarInfo, bytes]]], object]) -> None:
    """Write the bundle again, with changed members."""
    with tarfile.open(made.path) as tar:
        members = [(entry, tar.extractfile(entry).read()) for entry in tar]  # type: ignore[union-attr]
    change(members)
    with tarfile.open(made.path, "w") as tar:
        for entry, content in members:
            entry.size = len(content) if entry.isreg() else 0
            tar.addfile(entry, io.BytesIO(content))


def manifest_with(made: Made, **changes: object) -> bytes:
    return msgspec.json.encode(msgspec.structs.replace(made.manifest, **changes))


def entry(name: str, kind: bytes = tarfile.REGTYPE) -> tarfile.TarInfo:
    made = tarfile.TarInfo(name)
    made.type, made.linkname = kind, "/etc/passwd"
    return made


def named_outside(made: Made) -> None:
    """A manifest and a member that both name a path outside."""
    members = {**made.manifest.members, "../outside": bundle_format.member(made.files[LONG])}
    content = made.files[LONG].read_bytes()
    repacked(made, lambda all_: all_.append((entry("../outside"), content)))
    repacked(made, lambda all_: all_.__setitem__(0, (all_[0][0], manifest_with(made, members=members))))


def a_directory(made: Made) -> None:
    made.path.unlink()
    made.path.mkdir()


SPOILED: dict[str, Callable[[Made], object]] = {
    "another content of the same size": lambda made: repacked(
        made, lambda all_: all_.__setitem__(1, (all_[1][0], b"x" * 700))
    ),
    "a longer content": lambda made: repacked(made, lambda all_: all_.__setitem__(1, (all_[1][0], all_[1][1] + b"x"))),
    "a missing member": lambda made: repacked(made, lambda all_: all_.pop()),
    "one more member": lambda made: repacked(made, lambda all_: all_.append((entry("more"), b""))),
    "a member twice": lambda made: repacked(made, lambda all_: all_.append(all_[1])),
    "a link": lambda made: repacked(
        made, lambda all_: all_.__setitem__(1, (entry("images.tar.zst", tarfile.SYMTYPE), b""))
    ),
    "a hard link": lambda made: repacked(
        made, lambda all_: all_.__setitem__(1, (entry("images.tar.zst", tarfile.LNKTYPE), b""))
    ),
    "a device": lambda made: repacked(
        made, lambda all_: all_.__setitem__(1, (entry("images.tar.zst", tarfile.CHRTYPE), b""))
    ),
    "a path outside": named_outside,
    "no manifest": lambda made: repacked(made, lambda all_: all_.pop(0)),
    "a manifest that is not JSON": lambda made: repacked(made, lambda all_: all_.__setitem__(0, (all_[0][0], b"{"))),
    "another format": lambda made: repacked(
        made, lambda all_: all_.__setitem__(0, (all_[0][0], manifest_with(made, format=2)))
    ),
    "an empty file": lambda made: made.path.write_bytes(b""),
    "no archive": lambda made: made.path.write_bytes(b"no archive" * 1000),
    "compressed as a whole": lambda made: made.path.write_bytes(gzip.compress(made.path.read_bytes())),
    "a directory": a_directory,
    "no file": lambda made: made.path.unlink(),
}


@pytest.mark.parametrize("spoil", SPOILED.values(), ids=SPOILED)
def test_what_is_not_a_whole_bundle_is_refused(made: Made, tmp_path: Path, spoil: Callable[[Made], object]) -> None:
    spoil(made)
    with pytest.raises(UsageError) as refused:
        unpack(made.path, into(tmp_path))
    assert str(made.path) in refused.value.message
    assert not (tmp_path / "outside").exists()


@pytest.mark.parametrize("share", [0.02, 0.2, 0.5, 0.7])
def test_a_truncated_file_is_refused(made: Made, tmp_path: Path, share: float) -> None:
    content = made.path.read_bytes().rstrip(b"\0")
    made.path.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(UsageError):
        unpack(made.path, into(tmp_path))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_a_changed_byte_changes_no_content_silently(made: Made, data: st.DataObject) -> None:
    content = bytearray(made.path.read_bytes())
    content[data.draw(st.integers(0, len(content) - 1))] ^= data.draw(st.integers(1, 255))
    with tempfile.TemporaryDirectory() as directory:
        spoiled = Path(directory, "spoiled.tar")
        spoiled.write_bytes(content)
        (Path(directory) / "into").mkdir()
        try:
            manifest = unpack(spoiled, Path(directory, "into"))
        except UsageError:
            return
        for name, file in made.files.items():
            if name in manifest.members:
                assert Path(directory, "into", name).read_bytes() == file.read_bytes()
