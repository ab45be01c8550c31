"""Image archives, read without an engine: names, digests, architectures, and what is no archive."""

from __future__ import annotations

import bz2
import gzip
import json
import lzma
import re
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

import pytest
import zstandard
from tests.unit.images.layouts import MARKS, NAME, NAME_KEY, Layout, blob, packed, unpacked

from threezone.core.errors import ToolError, UsageError
from threezone.images import archive, load, oci_layout

CONFIG, CONFIG_PATH, CONFIG_DATA = blob({"architecture": "arm64", "os": "linux"})


@pytest.mark.parametrize("config", [f"{CONFIG.partition(':')[2]}.json", CONFIG_PATH])  # before and since Docker 25
def test_archives_of_docker_save_are_read(tmp_path: Path, config: str) -> None:
    manifest = [{"Config": config, "RepoTags": ["app:1", "team/app:2"], "Layers": []}]
    path = packed(tmp_path / "a.tar", {"manifest.json": manifest, config: CONFIG_DATA})
    found = archive.read(path)
    assert [(image.reference, image.id, image.architectures) for image in found.images] == [
        ("app:1", CONFIG, ("arm64",)),
        ("team/app:2", CONFIG, ("arm64",)),
    ]


@pytest.mark.parametrize("opener", [gzip.open, bz2.open, lzma.open, zstandard.open])
def test_compressed_archives_are_read_and_unpacked_for_containerd(
    tmp_path: Path, opener: Callable[..., IO[bytes]]
) -> None:
    path = layout(tmp_path)
    small = tmp_path / "small"
    with opener(small, "wb") as stream:
        stream.write(path.read_bytes())
    assert archive.read(small).images[0].reference == archive.read(path).images[0].reference
    assert archive.prepare(archive.read(small), tmp_path).read_bytes() == path.read_bytes()
    assert archive.prepare(archive.read(path), tmp_path) == path
    small.write_bytes(small.read_bytes()[:60])
    with pytest.raises(UsageError, match="not a complete"):
        archive.read(small)


def layout(tmp_path: Path) -> Path:
    """An image for two architectures in the OCI's layout, with an attestation."""
    new = Layout()
    index = new.index(new.image("arm64"), new.image("amd64"), new.image("unknown"))
    return packed(tmp_path / "oci.tar", new.name(index))


def test_an_oci_layout_with_several_architectures(tmp_path: Path) -> None:
    path = layout(tmp_path)
    (image,) = archive.read(path).images
    assert (image.reference, image.architectures) == (NAME, ("amd64", "arm64"))
    load.require_architecture([image], {"node": "amd64"})
    assert archive.prepare(archive.read(path), tmp_path, "amd64") == path, "nothing is absent, so it is loaded as it is"


def complete(path: Path) -> dict[str, Any]:
    """The descriptor of the one image in a layout, all of whose contents must be there, and nothing else."""
    files = unpacked(path)
    (top,) = json.loads(files["index.json"])["manifests"]
    needed, open_ = {"oci-layout", "index.json"}, [top]
    while open_:
        each = open_.pop()
        needed.add(oci_layout.blob(each["digest"]))
        document = json.loads(files[oci_layout.blob(each["digest"])])
        open_ += [*document.get("manifests", ()), *document.get("layers", ()), *filter(None, [document.get("config")])]
    assert needed == set(files)
    descriptor: dict[str, Any] = top
    return descriptor


def pulled(new: Layout) -> dict[str, Any]:
    """What an engine has after it pulled an image for two platforms: one of them, without its attestation."""
    return new.index(
        new.image("amd64"),
        new.image("arm64", without="all"),
        new.image("unknown", without="all"),
    )


def saved_twice(new: Layout) -> dict[str, Any]:
    """As Docker saves it with containerd's store: the index, and the older format besides."""
    descriptor = pulled(new)
    config = oci_layout.blob(blob({"architecture": "amd64", "os": "linux"})[0])
    new.files["manifest.json"] = [{"Config": config, "RepoTags": ["app:1"], "Layers": []}]
    return descriptor


