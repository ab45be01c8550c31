"""The preloaded node image as a combination: what decides its name, and what happens where it cannot be made."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import pytest

from threezone.core import events
from threezone.core.errors import CommandFailed, ToolError
from threezone.images import build, engine_images, preload
from threezone.images.engine_images import Image
from threezone.images.versions import images


def image(reference: str, number: int) -> Image:
    return Image(reference, f"sha256:{number:064x}", 1)


NODE = image("threezone/node:v1.35.0", 1)
PRESENT: dict[str, Sequence[Image]] = {
    "node": (NODE,),
    "flux": (image("ghcr.io/fluxcd/source-controller:v1.7.3", 2),),
    "git-server": (image("threezone/git-server:abc", 3),),
    "hello": (image("threezone/hello:def", 4),),
}


def combined(present: dict[str, Sequence[Image]] = PRESENT, released: Sequence[Image] = ()) -> preload.Combination:
    combination = preload.combine(present, released)
    assert combination is not None
    return combination


def test_every_image_has_the_names_that_pods_use() -> None:
    names = [name for part in combined().parts for name in part.names]
    assert names == [
        "ghcr.io/fluxcd/source-controller:v1.7.3",
        "threezone/git-server:abc",
        "threezone/hello:def",
        "threezone/hello:lab",
    ]


def test_the_node_of_another_kubernetes_gets_a_name_of_its_own() -> None:
    other = {**PRESENT, "node:1.34.3": (image("docker.io/kindest/node:v1.34.3@sha256:" + "b" * 64, 6),)}
    del other["node"]
    assert combined(other).reference.startswith("threezone/preloaded:v1.34.3-")


def test_a_released_image_is_named_without_its_digest() -> None:
    pulled = image("ghcr.io/fluxcd/helm-controller:v1.4.3@sha256:" + "a" * 64, 5)
    parts = combined({**PRESENT, "flux": ()}, [pulled]).parts
    assert parts[0] == preload.Part(pulled.id, ("ghcr.io/fluxcd/helm-controller:v1.4.3",))


def test_nothing_is_combined_while_a_part_is_missing() -> None:
    for name in build.NAMES:
        assert preload.combine({key: value for key, value in PRESENT.items() if key != name}) is None


def test_the_name_depends_on_the_contents_only() -> None:
    first = combined().reference
    assert re.fullmatch(r"threezone/preloaded:v1\.35\.0-[0-9a-f]{16}", first)
    assert combined().reference == first
    others = [{**PRESENT, name: (image("other:1", 9),)} for name in build.NAMES]
    assert len({first, *(combined(other).reference for other in others)}) == 1 + len(others)


def test_released_images_are_pinned_by_version_and_digest() -> None:
    assert len(images().released.flux) == 4
    for reference in images().released.flux:
        assert re.fullmatch(r"ghcr\.io/fluxcd/[a-z]+-controller:v[\d.]+@sha256:[0-9a-f]{64}", reference)


@pytest.mark.parametrize(
    "trouble", [CommandFailed(["docker", "commit"], 1, "no space left on device"), ToolError("2 GB"), OSError("full")]
)
def test_the_plain_node_image_is_used_where_no_preloaded_one_can_be_made(
    trouble: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise trouble

    monkeypatch.setattr(build, "ensure_all", lambda *_: PRESENT)
    monkeypatch.setattr(engine_images, "inspect", lambda _: {})
    monkeypatch.setattr(preload, "_make", fail)
    told: list[str] = []
    with events.listening(lambda event: told.append(event.text)):
        assert preload.ensure(build.NAMES, "source") == (NODE, frozenset())
    assert told[-1] == f"no preloaded node image, so images are loaded into the nodes instead: {trouble}"


def test_an_existing_preloaded_image_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    there = image(combined().reference, 7)
    monkeypatch.setattr(build, "ensure_all", lambda *_: PRESENT)
    monkeypatch.setattr(engine_images, "inspect", lambda _: {there.reference: there})
    made, inside = preload.ensure(build.NAMES, "source")
    assert made is there
    assert {"threezone/git-server:abc", "threezone/hello:lab"} < inside


def test_flux_is_left_to_the_cluster_where_its_registry_cannot_be_reached(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def pull(reference: str) -> None:
        asked.append(reference)
        raise ToolError(f"the image {reference} could not be pulled")

    made: list[preload.Combination] = []

    def make(combination: preload.Combination, _: Path) -> None:
        made.append(combination)
        raise ToolError("this test makes none")

    monkeypatch.setattr(build, "ensure_all", lambda *_: {**PRESENT, "flux": ()})
    monkeypatch.setattr(engine_images, "inspect", lambda _: {})
    monkeypatch.setattr("threezone.clients.docker.images.pull", pull)
    monkeypatch.setattr(preload, "_make", make)
    assert preload.ensure(build.NAMES, "release") == (NODE, frozenset())
    assert len(asked) == 1, "a registry that does not answer is asked once"
    assert [part.names for part in made[0].parts] == [
        ("threezone/git-server:abc",),
        ("threezone/hello:def", "threezone/hello:lab"),
    ]
