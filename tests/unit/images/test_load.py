"""What a node has, and what it cannot run."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.unit.images.layouts import CONFIG, NAME, Layout, packed, unpacked

from threezone.clients import kind
from threezone.core.errors import CommandFailed, ToolError, UsageError
from threezone.core.process import Completed
from threezone.images import load, oci_layout
from threezone.images.engine_images import Image

ID = "sha256:" + "1" * 64


@pytest.mark.parametrize(
    ("store", "held"),
    [
        ({}, False),
        ({"docker.io/threezone/hello:1": "sha256:manifest", ID: "sha256:manifest"}, True),
        ({"docker.io/threezone/hello:1": ID}, True),
        ({"docker.io/threezone/hello:1": "sha256:older", ID: "sha256:manifest"}, False),
        ({"docker.io/threezone/hello:1": "sha256:manifest"}, False),
        ({ID: "sha256:manifest"}, False),
    ],
)
def test_a_node_has_an_image_when_name_and_content_agree(store: dict[str, str], held: bool) -> None:
    assert load.has(store, Image("threezone/hello:1", ID, 1)) is held


def test_another_architecture_is_refused_with_a_fix() -> None:
    image = Image("app:1", "sha256:1", 1, architectures=("arm64",))
    with pytest.raises(UsageError, match="app:1 is made for arm64, but the node two-worker is amd64") as caught:
        load.require_architecture([image], {"two-control-plane": "arm64", "two-worker": "amd64"})
    assert "docker pull --platform linux/amd64 app:1" in caught.value.fix
    load.require_architecture([image], {"of-an-unknown-machine": ""})
    load.require_architecture([Image("app:1", "sha256:1", 1)], {"node": "amd64"})
    with pytest.raises(UsageError) as saved:
        load.require_architecture([image], {"node": "amd64"}, saved=True)
    assert "docker save --output FILE app:1" in saved.value.fix


class Nodes:
    """Fake nodes with containerd, and a fake engine that saves `archive`, or fails with its message."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, architecture: str = "amd64") -> None:
        self.stores: dict[str, dict[str, str]] = {"one": {}, "two": {}}
        self.archive: Path | str = ""
        self.saved: list[str] = []
        self.loads: list[tuple[str, list[dict[str, bytes]]]] = []
        monkeypatch.setattr(load, "stored", lambda node: self.stores[node])
        monkeypatch.setattr(load, "architecture", lambda _: architecture)
        monkeypatch.setattr(load, "save", self._save)
        monkeypatch.setattr(kind, "load", self._load)

    def _save(self, file: Path, *names: str, architecture: str) -> None:
        if isinstance(self.archive, str):
            raise CommandFailed(["docker", "save", *names], 1, self.archive)
        self.saved.append(architecture)
        file.write_bytes(self.archive.read_bytes())

    @contextmanager
    def _load(self, _kind: Path, _cluster: str, node: str, files: Sequence[Path]) -> Iterator[Any]:
        contents = [unpacked(file) for file in files]
        self.loads.append((node, contents))
        for content in contents:
            for image in json.loads(content["index.json"])["manifests"]:
                manifest = json.loads(content[oci_layout.blob(image["digest"])])
                name = image["annotations"]["io.containerd.image.name"]
                # Kubernetes adds the second name.
                self.stores[node] |= {name: image["digest"], manifest["config"]["digest"]: image["digest"]}

        class Loading:
            def wait(self, _seconds: float) -> Completed:
                return Completed((), 0, "", "", 0.1)

        yield Loading()

    def load(self, *images: Image, archives: Sequence[Path] = ()) -> list[str]:
        """The nodes that are loaded."""
        self.loads.clear()
        load.load(Path("kind"), "lab", list(self.stores), images, archives)
        return [node for node, _ in self.loads]


@pytest.fixture
def pulled(tmp_path: Path) -> tuple[Image, Path]:
    """An image that was pulled for one of its two platforms, and what the engine saves of it: the index, and this."""
    new = Layout()
    index = new.index(new.image("amd64"), new.image("arm64", without="all"))
    return Image("app:1", index["digest"], 1, architectures=("amd64",)), packed(tmp_path / "app.tar", new.name(index))


def test_an_image_that_the_engine_has_for_one_of_its_platforms_is_loaded_once(
    monkeypatch: pytest.MonkeyPatch, pulled: tuple[Image, Path]
) -> None:
    image, archive = pulled
    nodes = Nodes(monkeypatch)
    nodes.archive = archive
    assert nodes.load(image) == ["one", "two"]
    assert nodes.saved == ["amd64"], "of several platforms only that of the nodes is asked for"
    for _, (content,) in nodes.loads:
        (named,) = json.loads(content["index.json"])["manifests"]
        assert named["platform"]["architecture"] == "amd64"
    assert nodes.stores["one"][CONFIG["amd64"]] == nodes.stores["one"][NAME]
    assert nodes.load(image) == [], "although the engine's id is not what the nodes have"
    nodes.stores["two"].clear()
    assert nodes.load(image) == ["two"]
    assert nodes.load(archives=[archive]) == []
    nodes.stores["one"].clear()
    assert nodes.load(archives=[archive]) == ["one"]


@pytest.mark.parametrize("saved", [True, False])
def test_an_image_of_which_a_part_is_missing_is_refused_with_the_command_that_gets_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, *, saved: bool
) -> None:
    new = Layout()
    partial = packed(tmp_path / "app.tar", new.name(new.index(new.image("amd64", without="layer"))))
    nodes = Nodes(monkeypatch)
    nodes.archive = partial if saved else "unable to create manifests file: content digest sha256:1: not found"
    with pytest.raises(ToolError, match="only a part of app:1") as refused:
        nodes.load(Image("app:1", ID, 1))
    assert "content digest sha256:" in refused.value.evidence
    assert "docker pull --platform linux/amd64 app:1" in refused.value.fix
    assert nodes.loads == []


def test_an_image_of_another_platform_is_refused_when_only_its_archive_shows_that(
    monkeypatch: pytest.MonkeyPatch, pulled: tuple[Image, Path]
) -> None:
    image, archive = pulled
    nodes = Nodes(monkeypatch, "arm64")
    nodes.archive = archive
    with pytest.raises(UsageError, match="is made for amd64, but the node one is arm64"):
        nodes.load(Image("app:1", image.id, 1))
    with pytest.raises(UsageError, match="is made for amd64") as refused:
        nodes.load(archives=[archive])
    assert "docker save" in refused.value.fix
    assert nodes.loads == []


def test_another_failure_of_saving_keeps_its_own_words(monkeypatch: pytest.MonkeyPatch) -> None:
    nodes = Nodes(monkeypatch)
    nodes.archive = "no space left on device"
    with pytest.raises(CommandFailed, match="docker save app:1"):
        nodes.load(Image("app:1", ID, 1))
