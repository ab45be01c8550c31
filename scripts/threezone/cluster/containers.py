"""The engine's side of nodes: when each was started, its addresses, and its volumes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from threezone.clients.docker import containers
from threezone.clients.kind import Node

Json = dict[str, Any]

# What kind binds into every node by itself (pkg/cluster/internal/providers/docker/provision.go); /var is a volume.
KINDS_OWN = {("/lib/modules", "/lib/modules"), ("/dev/mapper", "/dev/mapper")}


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
        """Where a path below the mount is on the host."""
        return self.source + path.removeprefix(self.target.rstrip("/"))


@dataclass(frozen=True)
class Container:
    """A node's container. `data` is all that the engine tells of it; what stands in its environment may be secret."""

    node: Node
    data: Json

    @property
    def started(self) -> datetime | None:
        """When the engine started it last; None while it does not run."""
        state = self.data.get("State") or {}
        return moment(str(state.get("StartedAt", ""))) if state.get("Running") else None

    @property
    def addresses(self) -> tuple[str, ...]:
        """Its addresses on all networks, IPv4 first; none while it is stopped."""
        networks = ((self.data.get("NetworkSettings") or {}).get("Networks") or {}).values()
        return tuple(
            str(one[key]) for key in ("IPAddress", "GlobalIPv6Address") for one in networks if one and one.get(key)
        )

    @property
    def mounts(self) -> tuple[Mount, ...]:
        """What the user has mounted into it, inner ones last: nothing of ours is written there."""
        bound = [(str(m.get("Source")), str(m["Destination"])) for m in self.mounted if m.get("Type") == "bind"]
        return tuple(Mount(*each) for each in sorted(bound, key=lambda each: len(each[1])) if each not in KINDS_OWN)

    @property
    def mounted(self) -> Sequence[Json]:
        """The engine's list of mounts, kind's own among them."""
        return self.data.get("Mounts") or ()

    @property
    def volumes(self) -> tuple[str, ...]:
        """The names of its volumes: kind keeps /var in one without a name of its own."""
        return tuple(str(m["Name"]) for m in self.mounted if m.get("Type") == "volume" and "Name" in m)


def inspect(nodes: Sequence[Node]) -> tuple[Container, ...]:
    """What the engine tells of these nodes; one that has gone meanwhile is left out. Raises EngineError."""
    found = {each["Id"]: each for each in containers.inspect(*(node.container for node in nodes))}
    return tuple(Container(node, found[node.container]) for node in nodes if node.container in found)


def mounts(nodes: Sequence[Node], path: str) -> dict[str, Mount]:
    """The user's mount that holds `path`, or is below it, of each node that has one; by the container's id."""
    seen = inspect(nodes)
    return {one.node.container: mount for one in seen for mount in one.mounts if mount.overlaps(path)}


def started(nodes: Sequence[Node]) -> dict[str, datetime]:
    """When the engine started each Kubernetes node among these that runs."""
    wanted = [node for node in nodes if node.in_kubernetes]
    return {one.node.name: since for one in inspect(wanted) if (since := one.started) is not None}


def moment(text: str) -> datetime | None:
    """A time as Docker and Kubernetes write it (RFC 3339, up to nanoseconds, UTC); None for "" and for Go's zero."""
    head, _, fraction = text.removesuffix("Z").partition(".")
    try:
        found = datetime.strptime(f"{head}.{fraction[:6] or '0'}", "%Y-%m-%dT%H:%M:%S.%f").replace(tzinfo=UTC)
    except ValueError:
        return None
    return found if found.year > 1 else None
