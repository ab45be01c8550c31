"""The images as descriptions: names, what decides their content, what is planned. tests/e2e builds and runs them."""

from __future__ import annotations

import re
import shutil
import threading
import time
from pathlib import Path

import pytest

from threezone.core import events
from threezone.core.errors import ToolError, UsageError
from threezone.images import build, debian_base, engine_images
from threezone.images.build import Part, Work, work
from threezone.images.engine_images import Image
from threezone.toolchain import golang

ID = "sha256:" + "1" * 64


def test_the_released_node_image_has_a_digest() -> None:
    (reference,) = build.references("node", "release")
    assert re.fullmatch(r"docker\.io/kindest/node:v1\.35\.0@sha256:[0-9a-f]{64}", reference)
    assert build.references("node", "source") == ("threezone/node:v1.35.0",)


def test_flux_images_have_the_names_that_its_manifests_use() -> None:
    assert build.references("flux", "release") == ()
    assert "ghcr.io/fluxcd/source-controller:v1.7.3" in build.references("flux", "source")


def test_an_unknown_image_is_refused_with_the_known_ones() -> None:
    with pytest.raises(UsageError, match="'nodes'") as caught:
        build.references("nodes", "source")
    assert "node, flux, git-server, hello, balancer" in caught.value.fix


def test_the_node_of_another_kubernetes_is_another_image() -> None:
    assert build.references("node:1.34", "source") == ("threezone/node:v1.34.3",)
    assert build.references("node:1.36.3", "source") == ("threezone/node:v1.36.3",)
    (released,) = build.references("node:1.34", "release")
    assert released.startswith("docker.io/kindest/node:v1.34.3@sha256:")
    with pytest.raises(UsageError, match=r"no digest is pinned for docker\.io/kindest/node:v1\.36\.3"):
        build.references("node:1.36", "release")
    assert not build.has_all(build.names_for("1.36"), "release"), "then the other channel is looked at"
    with pytest.raises(UsageError, match="the etcd and the coredns"):
        build.references("node:1.33", "source")


def test_names_of_the_lab_with_and_without_a_version() -> None:
    assert build.names_for("") == build.NAMES
    assert build.names_for("1.34") == ("node:1.34.3", "flux", "git-server", "hello")


BALANCER = "docker.io/kindest/haproxy:v20251211-v0.29.0-alpha-100-g82a92c5d"


@pytest.mark.parametrize("channel", ["release", "source"])
def test_the_balancer_has_the_name_that_kind_asks_the_engine_for(channel: build.Channel) -> None:
    assert build.references("balancer", channel) == (BALANCER,)


