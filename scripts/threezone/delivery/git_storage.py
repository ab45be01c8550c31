"""Where the lab's Git server keeps its repositories: a directory on a node, in a cluster of ours.

A claim is what other clusters get. In one that was just made it costs the start of a provisioner, and of a pod for the
volume, before the server's own.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from threezone.clients.node import Node
from threezone.cluster import kind
from threezone.cluster.lab import Lab
from threezone.core import process
from threezone.delivery import git_server

GONE = f"{git_server.STORE}.gone"


def chosen(nodes: Sequence[Node]) -> str:
    """The node for a new Git server: the first worker, else the first control plane; "" where they are not ours. Pure.

    The same nodes give the same choice.
    """
    ours = [node for node in nodes if node.ours and node.in_kubernetes]
    return min(ours, key=lambda node: (node.role != "worker", node.name)).name if ours else ""


def prepare(lab: Lab) -> str:
    """The node that keeps the Git server's repositories, with a directory for a new one; "" where a claim shall."""
    if there := lab.api.get(f"{git_server.DEPLOYMENTS}/{git_server.NAME}"):
        return git_server.stored_on(there)
    node = "" if lab.foreign else chosen(kind.nodes(lab.name))
    if node:
        owner = str(git_server.UID)
        _on(node, "install", "--directory", "--mode=0700", f"--owner={owner}", f"--group={owner}", git_server.STORE)
    return node


def take_down(lab: Lab, remove: Callable[[], None]) -> None:
    """Remove the Git server by `remove`, and what it kept on a node that the engine here has.

    That is taken from its place first: however this goes on, no later Git server finds it.
    """
    node = git_server.stored_on(lab.api.get(f"{git_server.DEPLOYMENTS}/{git_server.NAME}"))
    if node and lab.kind_cluster:
        _on(node, "sh", "-c", f"rm -rf {GONE} && if [ -e {git_server.STORE} ]; then mv {git_server.STORE} {GONE}; fi")
    remove()
    if node and lab.kind_cluster:
        _on(node, "rm", "-rf", GONE)


def _on(node: str, *argv: str) -> None:
    process.run(["docker", "exec", node, *argv], timeout=60)
