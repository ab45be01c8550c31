"""Draw the three zones and their content, as text of at most 100 columns. Pure."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from threezone.clients.kind import Node
from threezone.engine.find import Engine
from threezone.zones.kubeconfig_entry import UserEntry
from threezone.zones.locate import Zone
from threezone.zones.routes import host_of, is_loopback

WIDTH = 100
_INNER = (23, 28, 27)  # columns of text in each box; with frames and two connectors of five they fill the width
_SHOWN = ("name", "role", "state", "networks", "published")  # of a node, as JSON
_NODES = 7  # nodes in the drawing; those of larger clusters are counted

_ENGINES = {
    "native": "on Linux itself",
    "desktop": "Docker Desktop",
    "rootless": "rootless",
    "remote": "on another machine",
    "unknown": "",
}
_SYSTEMS = {"linux": "", "wsl": "in WSL", "macos": "on macOS", "windows": "on Windows"}
_JOBS = {"": "", "gitlab": "job of GitLab CI", "github": "job of GitHub Actions"}

_BOUNDARY, _NONE = "──┃─▶", "═════"
_SINGLE, _DOUBLE = "┌─┐│└┘", "╔═╗║╚╝"


@dataclass(frozen=True)
class Facts:
    """The engine, the nodes of the cluster, the kubeconfig's entry. `…_why` says why one of them is unknown."""

    cluster: str
    engine: Engine
    nodes: tuple[Node, ...] = ()
    nodes_why: str = ""
    entry: UserEntry | None = None
    entry_why: str = ""

    def data(self) -> dict[str, Any]:
        """The facts as JSON has them."""
        engine, entry = self.engine, self.entry
        shown = entry and {
            "context": entry.context,
            "server": entry.server,
            "tlsServerName": entry.tls_server_name or None,
            "file": entry.file,
        }
        return {
            "engine": {"state": engine.state, "endpoint": engine.endpoint, "version": engine.version or None},
            "cluster": {
                "name": self.cluster,
                "nodes": [{key: getattr(node, key) for key in _SHOWN} for node in self.nodes],
                "why": self.nodes_why or None,
            },
            "kubeconfig": {"entry": shown, "why": self.entry_why or None},
        }


def draw(zone: Zone, facts: Facts) -> str:
    """Return the drawing: a box for each zone, double for ours, `┃` for a boundary that has to be crossed.

    The lines below name these boundaries and where the kubeconfig's entry leads. Missing facts show their reason.
    """
    one_machine = _is_engine_host(zone)
    boxes = (
        _box("zone 1: you are here", _first(zone), _INNER[0], _DOUBLE),
        _box("zone 2: engine's host", _second(zone, facts), _INNER[1], _DOUBLE if one_machine else _SINGLE),
        _box("zone 3: cluster", _third(facts), _INNER[2], _SINGLE),
    )
    height = max(map(len, boxes))
    columns = [_extended(box, height) for box in boxes]
    lines = []
    for number, (first, second, third) in enumerate(zip(*columns, strict=True)):
        middle = number == height // 2
        crossing = (_NONE if one_machine else _BOUNDARY, _BOUNDARY) if middle else (" " * 5, " " * 5)
        lines.append(f"{first}{crossing[0]}{second}{crossing[1]}{third}")
    if shared := _shared(zone, facts):
        lines[-1:] = _with_network(lines[-1], shared)
    return "\n".join((*lines, "", *_below(zone, facts)))


def _is_engine_host(zone: Zone) -> bool:
    return zone.kind == "host" and zone.engine != "remote"


def _box(title: str, lines: Iterable[str], inner: int, frame: str) -> list[str]:
    wrapped = [part for line in lines for part in textwrap.wrap(line, inner, subsequent_indent="  ")]
    body = [f"{frame[3]} {line.ljust(inner)} {frame[3]}" for line in wrapped]
    head = f"{frame[0]}{frame[1]} {title} ".ljust(inner + 3, frame[1]) + frame[2]
    return [head, *body, f"{frame[4]}{frame[1] * (inner + 2)}{frame[5]}"]


