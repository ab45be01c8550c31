import pytest

from threezone.cluster.node import Node
from threezone.lab import git_store


def node(name: str, role: str, *, ours: bool = True) -> Node:
    return Node("id-" + name, name, "lab", role, "running", "image", ours)


@pytest.mark.parametrize(
    ("nodes", "found"),
    [
        ([node("lab-control-plane", "control-plane")], "lab-control-plane"),
        ([node("lab-control-plane", "control-plane"), node("lab-worker2", "worker"), node("lab-worker", "worker")],
         "lab-worker"),
        ([node("lab-control-plane2", "control-plane"), node("lab-control-plane", "control-plane"),
          node("lab-external-load-balancer", "external-load-balancer")], "lab-control-plane"),
        ([node("lab-control-plane", "control-plane", ours=False)], ""),
        ([], ""),
    ],
)  # fmt: skip
def test_a_node_of_ours_keeps_the_repositories(nodes: list[Node], found: str) -> None:
    assert git_store.chosen(nodes) == found
    assert git_store.chosen(list(reversed(nodes))) == found
