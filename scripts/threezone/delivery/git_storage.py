"""Where the lab's Git server keeps its repositories: a directory on a node, in a cluster of ours.

A claim is what other clusters get. In one that was just made it costs the start of a provisioner, and of a pod for the
volume, before the server's own.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Sequence

from threezone.clients import kind
from threezone.clients.docker.containers import execute
from threezone.clients.kind import Node
from threezone.cluster import containers
from threezone.cluster.lab import Lab
from threezone.core.events import note
from threezone.delivery import git_server

GONE = f"{git_server.STORE}.gone"


def chosen(nodes: Sequence[Node], mounts: Container[str] = ()) -> str:
    """The node for a new Git server: the first worker, else the first control plane; "" where none can be. Pure.

    A node that is not ours cannot, nor one of `mounts` (container ids): the user has mounted something at the place.
    The same nodes give the same choice.
    """
    ours = [node for node in nodes if node.ours and node.in_kubernetes and node.container not in mounts]
    return min(ours, key=lambda node: (node.role != "worker", node.name)).name if ours else ""


def prepare(lab: Lab) -> str:
    """The node that keeps the Git server's repositories, with a directory for a new one; "" where a claim shall."""
    if there := lab.api.get(f"{git_server.DEPLOYMENTS}/{git_server.NAME}"):
        return git_server.stored_on(there)
    nodes = () if lab.foreign else kind.nodes(lab.name)
    mounts = containers.mounts(nodes, git_server.STORE)
    node = chosen(nodes, mounts)
    if mounts and not node:
        sources = ", ".join(sorted({mount.source for mount in mounts.values()}))
        note(
            f"the Git server keeps its repositories in a claim: {git_server.STORE} "
            f"is in a directory of yours ({sources})"
        )
    if node:
        owner = str(git_server.UID)
        _on(node, "install", "--directory", "--mode=0700", f"--owner={owner}", f"--group={owner}", git_server.STORE)
    return node


def take_down(lab: Lab, remove: Callable[[], None]) -> None:
    """Remove the Git server by `remove`, and what it kept on a node that the engine here has.

    That is taken from its place first: however this goes on, no later Git server finds it.
    """
    node = git_server.stored_on(lab.api.get(f"{git_server.DEPLOYMENTS}/{git_server.NAME}"))
    here = [each for each in kind.nodes(lab.kind_cluster) if each.name == node] if lab.kind_cluster else []
    if mounts := containers.mounts(here, git_server.STORE):
        (mount,) = mounts.values()
        note(f"the repositories stay in a directory of yours: {mount.on_host(git_server.STORE)}")
    removes = bool(here) and not mounts
    if removes:
        _on(node, "sh", "-c", f"rm -rf {GONE} && if [ -e {git_server.STORE} ]; then mv {git_server.STORE} {GONE}; fi")
    remove()
    if removes:
        _on(node, "rm", "-rf", GONE)


def _on(node: str, *argv: str) -> None:
    execute(node, *argv, timeout=60)
