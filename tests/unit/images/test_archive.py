"""Image archives, read without an engine: names, digests, architectures, and what is no archive."""

from __future__ import annotations

import bz2
import gzip
import hashlib
import io
import json
import lzma
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

import pytest

from threezone.core.errors import UsageError
from threezone.images import archive, load


def packed(path: Path, files: dict[str, Any]) -> Path:
    """A tar of JSON files."""
    with tarfile.open(path, "w") as tar:
        for name, content in files.items():
            data = content if isinstance(content, bytes) else json.dumps(content).encode()
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            tar.addfile(entry, io.BytesIO(data))
    return path


def blob(content: Any) -> tuple[str, str, bytes]:
    data = json.dumps(content).encode()
    digest = hashlib.sha256(data).hexdigest()
    return f"sha256:{digest}", f"blobs/sha256/{digest}", data


CONFIG, CONFIG_PATH, CONFIG_DATA = blob({"architecture": "arm64", "os": "linux"})


@pytest.mark.parametrize("config", [f"{CONFIG.partition(':')[2]}.json", CONFIG_PATH])  # before and since Docker 25
def test_archives_of_docker_save_are_read(tmp_path: Path, config: str) -> None:
    manifest = [{"Config": config, "RepoTags": ["app:1", "team/app:2"], "Layers": []}]
    path = packed(tmp_path / "a.tar", {"manifest.json": manifest, config: CONFIG_DATA})
    found = archive.read(path)
    assert [(image.reference, image.id, image.architectures) for image in found] == [
        ("app:1", CONFIG, ("arm64",)),
        ("team/app:2", CONFIG, ("arm64",)),
    ]


@pytest.mark.parametrize("opener", [gzip.open, bz2.open, lzma.open])
def test_compressed_archives_are_read_and_unpacked_for_containerd(
    tmp_path: Path, opener: Callable[..., IO[bytes]]
) -> None:
    path = layout(tmp_path)
    small = tmp_path / "small"
    with opener(small, "wb") as stream:
        stream.write(path.read_bytes())
    assert archive.read(small)[0].reference == archive.read(path)[0].reference
    assert archive.plain(small, tmp_path).read_bytes() == path.read_bytes()
    assert archive.plain(path, tmp_path) == path
    small.write_bytes(small.read_bytes()[:60])
    with pytest.raises(UsageError, match="not a complete"):
        archive.read(small)


def test_an_archive_that_python_cannot_unpack_is_named_with_the_program_that_can(tmp_path: Path) -> None:
    path = tmp_path / "a.tar.zst"
    path.write_bytes(b"\x28\xb5\x2f\xfd rest")
    for use in (archive.read, lambda path: archive.plain(path, tmp_path)):
        with pytest.raises(UsageError, match="zstd") as refused:
            use(path)
        assert "zstd --decompress" in refused.value.fix


def layout(tmp_path: Path, name: str = "docker.io/library/app:1") -> Path:
    """An image for two architectures in the OCI's layout, with an attestation."""
    manifest, manifest_path, manifest_data = blob({"config": {"digest": CONFIG}, "layers": []})
    below = [
        {"digest": manifest},
        {"digest": "sha256:0", "platform": {"architecture": "amd64", "os": "linux"}},
        {"digest": "sha256:1", "platform": {"architecture": "unknown", "os": "unknown"}},
    ]
    index, index_path, index_data = blob({"manifests": below})
    marks = {"io.containerd.image.name": name, "org.opencontainers.image.ref.name": "1"}
    files = {
        "oci-layout": {"imageLayoutVersion": "1.0.0"},
        "index.json": {"manifests": [{"digest": index, "annotations": marks}]},
        CONFIG_PATH: CONFIG_DATA,
        manifest_path: manifest_data,
        index_path: index_data,
    }
    return packed(tmp_path / "oci.tar", files)


def test_an_oci_layout_with_several_architectures(tmp_path: Path) -> None:
    (image,) = archive.read(layout(tmp_path))
    assert (image.reference, image.architectures) == ("docker.io/library/app:1", ("amd64", "arm64"))
    load.require_architecture([image], {"node": "amd64"})


def test_a_compressed_archive_is_read_as_it_is_and_unpacked_for_containerd(tmp_path: Path) -> None:
    plain = layout(tmp_path)
    small = tmp_path / "oci.tar.gz"
    small.write_bytes(gzip.compress(plain.read_bytes()))
    assert [image.reference for image in archive.read(small)] == ["docker.io/library/app:1"]
    assert archive.plain(plain, tmp_path) == plain
    assert archive.plain(small, tmp_path).read_bytes() == plain.read_bytes()


@pytest.mark.parametrize(
    ("files", "sentence"),
    [
        ({"index.html": {}}, "is not an image archive"),
        ({"manifest.json": [{"Config": "gone.json"}]}, "is not a complete image archive"),
        ({"manifest.json": {"not": "a list"}}, "is not a complete image archive"),
        ({"manifest.json": []}, "without a name"),
        ({"manifest.json": [{"Config": "c.json", "RepoTags": None}], "c.json": {}}, "without a name"),
        ({"manifest.json": b"{"}, "is not a complete image archive"),
    ],
)
def test_other_files_are_refused_by_name(tmp_path: Path, files: dict[str, Any], sentence: str) -> None:
    path = packed(tmp_path / "odd.tar", files)
    with pytest.raises(UsageError, match=sentence) as caught:
        archive.read(path)
    assert str(path) in caught.value.message
    assert "docker save" in caught.value.fix


def test_a_missing_or_broken_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("no tar")
    with pytest.raises(UsageError, match="not a complete image archive"):
        archive.read(tmp_path / "text")
    with pytest.raises(UsageError, match="No such file"):
        archive.read(tmp_path / "missing.tar")
    cut = tmp_path / "cut.tar"
    cut.write_bytes(layout(tmp_path).read_bytes()[:700])
    with pytest.raises(UsageError, match="not a complete image archive"):
        archive.read(cut)
