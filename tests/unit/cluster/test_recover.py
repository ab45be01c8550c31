"""cluster.start in each state of the cluster, and the deletion of several clusters."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from threezone.clients import kind
from threezone.clients.kind import Node
from threezone.cluster import create, lifecycle, orphans, recover, start
from threezone.cluster.lab import Lab
from threezone.cluster.lifecycle import Observed, State
from threezone.cluster.orphans import Orphans
from threezone.core.errors import ClusterError
from threezone.core.plan import StepKind
from threezone.core.settings import Settings
from threezone.lab import down
from threezone.lab.observe import LabState, NodeState

pytestmark = pytest.mark.usefixtures("unleased")

NODE = Node("id-1", "lab-control-plane", "lab", "control-plane", "running", "threezone/node:v1-lab", ours=True)
WELL = LabState(containers=(NODE,), nodes=(NodeState("lab-control-plane", "v1.35.0", ready=True),))


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    (tmp_path / "local/kubernetes").mkdir(parents=True)
    (tmp_path / "local/kubernetes/kind.yaml").write_text("kind: Cluster\napiVersion: kind.x-k8s.io/v1alpha4\n")
    return Lab(tmp_path, Settings(), "lab", requested_channel="source")


@pytest.fixture
def done(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is done to the cluster, by name, instead of doing it."""
    log: list[str] = []
    monkeypatch.setattr(kind, "nodes", lambda _name=None: (NODE,))
    monkeypatch.setattr(start, "start", lambda _nodes: log.append("start"))
    monkeypatch.setattr(recover, "started", lambda _nodes: {"lab-control-plane": datetime.now(UTC)})
    monkeypatch.setattr(create, "connect", lambda _lab: log.append("connect"))

    def revive(_lab: Lab, since: Mapping[str, datetime]) -> tuple[str, ...]:
        log.append(f"revive what was started in {', '.join(since)}")
        return ()

    monkeypatch.setattr(recover, "revive", revive)
    return log


def observed(monkeypatch: pytest.MonkeyPatch, state: State, **of_node: Any) -> None:
    nodes = () if state == "absent" else (replace(NODE, **of_node),)
    monkeypatch.setattr(lifecycle, "observe", lambda name: Observed(name, state, nodes))


@pytest.mark.parametrize(
    ("state", "words"),
    [
        ("absent", "there is no cluster"),
        ("interrupted", "never created completely"),
        ("foreign", "not made by threezone"),
    ],
)
def test_absent_and_foreign_clusters_are_not_started(
    lab: Lab, done: list[str], monkeypatch: pytest.MonkeyPatch, state: State, words: str
) -> None:
    observed(monkeypatch, state)
    with pytest.raises(ClusterError, match=words):
        recover.bring_back(lab, lambda: True)
    assert done == []


def test_a_healthy_cluster_is_not_restarted(lab: Lab, done: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    observed(monkeypatch, "running")
    assert recover.bring_back(lab, lambda: True) is None
    assert done == []


@pytest.mark.parametrize(("state", "whole"), [("stopped", True), ("running", False)])
def test_stopped_and_unhealthy_clusters_are_brought_back(
    lab: Lab, done: list[str], monkeypatch: pytest.MonkeyPatch, state: State, whole: bool
) -> None:
    observed(monkeypatch, state)
    assert recover.bring_back(lab, lambda: whole) == ()
    assert done == ["start", "connect", "revive what was started in lab-control-plane"]


@pytest.mark.parametrize(
    "seen", [replace(WELL, nodes=()), replace(WELL, not_recovered=("pod n/web to be started again",))]
)
def test_nodes_are_not_ready_while_one_is_missing_or_a_pod_is_stale(seen: LabState) -> None:
    assert WELL.nodes_ready
    assert not seen.nodes_ready


def deletable(monkeypatch: pytest.MonkeyPatch, nodes: dict[str, tuple[Node, ...]], left: Orphans | None = None) -> None:
    monkeypatch.setattr(kind, "nodes", lambda name=None: nodes.get(name or "", ()))
    monkeypatch.setattr(orphans, "observe", lambda name: left or Orphans(name))
    monkeypatch.setattr(down, "find", lambda _lab: None)


def named(lab: Lab, name: str) -> Lab:
    return replace(lab, name=name)


def test_several_clusters_are_looked_at_before_the_first_is_deleted(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    theirs = replace(NODE, cluster="theirs", name="theirs-control-plane", ours=False)
    deletable(monkeypatch, {"lab": (NODE,), "theirs": (theirs,)})
    ((_, actions),) = down.plan_all([lab])
    assert [action.kind for action in actions] == [StepKind.DELETE_CLUSTER]
    with pytest.raises(ClusterError, match="theirs was not made by threezone"):
        down.plan_all([lab, named(lab, "theirs")])
    with pytest.raises(ClusterError, match="there is no cluster named gone"):
        down.plan_all([lab, named(lab, "gone")])


def test_what_an_interrupted_create_left_can_be_deleted_without_a_node(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    deletable(monkeypatch, {}, Orphans("lab", (("id-2", "quirky_name"),), ("threezone/node:v1-lab",)))
    ((_, (action,)),) = down.plan_all([lab])
    assert (action.kind, action.asks) == (StepKind.REMOVE_ORPHANS, True)
    assert "container quirky_name, image threezone/node:v1-lab" in action.sentence
