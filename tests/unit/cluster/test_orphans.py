"""Orphans of a cluster are found by our label; what others use or made is kept."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from tests.fakes import fake_docker

from threezone.clients import kind
from threezone.clients.kind import Node
from threezone.cluster import orphans

NODE = Node("id-1", "lab-control-plane", "lab", "control-plane", "running", "threezone/node:v1-lab", ours=True)
Engine = Callable[[dict[str, str]], list[list[str]]]


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> Engine:
    """An engine that answers by the first words of a command; returns all commands that it was given."""

    def answering(answers: dict[str, str]) -> list[list[str]]:
        def answer(argv: list[str]) -> str:
            return next((text for start, text in answers.items() if " ".join(argv).startswith(start)), "")

        monkeypatch.setattr(kind, "nodes", lambda _cluster=None: (NODE,))
        return fake_docker(monkeypatch, answer)

    return answering


def image(owner: str, name: str) -> dict[str, Any]:
    labels = {"io.threezone.managed": "true", "io.threezone.cluster": owner}
    return {"Id": f"sha256:{owner}", "RepoTags": [name], "Size": 1000, "Config": {"Labels": labels}}


# The last is somebody's own, built on a node image of ours.
MADE = [image("gone", "threezone/node:v1-gone"), image("lab", "threezone/node:v1-lab"), image("x", "my/node:1")]


def test_a_container_with_our_label_that_is_not_a_node_is_an_orphan(engine: Engine) -> None:
    engine(
        {
            "ps": "id-1\tlab-control-plane\tlab\nid-2\tquirky_name\t\n",
            "image ls": "threezone/node:v1-lab\nthreezone/node:<none>\n",
        }
    )
    left = orphans.observe("lab")
    assert left.containers == (("id-2", "quirky_name"),)
    assert left.images == ("threezone/node:v1-lab",)
    assert left.names == ("container quirky_name", "image threezone/node:v1-lab")


def test_nothing_is_removed_where_nothing_is_left(engine: Engine) -> None:
    ran = engine({})
    left = orphans.observe("lab")
    orphans.remove(left)
    assert not left
    assert not any("rm" in argv for argv in ran)


def test_owners_are_clusters_with_nodes_or_a_derived_image(engine: Engine) -> None:
    engine({"image ls": "x\ny\nz\n", "image inspect": json.dumps(MADE)})
    assert orphans.owners() == ("gone", "lab")