PARTIAL: dict[str, Callable[[Layout], dict[str, Any]]] = {
    "another platform is absent": pulled,
    "both formats": saved_twice,
    "only the attestation is absent": lambda new: new.index(new.image("amd64"), new.image("unknown", without="all")),
    "a nested index": lambda new: new.index(new.index(new.image("amd64")), new.image("s390x", without="all")),
    "a layer of another platform is absent": lambda new: new.index(
        new.image("arm64", without="layer"), new.image("amd64")
    ),
    "another platform is complete, too": lambda new: new.index(
        new.image("arm64"), new.image("amd64"), new.image("s390x", without="all")
    ),
    "the first of two is for this platform": lambda new: new.index(
        new.image("amd64"), new.image("arm64"), new.image("s390x", without="config")
    ),
}


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("make", PARTIAL.values(), ids=PARTIAL)
def test_an_image_whose_other_platforms_are_absent_is_loaded_by_the_one_that_is_there(
    tmp_path: Path, make: Callable[[Layout], dict[str, Any]], *, compressed: bool
) -> None:
    new = Layout()
    path = packed(tmp_path / "part.tar", new.name(make(new)))
    if compressed:
        path.write_bytes(gzip.compress(path.read_bytes()))
    before = path.read_bytes()
    (image,) = archive.read(path, "amd64").images
    config = blob({"architecture": "amd64", "os": "linux"})[0]
    assert (image.reference, image.id) == (NAME, config), "the node knows it by its configuration"
    assert "amd64" in image.architectures
    assert "s390x" not in image.architectures
    (tmp_path / "scratch").mkdir()
    ready = archive.prepare(archive.read(path), tmp_path / "scratch", "amd64")
    top = complete(ready)
    assert top["platform"]["architecture"] == "amd64"
    assert top["annotations"] == MARKS
    assert archive.read(ready).images[0].architectures == ("amd64",)
    assert path.read_bytes() == before, "the user's file is not changed"


def test_a_complete_image_beside_one_that_is_not_keeps_all_its_platforms(tmp_path: Path) -> None:
    new = Layout()
    whole = {**new.index(new.image("ppc64le"), new.image("riscv64")), "annotations": {NAME_KEY: "whole:1"}}
    part = {**pulled(new), "annotations": {NAME_KEY: "part:1"}}
    new.files["index.json"] = {"manifests": [whole, part]}
    path = packed(tmp_path / "two.tar", new.files)
    found = {image.reference: image for image in archive.read(path, "amd64").images}
    assert found["whole:1"].id == whole["digest"]
    assert found["whole:1"].architectures == ("ppc64le", "riscv64")
    after = unpacked(archive.prepare(archive.read(path), tmp_path, "amd64"))
    assert json.loads(after["index.json"])["manifests"][0] == whole
    assert {path for path in new.files if path in after} >= {oci_layout.blob(whole["digest"]), "oci-layout"}


WITHOUT: dict[str, Callable[[Layout], dict[str, Any]]] = {
    "no platform": lambda new: new.index(new.image("amd64", without="all"), new.image("arm64", without="all")),
    "a layer": lambda new: new.image("amd64", without="layer"),
    "the configuration": lambda new: new.image("amd64", without="config"),
    "its manifest": lambda new: new.image("amd64", without="all"),
    "all but the attestation": lambda new: new.index(new.image("unknown"), new.image("amd64", without="all")),
}


@pytest.mark.parametrize("make", WITHOUT.values(), ids=WITHOUT)
def test_an_image_without_a_complete_platform_is_refused_with_the_command_that_gets_it(
    tmp_path: Path, make: Callable[[Layout], dict[str, Any]]
) -> None:
    new = Layout()
    path = packed(tmp_path / "part.tar", new.name(make(new)))
    with pytest.raises(UsageError, match=re.escape(NAME)) as refused:
        archive.read(path, "amd64")
    assert re.fullmatch(r"content digest sha256:[0-9a-f]{64}: not found", refused.value.evidence)
    assert f"docker pull --platform linux/amd64 {NAME} && docker save --output {path} {NAME}" in refused.value.fix


def test_an_index_that_names_itself_ends(tmp_path: Path) -> None:
    digest = "sha256:" + "0" * 64
    files = {**Layout().files, oci_layout.blob(digest): {"manifests": [{"digest": digest}]}}
    path = packed(tmp_path / "odd.tar", {**files, "index.json": {"manifests": [{"digest": digest}]}})
    with pytest.raises(UsageError, match="without a name"):
        archive.read(path)


def test_no_room_for_the_copy_is_reported_with_the_directory(tmp_path: Path) -> None:
    new = Layout()
    path = packed(tmp_path / "part.tar", new.name(pulled(new)))
    with pytest.raises(ToolError, match=f"in {tmp_path}/gone") as failed:
        archive.prepare(archive.read(path), tmp_path / "gone", "amd64")
    assert "make room" in failed.value.fix


def test_a_compressed_archive_is_read_as_it_is_and_unpacked_for_containerd(tmp_path: Path) -> None:
    plain = layout(tmp_path)
    small = tmp_path / "oci.tar.gz"
    small.write_bytes(gzip.compress(plain.read_bytes()))
    assert [image.reference for image in archive.read(small).images] == ["docker.io/library/app:1"]
    assert archive.prepare(archive.read(plain), tmp_path) == plain
    assert archive.prepare(archive.read(small), tmp_path).read_bytes() == plain.read_bytes()


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