def _extended(box: list[str], height: int) -> list[str]:
    side, inner = box[1][0], len(box[0]) - 2
    return [*box[:-1], *[f"{side}{' ' * inner}{side}"] * (height - len(box)), box[-1]]


def _shared(zone: Zone, facts: Facts) -> str:
    """Return the network that a container shares with the nodes, or "". On it there is no boundary between them."""
    networks = {name for node in facts.nodes for name in node.networks}
    return next((name for name in zone.networks if name in networks), "") if zone.kind == "container" else ""


def _with_network(bottom: str, network: str) -> tuple[str, str]:
    """Return the boxes' bottom line, and a line below it from the first box to the third."""
    left, right = _INNER[0] // 2, WIDTH - _INNER[2] // 2
    line = f"{bottom[:left]}╤{bottom[left + 1 : right]}▲{bottom[right + 1 :]}"
    return line, " " * left + "└" + f" both are on the network {network} ".center(right - left - 1, "─") + "┘"


def _first(zone: Zone) -> Iterator[str]:
    job = _JOBS[zone.ci]
    if zone.kind == "host":
        yield " ".join(filter(None, ("the host", _SYSTEMS[zone.system])))
        if job:
            yield job
        yield "127.0.0.1 is zone 2's" if _is_engine_host(zone) else "127.0.0.1 is its own"
        return
    yield f"{'devcontainer' if zone.devcontainer else 'container'} {zone.container_id[:12]}".rstrip()
    if job:
        yield job
    if zone.networks:
        yield f"on {', '.join(zone.networks)}"
    gateways = ", ".join(filter(None, (zone.gateway, zone.gateway6)))
    if gateways:
        yield f"gateway {gateways}"
    yield "127.0.0.1 is itself"


def _second(zone: Zone, facts: Facts) -> Iterator[str]:
    engine = facts.engine
    if engine.state != "ok":
        yield f"no engine ({engine.state}) at"
        yield engine.endpoint
        return
    yield f"engine {engine.version}"
    if where := _ENGINES[zone.engine]:
        yield where
    yield engine.endpoint
    ports = [node.published for node in facts.nodes if node.published]
    yield f"publishes {', '.join(ports)}" if ports else "publishes no API port"


def _third(facts: Facts) -> Iterator[str]:
    if not facts.nodes:
        yield facts.nodes_why
        return
    yield f"{facts.cluster}, API server on 6443"
    for node in facts.nodes[:_NODES]:
        yield _node(node)
    if facts.nodes[_NODES:]:
        yield f"and {len(facts.nodes) - _NODES} more"
    networks = dict.fromkeys(name for node in facts.nodes for name in node.networks)
    if networks:
        yield f"network {', '.join(networks)}"


def _node(node: Node) -> str:
    return node.name if node.state == "running" else f"{node.name} {node.state}"


def _below(zone: Zone, facts: Facts) -> Iterator[str]:
    if _is_engine_host(zone):
        yield "┃ one boundary from here: zone 2 → 3, which the published port crosses"
    else:
        whose = "the container's network" if zone.kind == "container" else "another machine"
        yield f"┃ two boundaries from here: zone 1 → 2 ({whose}), zone 2 → 3 (the published port)"
    entry = facts.entry
    if entry is None:
        yield facts.entry_why
        return
    name = f" (TLS name {entry.tls_server_name})" if entry.tls_server_name else ""
    yield from textwrap.wrap(
        f"{entry.context} in {entry.file} → {entry.server}{name}: {_destination(zone, facts, entry.server)}",
        WIDTH, subsequent_indent="  ", break_on_hyphens=False,
    )  # fmt: skip


def _destination(zone: Zone, facts: Facts, server: str) -> str:
    """Return the place of the entry's address, as seen from here. Only a probe shows whether it answers."""
    host = host_of(server)
    if not host:
        return "no address"
    if is_loopback(host):
        if zone.kind == "container":
            return "the container itself (the localhost trap), unless a tunnel listens there"
        if zone.engine == "remote":
            return "this machine, which needs a tunnel to the engine"
        return "the port that zone 2 publishes"
    if host in {node.name for node in facts.nodes}:
        return "past zone 2 straight into zone 3"
    return "by way of zone 2"
