"""The names of images that a user may load: the lab's own, the engine's, and refused ones."""

from __future__ import annotations

from pathlib import Path

import pytest

from threezone.clients import kind
from threezone.clients.kind import Node
from threezone.cluster import containers
from threezone.cluster import node_images as room
from threezone.cluster.containers import Mount
from threezone.cluster.lab import Lab
from threezone.core import process
from threezone.core.errors import UsageError
from threezone.core.settings import Settings
from threezone.images import build, engine_images, load
from threezone.images.engine_images import Image


@pytest.fixture
def lab(monkeypatch: pytest.MonkeyPatch) -> Lab:
    """A lab on an engine that has two images, and everything of the lab."""
    there = {name: Image(name, f"sha256:{name}", 1) for name in ("team/app:1", "plain:latest")}
    monkeypatch.setattr(engine_images, "inspect", lambda names: {name: there[name] for name in names if name in there})
    monkeypatch.setattr(
        build, "ensure_all", lambda names, _: {name: (Image(f"lab/{name}:1", name, 1),) for name in names}
    )
    monkeypatch.setattr(process, "run", lambda *_, **__: None)
    return Lab(Path("/project"), Settings(), "lab", requested_channel="source")


def names(lab: Lab, *asked: str) -> list[str]:
    return [image.reference for image in room.chosen(lab, asked)]


def test_lab_images_have_short_names_and_the_app_gets_its_lasting_name(lab: Lab) -> None:
    assert names(lab, "flux", "hello") == ["lab/flux:1", "lab/hello:1", "threezone/hello:lab"]


def test_any_image_of_the_engine_is_named_as_there_with_or_without_its_tag(lab: Lab) -> None:
    assert names(lab, "team/app:1", "plain") == ["team/app:1", "plain:latest"]


@pytest.mark.parametrize(
    ("asked", "sentence"),
    [
        ("nosuch", "the engine has no image nosuch"),
        ("node", "node is an image of nodes"),
        ("node:1.34", "node:1.34 is an image of nodes"),
        ("balancer", "balancer is an image of nodes"),
        ("team/app@sha256:0", "loses that name in an archive"),
    ],
)
def test_images_that_cannot_be_loaded_are_refused_with_a_fix(lab: Lab, asked: str, sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence) as caught:
        names(lab, "team/app:1", asked)
    assert caught.value.fix


NODE = Node("id-1", "lab-control-plane", "lab", "control-plane", "running", "threezone/node:v1.35.0-lab", ours=True)


@pytest.fixture
def store(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """The images of the one node, which keeps them in a directory of the user's."""
    images: dict[str, str] = {}
    lab.__dict__["tools"] = {"kind": Path("kind")}
    monkeypatch.setattr(kind, "nodes", lambda _: (NODE,))
    monkeypatch.setattr(containers, "mounts", lambda *_: {"id-1": Mount("/home/me/cache", room.STORE)})
    monkeypatch.setattr(load, "stored", lambda _: images)
    monkeypatch.setattr(load, "architecture", lambda _: "amd64")
    return images


def test_no_image_is_loaded_through_a_users_mount(lab: Lab, store: dict[str, str]) -> None:
    image = Image("team/app:1", "sha256:1", 1)
    with pytest.raises(
        UsageError, match="lab-control-plane keeps its images in your directory /home/me/cache"
    ) as caught:
        room.load_missing(lab, (image,))
    assert "kind load docker-image team/app:1 --name lab" in caught.value.fix
    store["docker.io/team/app:1"] = "sha256:1"  # as that command has loaded it
    room.load_missing(lab, (image,))
    with pytest.raises(UsageError, match="nothing is written there"):
        room.into_nodes(lab, ["plain"], [])
