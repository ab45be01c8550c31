"""What a cluster is told of a registry that runs, and that one costs nothing where there is none."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from threezone.cluster import containerd_mirrors as wiring
from threezone.cluster import local_registry as room
from threezone.cluster.lab import Lab
from threezone.core.settings import Settings
from threezone.images import registry
from threezone.images.registry import Instance, LiveInstance

NAME = "threezone-registry"
IMAGE = "docker.io/library/registry:3.1.2"
SESSION = Lab(Path("/project"), Settings(), "lab", requested_channel="source")


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[Sequence[Instance]]:
    """What the nodes are told, and nothing else happens."""
    found: list[Sequence[Instance]] = []
    monkeypatch.setattr(wiring, "reachable", lambda _: ())
    monkeypatch.setattr(wiring, "wire", lambda _, instances: found.append(instances))
    monkeypatch.setattr(room, "network", lambda: "kind")
    return found


@pytest.mark.parametrize("seen", [{}, {NAME: LiveInstance(NAME, "exited", IMAGE, "", 5001)}])
def test_nothing_is_told_where_none_runs(
    told: list[Sequence[Instance]], seen: dict[str, LiveInstance], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(registry, "observe", lambda _: seen)
    room.tell(SESSION)
    assert told == []


def test_a_cluster_is_told_of_what_runs_and_not_of_what_its_settings_would_have(
    told: list[Sequence[Instance]], monkeypatch: pytest.MonkeyPatch
) -> None:
    running = registry.instances(NAME, 6001, ["ghcr.io"])  # started from another project
    seen = {
        each.name: LiveInstance(
            each.name, "running", IMAGE, registry.recipe(each, IMAGE, "kind"), each.port, each.upstream
        )
        for each in running
    }
    monkeypatch.setattr(registry, "observe", lambda _: seen)
    room.tell(SESSION)
    assert told == [running]


def test_one_that_was_there_before_the_first_cluster_moves_to_its_network(
    told: list[Sequence[Instance]], monkeypatch: pytest.MonkeyPatch
) -> None:
    (only,) = registry.instances(NAME, 5001)
    before = LiveInstance(NAME, "running", IMAGE, registry.recipe(only, IMAGE, "bridge"), 5001)
    moved: list[str] = []
    monkeypatch.setattr(registry, "observe", lambda _: {NAME: before})
    monkeypatch.setattr(registry, "apply", lambda actions, *_: moved.extend(action.target for action in actions))
    room.tell(SESSION)
    assert moved == [NAME]
    assert told == [(only,)]
