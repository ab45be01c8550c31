"""What is left of a cluster is found by our label; what others use or made is left alone."""

import json
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from threezone import process
from threezone.cluster import kind, leftovers
from threezone.cluster.kind import Node
from threezone.process import Completed

NODE = Node("id-1", "lab-control-plane", "lab", "control-plane", "running", "threezone/node:v1-lab", ours=True)
Engine = Callable[[dict[str, str]], list[list[str]]]


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> Engine:
    """An engine that answers by the first words of a command; returns all commands that it was given."""

    def answering(answers: dict[str, str]) -> list[list[str]]:
        ran: list[list[str]] = []

        def run(argv: Sequence[str], **_: Any) -> Completed:
            ran.append([str(part) for part in argv])
            words = " ".join(ran[-1])
            found = next((text for start, text in answers.items() if words.startswith(start)), "")
            return Completed(tuple(ran[-1]), 0, found, "", 0.1)

        monkeypatch.setattr(process, "run", run)
        monkeypatch.setattr(kind, "nodes", lambda _cluster=None: (NODE,))
        return ran

    return answering


def image(name: str, owner: str = "", tags: Sequence[str] = ()) -> dict[str, Any]:
    labels = {"io.threezone.managed": "true"} | ({"io.threezone.cluster": owner} if owner else {})
    return {"Id": f"sha256:{name}", "RepoTags": list(tags), "Size": 1000, "Config": {"Labels": labels}}


def test_a_container_with_our_label_that_is_no_node_is_left_over(engine: Engine) -> None:
    engine(
        {
            "docker ps": "id-1\tlab-control-plane\tlab\nid-2\tquirky_name\t\n",
            "docker image ls": "threezone/node:v1-lab\nthreezone/node:<none>\n",
        }
    )
    left = leftovers.observe("lab")
    assert left.containers == (("id-2", "quirky_name"),)
    assert left.images == ("threezone/node:v1-lab",)
    assert left.names == ("container quirky_name", "image threezone/node:v1-lab")


def test_nothing_is_removed_where_nothing_is_left(engine: Engine) -> None:
    ran = engine({})
    left = leftovers.observe("lab")
    leftovers.remove(left)
    assert not left
    assert not any("rm" in argv for argv in ran)


def test_all_clusters_are_those_with_nodes_and_those_that_left_an_image(engine: Engine) -> None:
    engine({"docker image ls": "x\n", "docker image inspect": json.dumps([image("x", "gone"), image("y", "lab")])})
    assert leftovers.owners() == ("gone", "lab")


def test_images_that_a_cluster_or_a_container_needs_stay(engine: Engine) -> None:
    images = [
        image("1", "lab", ["threezone/node:v1-lab"]),  # of a cluster that is there
        image("2", "gone", ["threezone/node:v1-gone"]),
        image("3", "", ["threezone/hello:lab", "threezone/hello:abc"]),
        image("4", "", ["threezone/git-server:1"]),  # somebody's container
        image("5"),
    ]
    engine(
        {
            "docker image ls": "x\n",
            "docker image inspect": json.dumps(images),
            "docker ps": "threezone/git-server:1\nsha256:9\n",
        }
    )
    names, size = leftovers.ours()
    assert names == ("threezone/hello:abc", "threezone/hello:lab", "threezone/node:v1-gone")
    assert size == 2000
