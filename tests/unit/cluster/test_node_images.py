"""Images as a user names them: the lab's own, the engine's, and what cannot be meant."""

from __future__ import annotations

from pathlib import Path

import pytest

from threezone.cluster import node_images as room
from threezone.cluster.lab import Lab
from threezone.core import process
from threezone.core.errors import UsageError
from threezone.core.settings import Settings
from threezone.images import build, engine_images
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


def test_the_labs_own_are_named_shortly_and_the_app_comes_under_its_lasting_name(lab: Lab) -> None:
    assert names(lab, "flux", "hello") == ["lab/flux:1", "lab/hello:1", "threezone/hello:lab"]


def test_any_image_of_the_engine_is_named_as_there_with_or_without_its_tag(lab: Lab) -> None:
    assert names(lab, "team/app:1", "plain") == ["team/app:1", "plain:latest"]


@pytest.mark.parametrize(
    ("asked", "sentence"),
    [
        ("nosuch", "the engine has no image nosuch"),
        ("node", "node is what nodes are made from"),
        ("node:1.34", "node:1.34 is what nodes are made from"),
        ("balancer", "balancer is what nodes are made from"),
        ("team/app@sha256:0", "loses that name in an archive"),
    ],
)
def test_what_cannot_be_loaded_is_refused_with_what_can(lab: Lab, asked: str, sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence) as caught:
        names(lab, "team/app:1", asked)
    assert caught.value.fix
