"""What is known of a cluster from here, all asked at once: our zone, the engine, its nodes, the kubeconfig kind has."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TypeVar

from threezone.clients import kind
from threezone.clients.kind import Node
from threezone.core.errors import ClusterError, EngineError, ThreezoneError
from threezone.engine.find import Engine, observe, require
from threezone.zones.admin_kubeconfig import kubeconfig as kubeconfig_of
from threezone.zones.locate import Zone, locate

# A node that has just been started: its API server listens some seconds later, and nothing announces that.
PATIENCE = 20.0

Value = TypeVar("Value")


@dataclass(frozen=True)
class Known:
    """A cluster as the engine here knows it.

    `kubeconfig` is the text that `kind get kubeconfig` prints (it holds keys), or None; then `trouble` says why, and
    `missing` is the same where an engine answers and the cluster is gone or stopped.
    """

    name: str
    engine: Engine
    zone: Zone
    nodes: tuple[Node, ...] = ()
    kubeconfig: str | None = field(default=None, repr=False)
    trouble: ThreezoneError | None = None
    missing: ClusterError | None = None

    @property
    def patience(self) -> float:
        """Seconds that the API server may still take to listen: some when a node was started within the last minute."""
        return PATIENCE if any(node.just_started for node in self.nodes) else 0.0


def look(name: str) -> Known:
    """Ask for everything at once. Never raises: what is missing is in the answer."""
    with ThreadPoolExecutor(3) as pool:
        nodes, kubeconfig = pool.submit(kind.nodes, name), pool.submit(kubeconfig_of, name)
        engine = pool.submit(observe).result()
        zone = locate(engine)
        text = _result(kubeconfig)
        seen = _result(nodes)
    try:
        require(engine)
    except EngineError as error:
        return Known(name, engine, zone, trouble=error)
    if isinstance(seen, ThreezoneError):
        return Known(name, engine, zone, trouble=seen)
    if isinstance(text, ThreezoneError):
        missing = _missing(name, engine, seen)
        return Known(name, engine, zone, seen, trouble=missing or text, missing=missing)
    return Known(name, engine, zone, seen, text)


def _result(future: Future[Value]) -> Value | ThreezoneError:
    try:
        return future.result()
    except ThreezoneError as error:
        return error


def _missing(name: str, engine: Engine, nodes: tuple[Node, ...]) -> ClusterError | None:
    """The cluster is gone, or stopped: in both cases there is a task that brings it back."""
    named = f" --name {name}" if name != "kind" else ""
    if not nodes:
        return ClusterError(
            f"the cluster {name} is gone: the engine at {engine.endpoint} has no node of it",
            fix=f"./run invoke up{named}",
        )
    stopped = [f"{node.name} is {node.state}" for node in nodes if node.state != "running"]
    if not stopped:
        return None
    return ClusterError(
        f"the cluster {name} is stopped", evidence="\n".join(stopped), fix=f"./run invoke cluster.start{named}"
    )
