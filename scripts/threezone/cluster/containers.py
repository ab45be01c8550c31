"""The nodes' containers as the engine shows them: their state, addresses, mounts and volumes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from threezone.clients.docker import containers
from threezone.clients.kind import Node

Json = dict[str, Any]

# What kind mounts into every node (pkg/cluster/internal/providers/docker/provision.go); /var is a volume.
KIND_BINDS = ("/lib/modules:/lib/modules:ro", "/dev/mapper:/dev/mapper")


@dataclass(frozen=True)
class Mount:
    """A file or directory of the user's on the engine's host, and its path in the node."""

    source: str
    target: str

    def overlaps(self, path: str) -> bool:
        """Whether writing or removing `path` in the node changes something on the host."""
        path, target = f"{path.rstrip('/')}/", f"{self.target.rstrip('/')}/"
        return path.startswith(target) or target.startswith(path)

    def on_host(self, path: str) -> str:
        """The path on the host of a path below the mount."""
        return self.source + path.removeprefix(self.target.rstrip("/"))


PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY")
KIND_MOUNTS = frozenset(Mount(*bind.split(":")[:2]) for bind in KIND_BINDS)


@dataclass(frozen=True)
class Container:
    """A node's container. `data` is the output of `docker inspect`; its environment may hold secrets."""

    node: Node
    data: Json

    @property
    def started(self) -> datetime | None:
        """When the engine started it last; None while it does not run."""
        state = self.data.get("State") or {}
        return moment(str(state.get("StartedAt", ""))) if state.get("Running") else None

    @property
    def proxies(self) -> dict[str, str]:
        """The proxies that kind gave the node when it was created, with its exceptions; none without a proxy.

        kind takes those of its own environment, and adds the cluster's networks and names to the exceptions (kind,
        pkg/cluster/internal/providers/common/proxy.go). An address may have a password.
        """
        environment = dict(each.partition("=")[::2] for each in (self.data.get("Config") or {}).get("Env") or ())
        found = {name: environment[name] for name in PROXIES if environment.get(name)}
        return found if found.keys() - {"NO_PROXY"} else {}

    @property
    def addresses(self) -> tuple[str, ...]:
        """Its addresses on all networks, IPv4 first; none while it is stopped."""
        networks = ((self.data.get("NetworkSettings") or {}).get("Networks") or {}).values()
        keys = ("IPAddress", "GlobalIPv6Address")
        return tuple(str(network[key]) for key in keys for network in networks if network and network.get(key))

    @property
    def mounts(self) -> tuple[Mount, ...]:
        """The user's mounts, inner ones last: nothing of ours is written there."""
        binds = {Mount(str(m.get("Source")), str(m["Destination"])) for m in self._mounts if m.get("Type") == "bind"}
        return tuple(sorted(binds - KIND_MOUNTS, key=lambda mount: (len(mount.target), mount.target)))

    @property
    def volumes(self) -> tuple[str, ...]:
        """The names of its volumes: kind keeps /var in an anonymous one."""
        return tuple(str(m["Name"]) for m in self._mounts if m.get("Type") == "volume" and "Name" in m)

    @property
    def _mounts(self) -> Sequence[Json]:
        return self.data.get("Mounts") or ()


def inspect(nodes: Sequence[Node]) -> tuple[Container, ...]:
    """The containers of these nodes, without those that were removed in the meantime. Raises EngineError."""
    data = {document["Id"]: document for document in containers.inspect(*(node.container for node in nodes))}
    return tuple(Container(node, data[node.container]) for node in nodes if node.container in data)


def mounts(nodes: Sequence[Node], path: str) -> dict[str, Mount]:
    """The user's mount that contains `path`, or is below it, of each node that has one; by the container's id."""
    return {
        container.node.container: mount
        for container in inspect(nodes)
        for mount in container.mounts
        if mount.overlaps(path)
    }


def started(nodes: Sequence[Node]) -> dict[str, datetime]:
    """When the engine started each running Kubernetes node among these."""
    kubernetes = [node for node in nodes if node.in_kubernetes]
    return {each.node.name: since for each in inspect(kubernetes) if (since := each.started) is not None}


def moment(text: str) -> datetime | None:
    """A time as Docker and Kubernetes write it (RFC 3339, up to nanoseconds, UTC); None for "" and for Go's zero."""
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        return None
    return time if time.year > 1 else None
