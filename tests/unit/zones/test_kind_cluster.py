"""What the engine's answer means for a cluster that has no kubeconfig: gone, stopped, or neither."""

import pytest

from threezone.clients.kind import Node
from threezone.engine.find import Engine
from threezone.zones import kind_cluster
from threezone.zones.locate import Zone

ENGINE = Engine("ok", "unix:///var/run/docker.sock")


def node(state: str, status: str = "") -> Node:
    return Node("0", "lab-control-plane", "lab", "control-plane", state, "image", ours=True, status=status)


def test_a_cluster_without_nodes_is_gone() -> None:
    error = kind_cluster._missing("lab", ENGINE, ())
    assert error is not None
    assert "the cluster lab is gone" in error.message
    assert (error.exit_code, error.fix) == (4, "./run invoke up --name lab")


def test_a_cluster_whose_nodes_are_stopped_says_so() -> None:
    error = kind_cluster._missing("kind", ENGINE, (node("exited"),))
    assert error is not None
    assert error.message == "the cluster kind is stopped"
    assert error.evidence == "lab-control-plane is exited"
    assert error.fix == "./run invoke cluster.start"
    assert kind_cluster._missing("kind", ENGINE, (node("running"),)) is None


@pytest.mark.parametrize(
    ("status", "patient"),
    [
        ("Up Less than a second", True),
        ("Up 1 second", True),
        ("Up 59 seconds", True),
        ("Up About a minute", False),
        ("Up 3 hours", False),
        ("Exited (137) 5 seconds ago", False),
    ],
)
def test_a_node_that_was_just_started_is_waited_for(status: str, patient: bool) -> None:
    seen = node("running" if status.startswith("Up") else "exited", status)
    at = kind_cluster.KindCluster("lab", ENGINE, Zone("host", ()), (seen,))
    assert (at.patience > 0) is patient
