from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from threezone.clients import kind
from threezone.clients.kind import Node
from threezone.cluster import containers
from threezone.cluster.containers import Mount
from threezone.cluster.lab import Lab
from threezone.core.settings import Settings
from threezone.delivery import git_server, serve


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
    assert serve.choose_node(nodes) == found
    assert serve.choose_node(list(reversed(nodes))) == found


PLANE, WORKER = node("lab-control-plane", "control-plane"), node("lab-worker", "worker")
MOUNT = Mount("/home/me/var", "/var/lib")


def session(monkeypatch: pytest.MonkeyPatch, mounted: list[Node], deployment: Any = None) -> tuple[Lab, list[str]]:
    """A session on two nodes, those of `mounted` with a mount over the store; and where it writes."""
    written: list[str] = []
    monkeypatch.setattr(kind, "nodes", lambda _: (PLANE, WORKER))
    monkeypatch.setattr(
        containers,
        "mounts",
        lambda nodes, _: {each.container: MOUNT for each in nodes if each in mounted},
    )
    monkeypatch.setattr(serve, "_run", lambda name, *_: written.append(name))
    made = Lab(Path("/project"), Settings(), "lab", requested_channel="source")
    monkeypatch.setattr(Lab, "api", SimpleNamespace(get=lambda _: deployment))
    return made, written


@pytest.mark.parametrize(
    ("mounted", "chosen"), [([], "lab-worker"), ([WORKER], "lab-control-plane"), ([PLANE, WORKER], "")]
)
def test_repositories_are_kept_in_no_directory_of_the_users(
    monkeypatch: pytest.MonkeyPatch, mounted: list[Node], chosen: str
) -> None:
    made, written = session(monkeypatch, mounted)
    assert serve.prepare_storage(made) == chosen
    assert written == [chosen] * bool(chosen)


@pytest.mark.parametrize(("mounted", "writes"), [([], 2), ([WORKER], 0)])
def test_what_is_in_a_directory_of_the_users_stays_there(
    monkeypatch: pytest.MonkeyPatch, mounted: list[Node], writes: int
) -> None:
    pod = {"nodeSelector": {git_server.HOST: "lab-worker"}}
    made, written = session(monkeypatch, mounted, {"spec": {"template": {"spec": pod}}})
    removed: list[str] = []
    monkeypatch.setattr(git_server, "delete", lambda *_: removed.append("server"))
    serve.delete(made)
    assert (removed, written) == (["server"], ["lab-worker"] * writes)
