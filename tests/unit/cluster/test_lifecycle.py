from pathlib import Path

import pytest

from threezone.clients.kind import Node
from threezone.clients.kubernetes.api import Json
from threezone.cluster.lifecycle import NODES, Observed, State, nodes_missing, plan
from threezone.cluster.spec.declared import Overlay, parse
from threezone.core.errors import ClusterError
from threezone.core.plan import StepKind

DECLARED = parse("kind: Cluster\napiVersion: kind.x-k8s.io/v1alpha4\n", Path("kind.yaml"))
OVERLAY = Overlay("cgroup v1 needs this", "patch")


def node(state: str = "running", *, ours: bool = True) -> Node:
    return Node("0123", "lab-control-plane", "lab", "control-plane", state, "threezone/node:v1.35.0-lab", ours)


@pytest.mark.parametrize(
    ("state", "keys"),
    [
        ("absent", [StepKind.NOTE, StepKind.CREATE_CLUSTER]),
        ("interrupted", [StepKind.DELETE_CLUSTER, StepKind.NOTE, StepKind.CREATE_CLUSTER]),
        ("stopped", [StepKind.START_NODES]),
        ("running", []),
    ],
)
def test_the_plan_of_each_state(state: State, keys: list[StepKind]) -> None:
    seen = Observed("lab", state, () if state == "absent" else (node("exited"),))
    assert [action.kind for action in plan(seen, DECLARED, [OVERLAY], "image")] == keys


def test_a_foreign_cluster_is_refused_with_a_fix() -> None:
    with pytest.raises(ClusterError, match="was not made by threezone") as caught:
        plan(Observed("lab", "foreign", (node(ours=False),)), DECLARED, [], "image")
    assert "kind delete cluster --name lab" in caught.value.fix
    assert "lab-control-plane" in caught.value.evidence


def test_the_plan_shows_the_command() -> None:
    (create,) = plan(Observed("lab", "absent"), DECLARED, [], "threezone/node:v1.35.0-lab")
    assert create.command == ("kind create cluster --name lab --config kind.yaml --image threezone/node:v1.35.0-lab")


def api_node(name: str, ready: str, version: str = "v1.35.0") -> Json:
    return {
        "metadata": {"name": name},
        "status": {
            "nodeInfo": {"kubeletVersion": version},
            "conditions": [{"type": "Ready", "status": ready, "message": "cni plugin not initialized"}],
        },
    }


def test_nodes_are_missing_until_all_are_ready() -> None:
    def judge(*nodes: Json) -> list[str]:
        return nodes_missing({NODES: {n["metadata"]["name"]: n for n in nodes}}, 2, "v1.35.0")

    assert judge() == ["2 of 2 nodes to register"]
    assert judge(api_node("a", "False")) == [
        "1 of 2 nodes to register",
        "node a to be Ready (cni plugin not initialized)",
    ]
    assert judge(api_node("a", "True"), api_node("b", "True")) == []


LACKING = (
    "container runtime network not ready: NetworkReady=false reason:NetworkPluginNotReady message:Network plugin "
    "returns error: cni plugin not initialized"
)


def unready(message: str, version: str = "v1.35.0") -> Json:
    node = api_node("a", "False", version)
    node["status"]["conditions"][0]["message"] = message
    return node


def test_a_disabled_pod_network_is_not_waited_for() -> None:
    def judge(node: Json, *, pod_network: bool) -> list[str]:
        return nodes_missing({NODES: {"a": node}}, 1, "v1.35.0", pod_network=pod_network)

    assert judge(unready(LACKING), pod_network=False) == []
    assert judge(unready(LACKING), pod_network=True) == [f"node a to be Ready ({LACKING})"]
    both = f"[{LACKING}, PLEG is not healthy]"
    assert judge(unready(both), pod_network=False) == [f"node a to be Ready ({both})"]
    with pytest.raises(ClusterError, match="not v1"):
        judge(unready(LACKING, "v1.34.1"), pod_network=False)


def test_a_wrong_version_is_not_waited_for() -> None:
    with pytest.raises(ClusterError, match=r"runs v1\.34\.1, not v1\.35\.0"):
        nodes_missing({NODES: {"a": api_node("a", "True", "v1.34.1")}}, 1, "v1.35.0")
