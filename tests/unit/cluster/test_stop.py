import pytest

from threezone.clients.kind import Node
from threezone.cluster.lifecycle import Observed, State
from threezone.cluster.stop import in_order, plan, stop
from threezone.core.errors import ClusterError, UsageError


def node(name: str, role: str = "control-plane", state: str = "running") -> Node:
    return Node(f"id-{name}", name, "lab", role, state, "threezone/node:v1.35.0-lab", ours=True)


def test_workers_end_first_and_the_balancer_last() -> None:
    nodes = [node("balancer", "external-load-balancer"), node("plane"), node("b", "worker"), node("a", "worker")]
    assert [one.name for one in in_order(nodes)] == ["a", "b", "plane", "balancer"]


def test_the_plan_names_what_runs_in_the_order_in_which_it_is_stopped() -> None:
    seen = Observed("lab", "running", (node("plane"), node("a", "worker"), node("b", "worker", "exited")))
    (action,) = plan(seen)
    assert action.command == "docker stop a plane"


@pytest.mark.parametrize("state", ["exited", "created", "dead"])
def test_a_stopped_cluster_leaves_nothing_to_do(state: str) -> None:
    assert plan(Observed("lab", "stopped", (node("plane", state=state),))) == ()


def test_a_paused_node_is_not_stopped() -> None:
    assert plan(Observed("lab", "stopped", (node("plane", state="paused"),)))


@pytest.mark.parametrize(("state", "words"), [("absent", "there is no cluster"), ("foreign", "not made by threezone")])
def test_absent_and_foreign_clusters_are_not_stopped(state: State, words: str) -> None:
    with pytest.raises(ClusterError, match=words):
        plan(Observed("lab", state, () if state == "absent" else (node("plane"),)))


@pytest.mark.parametrize("grace", [0, -1, 301])
def test_an_invalid_grace_is_refused_before_any_change(grace: int) -> None:
    with pytest.raises(UsageError, match="--grace"):
        stop(Observed("lab", "running", (node("plane"),)), grace=grace)
