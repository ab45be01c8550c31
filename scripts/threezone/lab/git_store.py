"""Where the lab's Git server keeps its repositories: a directory on a node, in a cluster of ours.

A claim is what other clusters get. In one that was just made it costs the start of a provisioner, and of a pod for the
volume, before the server's own.
"""

from __future__ import annotations

from collections.abc import Sequence

from threezone import process
from threezone.cluster import kind
from threezone.cluster.node import Node
from threezone.gitops import server
from threezone.lab.session import Session

GONE = f"{server.STORE}.gone"


def chosen(nodes: Sequence[Node]) -> str:
    """The node for a new Git server: the first worker, else the first control plane; "" where they are not ours. Pure.

    The same nodes give the same choice.
    """
    ours = [node for node in nodes if node.ours and node.role in ("worker", "control-plane")]
    return min(ours, key=lambda node: (node.role != "worker", node.name)).name if ours else ""


def prepare(session: Session) -> str:
    """Have the directory for the Git server's repositories. Returns its node; "" where a claim shall keep them."""
    if there := session.api.get(f"{server.DEPLOYMENTS}/{server.NAME}"):
        node = server.stored_on(there)
    else:
        node = "" if session.lab.foreign else chosen(kind.nodes(session.lab.name))
    if node:
        owner = str(server.UID)
        _on(node, "install", "--directory", "--mode=0700", f"--owner={owner}", f"--group={owner}", server.STORE)
    return node


def set_aside(node: str) -> None:
    """Take the repositories from their place, so that no later Git server finds them, however this goes on."""
    _on(node, "sh", "-c", f"rm -rf {GONE} && if [ -e {server.STORE} ]; then mv {server.STORE} {GONE}; fi")


def drop(node: str) -> None:
    """Delete what was set aside."""
    _on(node, "rm", "-rf", GONE)


def _on(node: str, *argv: str) -> None:
    process.run(["docker", "exec", node, *argv], timeout=60)
