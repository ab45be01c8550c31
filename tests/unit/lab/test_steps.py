"""A plan carried out: what goes on beside what, and what a failure there does."""

from __future__ import annotations

import threading
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from threezone.cluster import create
from threezone.cluster.lab import Lab
from threezone.core.errors import ClusterError
from threezone.core.plan import Action
from threezone.flux import install
from threezone.lab import steps

SESSION = cast(
    Lab,
    SimpleNamespace(
        tools={"flux": Path("flux")},
        channel="source",
        lab=SimpleNamespace(name="lab", context="kind-lab"),
        declared=SimpleNamespace(spots=SimpleNamespace(at=lambda *_: "kind.yaml:4")),
    ),
)
FRESH = ("create", "flux", "git", "ready", "serve", "deliver")


def plan(*keys: str) -> list[Action]:
    return [Action(key, key) for key in keys]


@pytest.fixture
def done(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What was done, in order; each step of the plan only says so."""
    told: list[str] = []

    def step(key: str) -> None:
        monkeypatch.setitem(steps.STEPS, key, lambda _: told.append(key))

    for key in ("create", "flux", "git", "serve", "deliver"):
        step(key)
    monkeypatch.setattr(install, "objects", lambda *_: [])

    def nodes_ready(_: Lab) -> bool:
        told.append("ready")
        return True

    monkeypatch.setattr(create, "nodes_ready", nodes_ready)
    monkeypatch.setattr(create, "mark", lambda _: told.append("mark"))
    return told


def test_a_new_cluster_gets_git_while_it_gets_flux(done: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    served = threading.Event()
    monkeypatch.setitem(steps.STEPS, "git", lambda _: served.set())
    monkeypatch.setitem(steps.STEPS, "flux", lambda _: done.append(f"flux, git beside it: {served.wait(10)}"))
    steps.apply(SESSION, plan(*FRESH))
    assert done[:3] == ["create", "flux, git beside it: True", "ready"]


def test_a_cluster_that_was_there_is_given_one_after_the_other(done: list[str]) -> None:
    steps.apply(SESSION, plan("flux", "git", "serve"))
    assert done == ["flux", "git", "serve"]


def test_the_mark_is_written_beside_the_rest_and_waited_for(done: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    delivered = threading.Event()
    monkeypatch.setitem(steps.STEPS, "deliver", lambda _: delivered.set())
    monkeypatch.setattr(create, "mark", lambda _: done.append(f"mark, after the delivery: {delivered.wait(10)}"))
    steps.apply(SESSION, plan(*FRESH))
    assert done[-1] == "mark, after the delivery: True"


@pytest.mark.parametrize("beside", ["git", "mark"])
def test_what_fails_beside_the_rest_fails_it(beside: str, done: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: Lab) -> None:
        raise ClusterError(f"no {beside}")

    monkeypatch.setitem(steps.STEPS, "git", fail if beside == "git" else steps.STEPS["git"])
    monkeypatch.setattr(create, "mark", fail if beside == "mark" else create.mark)
    with pytest.raises(ClusterError, match=f"no {beside}"):
        steps.apply(SESSION, plan(*FRESH))
    assert ("deliver" in done) is (beside == "mark")


def test_a_cluster_that_only_lacks_its_pod_network_is_marked_and_told(
    done: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(create, "nodes_ready", lambda _: False)
    with pytest.raises(ClusterError, match=r"its pod network is yours to install.*kind\.yaml:4"):
        steps.apply(SESSION, plan(*FRESH))
    assert done[-1] == "mark"
    assert "deliver" not in done
