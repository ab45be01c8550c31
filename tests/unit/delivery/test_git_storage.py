import pytest

from threezone.clients.node import Node
from threezone.delivery import git_storage


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
    assert git_storage.chosen(nodes) == found
    assert git_storage.chosen(list(reversed(nodes))) == found
