"""Observe a kind cluster from here: our zone, the engine, its nodes, and kind's kubeconfig. Read-only."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TypeVar

from threezone.clients import kind
from threezone.clients.kind import Node
from threezone.core.errors import ClusterError, EngineError, ThreezoneError
from threezone.engine import find
from threezone.engine.find import Engine
from threezone.zones.admin_kubeconfig import kubeconfig as admin_kubeconfig
from threezone.zones.locate import Zone, locate

PATIENCE = 20.0  # seconds for the API server of a node that has just started; there is no event for it

Value = TypeVar("Value")


@dataclass(frozen=True)
class KindCluster:
    """A cluster by the facts of the engine here.

    `kubeconfig` is the output of `kind get kubeconfig` (with keys), or None; then `error` says why, and `missing` is
    the same error if an engine answers and the cluster is gone or stopped.
    """

    name: str
    engine: Engine
    zone: Zone
    nodes: tuple[Node, ...] = ()
    kubeconfig: str | None = field(default=None, repr=False)
    error: ThreezoneError | None = None
    missing: ClusterError | None = None

    @property
    def patience(self) -> float:
        """Seconds to wait for the API server to listen; 0 unless a node was started within the last minute."""
        return PATIENCE if any(node.just_started for node in self.nodes) else 0.0


def observe(name: str) -> KindCluster:
    """Observe everything at once. Never raises: errors are part of the result."""
    with ThreadPoolExecutor(3) as pool:
        nodes_future, kubeconfig_future = pool.submit(kind.nodes, name), pool.submit(admin_kubeconfig, name)
        engine = pool.submit(find.observe).result()
        zone = locate(engine)
        kubeconfig, nodes = _result(kubeconfig_future), _result(nodes_future)
    try:
        find.require(engine)
    except EngineError as error:
        return KindCluster(name, engine, zone, error=error)
    if isinstance(nodes, ThreezoneError):
        return KindCluster(name, engine, zone, error=nodes)
    if isinstance(kubeconfig, ThreezoneError):
        missing = _missing(name, engine, nodes)
        return KindCluster(name, engine, zone, nodes, error=missing or kubeconfig, missing=missing)
    return KindCluster(name, engine, zone, nodes, kubeconfig)


def _result(future: Future[Value]) -> Value | ThreezoneError:
    try:
        return future.result()
    except ThreezoneError as error:
        return error


def _missing(name: str, engine: Engine, nodes: tuple[Node, ...]) -> ClusterError | None:
    """Return the error for a cluster that is gone or stopped, with the task that restores it; else None."""
    option = f" --name {name}" if name != "kind" else ""
    if not nodes:
        return ClusterError(
            f"the cluster {name} is gone: the engine at {engine.endpoint} has no node of it",
            fix=f"./run invoke up{option}",
        )
    stopped = "\n".join(f"{node.name} is {node.state}" for node in nodes if node.state != "running")
    if not stopped:
        return None
    return ClusterError(f"the cluster {name} is stopped", evidence=stopped, fix=f"./run invoke cluster.start{option}")
