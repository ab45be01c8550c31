"""What may be removed: ours by label and by name, unused, and not what the lab has now."""

from __future__ import annotations

from pathlib import Path

import pytest

from threezone.core import paths
from threezone.images import prune
from threezone.images.prune import ImageName
from threezone.toolchain import cache

NODE = ImageName("threezone/node", "v1.35.0", "1", 936)
OTHER = ImageName("threezone/node", "v1.34.3", "2", 936)
LIVING = ImageName("threezone/node", "v1.35.0-kind", "3", 936, "kind")
GONE = ImageName("threezone/node", "v1.35.0-gone", "4", 936, "gone")
NOW = ImageName("threezone/hello", "abc", "5", 2)
OLD = ImageName("threezone/hello", "before", "6", 2)
LASTING = ImageName("threezone/hello", "lab", "5", 2)
PRELOADED = ImageName("threezone/preloaded", "v1.35.0-old", "7", 1213)
PROBE = ImageName("threezone/probe", "1", "10", 1)
# Built on ours, so they have inherited our label.
THEIRS = ImageName("team/app", "1", "8", 5)
NEAR = ImageName("threezone/e2e-place", "1", "9", 5)
ALL = (NODE, OTHER, LIVING, GONE, NOW, OLD, LASTING, PRELOADED, PROBE, THEIRS, NEAR)
CURRENT = {NODE.reference, NOW.reference, LASTING.reference}


def stale(in_use: set[str], *, everything: bool = False) -> list[ImageName]:
    steps = prune.plan_images(ALL, CURRENT, in_use, {"kind"}, everything=everything)
    assert all(step.asks for step in steps)
    return [name for name in ALL if name.reference in {step.target for step in steps}]


def test_unused_images_are_stale() -> None:
    assert stale({"3"}) == [GONE, OLD, PRELOADED]


def test_images_of_containers_are_never_stale() -> None:
    assert stale({"4", "6", "7"}) == []
    assert OLD not in stale({"6"}, everything=True)


def test_everything_includes_what_can_be_made_again_but_no_image_of_others() -> None:
    left = set(ALL) - set(stale({"3"}, everything=True))
    assert left == {LIVING, THEIRS, NEAR}


def test_the_image_of_an_existing_cluster_is_never_stale() -> None:
    assert LIVING not in stale(set(), everything=True)


def test_a_removal_says_why() -> None:
    (step,) = prune.plan_images([GONE], set(), set(), {"kind"}, everything=False)
    assert "the cluster gone is gone" in step.sentence


@pytest.mark.real_program
def test_only_unlocked_directories_are_leftovers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(paths, "cache_dir", lambda: tmp_path)
    for name in ("tmp/dead", "tmp/alive", "built/.kind-1.x7", "built/kind-1"):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "file").write_text("content")
    (tmp_path / "go").mkdir()
    with cache.exclusive("alive"):
        steps = prune.plan_cache(everything=False)
    assert {step.command for step in steps} == {f"rm -r {tmp_path}/{name}" for name in ("tmp/dead", "built/.kind-1.x7")}
    assert all(step.asks for step in steps)
    assert str(tmp_path / "go") in {step.target for step in prune.plan_cache(everything=True)}