@pytest.mark.usefixtures("recipes")
@pytest.mark.parametrize(("recipe", "kept"), [("", True), ("other", False), ("ours", True)])
def test_a_balancer_that_the_user_pulled_is_kept_and_an_old_one_of_ours_is_replaced(
    recipe: str, kept: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = build.made_from("balancer", "source") if recipe == "ours" else recipe
    monkeypatch.setattr(engine_images, "inspect", lambda names: {names[0]: Image(names[0], ID, 1, made)})
    assert bool(build.observe(["balancer"], "source")) is kept


@pytest.mark.usefixtures("recipes")
def test_the_plan_of_another_kubernetes_builds_its_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(golang, "built", lambda *_: None)
    monkeypatch.setattr(engine_images, "inspect", lambda _: {})
    todo = build.plan(["node:1.34", "balancer"], "source")
    assert "Kubernetes 1.34.3" in [part.title for part in todo.programs]
    assert [part.title for part in todo.beside] == ["Debian base", "balancer image"]
    assert [part.title for part in todo.last] == ["node:1.34 image"]
    pulled = build.plan(["node:1.34", "balancer"], "release")
    assert [part.title.split("@")[0] for part in pulled.beside] == [
        "pull docker.io/kindest/node:v1.34.3",
        f"pull {BALANCER}",
    ]


@pytest.fixture
def recipes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the recipes that may be changed, and a machine whose release is known."""
    copy = tmp_path / "recipes"
    shutil.copytree(engine_images.RECIPES, copy)
    monkeypatch.setattr(engine_images, "RECIPES", copy)
    monkeypatch.setattr(debian_base, "_release", lambda: ("debian", "bookworm"))
    return copy


@pytest.mark.parametrize(
    ("file", "changed"),
    [
        ("git-server/serve", {"git-server"}),
        ("hello/Dockerfile", {"hello"}),
        ("system/pod-network", {"node"}),
        ("node/files/kind/manifests/default-storage.yaml", {"node"}),
        ("flux/Dockerfile", {"flux"}),
        ("balancer/haproxy.cfg", {"balancer"}),
        ("common/collect", {"node", "git-server", "hello", "balancer"}),
    ],
)
def test_a_changed_recipe_makes_another_image_and_no_other_one(recipes: Path, file: str, changed: set[str]) -> None:
    def identity() -> dict[str, object]:
        names = (*build.NAMES, build.BALANCER)
        return {name: (build.references(name, "source"), build.made_from(name, "source")) for name in names}

    before = identity()
    assert identity() == before
    with (recipes / file).open("a") as handle:
        handle.write("# changed\n")
    after = identity()
    assert {name for name in before if before[name] != after[name]} == changed


def test_a_script_that_lost_its_mode_is_another_recipe(recipes: Path) -> None:
    before = engine_images.digest("git-server")
    (recipes / "git-server/serve").chmod(0o644)
    assert engine_images.digest("git-server") != before


def test_recipes_use_only_what_the_classic_builder_knows() -> None:
    files = sorted(engine_images.RECIPES.rglob("Dockerfile"))
    assert len(files) >= 5
    for file in files:
        text = file.read_text()
        assert not re.search(r"--mount=|--chmod|--link|<<\w|^# *syntax=", text, re.MULTILINE), file


def test_work_announces_every_part_with_an_estimate() -> None:
    done: list[str] = []
    told: list[str] = []

    def beside() -> None:
        time.sleep(0.1)
        done.append("base")

    todo = Work(
        programs=(Part("compile", 600, lambda: done.append("compile")),),
        beside=(Part("base", 60, beside),),
        last=(Part("assemble", 120, lambda: done.append("assemble")),),
    )
    with events.listening(lambda event: told.append(event.text)), events.step("build") as step:
        work(todo, step)
    assert done == ["compile", "base", "assemble"], "what needs both waits for both"
    assert "part 1 of 2: compile; about 12 min to go" in told
    assert any(text.startswith("part 2 of 2: assemble; about ") for text in told)


def test_two_programs_are_built_at_a_time_the_largest_first(monkeypatch: pytest.MonkeyPatch) -> None:
    meeting = threading.Barrier(2, timeout=30)
    with events.step("build") as step:
        work(Work(programs=(Part("one", 60, meeting.wait), Part("two", 60, meeting.wait))), step)
    monkeypatch.setattr(golang, "built", lambda *_: None)
    monkeypatch.setattr(debian_base, "reference", lambda: "threezone/debian")
    monkeypatch.setattr(engine_images, "inspect", lambda _: {})
    seconds = [part.seconds for part in build.plan(["node", "flux"], "source").programs]
    assert seconds == sorted(seconds, reverse=True)


def test_modules_are_fetched_while_a_program_compiles_and_a_failure_there_is_left_to_its_program() -> None:
    fetched = threading.Event()

    def unreachable() -> None:
        raise ToolError("the module cannot be fetched")

    todo = Work(
        programs=(Part("compile", 60, lambda: fetched.wait(30) or pytest.fail("nothing was fetched")),),
        fetches=(unreachable, fetched.set),
    )
    with events.step("build") as step:
        build.work(todo, step)


def test_a_failure_beside_ends_the_work_before_the_last_parts() -> None:
    done: list[str] = []

    def fail() -> None:
        raise ToolError("no mirror")

    todo = Work(beside=(Part("base", 60, fail),), last=(Part("assemble", 1, lambda: done.append("assemble")),))
    with pytest.raises(ToolError, match="no mirror"), events.step("build") as step:
        work(todo, step)
    assert done == []


def test_a_full_disk_is_reported_before_anything_is_built(monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage("/")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=10**9))
    with pytest.raises(ToolError, match=r"16 GB of free disk are needed to build, and .* has 1\.0 GB"):
        build._require_space(Work(programs=(Part("compile", 600, lambda: None),)))
    with pytest.raises(ToolError, match="2 GB"):
        build._require_space(Work())
