"""Which ways could lead to the API server from here: candidates as data, in the order in which they are preferred."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal
from urllib.parse import urlsplit

from threezone.clients.kind import BALANCER
from threezone.zones.locate import Zone

# kind puts these into every API certificate (kubeadm config, certSANs): `localhost` holds wherever the port appears.
TLS_NAME = "localhost"
NODE_PORT = 6443  # inside kind's network, whatever port is published

# What a route needs before it can be tried: this container on kind's network, or a tunnel that the engine carries.
Needs = Literal["", "join", "tunnel"]


@dataclass(frozen=True)
class Route:
    """One way: the address, the name that its certificate must carry ("": the address's host), what it needs first."""

    name: str
    server: str
    tls_server_name: str = ""
    needs: Needs = ""


def candidates(
    cluster: str,
    declared: str,
    zone: Zone,
    *,
    network: str = "kind",
    existing: tuple[str, str] | None = None,
    by_hand: tuple[str, str] | None = None,
    tunnel: bool = False,
) -> tuple[Route, ...]:
    """The routes to try, best first, none twice.

    `declared` is the server as kind writes it for the engine's host. `existing` are server and TLS name that the user's
    kubeconfig has now: a way that works is left as it is. `by_hand` are those that the user asks for, and come before
    it; without a TLS name the address is tried as it is and as `localhost`. With `tunnel` the engine can carry one.
    Names come before bare addresses, and ways that change something first (`needs`) come last.
    """
    found: dict[tuple[str, str, Needs], Route] = {}
    for route in (*_given(by_hand), *_all(cluster, declared, zone, network, existing)):
        found.setdefault((route.server, route.tls_server_name, route.needs), route)
    if tunnel:
        port = _port(declared)
        # An entry may lead through a tunnel that is no longer there: the same address then needs it again.
        route = Route("tunnel through the engine", address("127.0.0.1", port), TLS_NAME, "tunnel")
        found[(route.server, route.tls_server_name, route.needs)] = route
    return tuple(found.values())


def _given(by_hand: tuple[str, str] | None) -> Iterator[Route]:
    if by_hand is None:
        return
    server, name = by_hand
    yield Route("given by hand", server, name)
    if not name:
        yield Route("given by hand", server, TLS_NAME)


def _all(cluster: str, declared: str, zone: Zone, network: str, existing: tuple[str, str] | None) -> Iterator[Route]:
    nodes = [f"https://{cluster}-{role}:{NODE_PORT}" for role in (BALANCER, "control-plane")]
    on_network = zone.kind == "container" and network in zone.networks
    needs: Needs = "" if on_network else "join"
    # An entry with a node's name works only while we are on that network: without it, it is worth a look-up, not more.
    if existing and existing[0]:
        yield Route(
            "existing entry", existing[0], existing[1], needs if existing[0] in nodes and zone.container_id else ""
        )
    yield Route("declared", declared)
    port = _port(declared)
    if zone.engine_host:
        yield Route("engine's machine", address(zone.engine_host, port), TLS_NAME)
    if zone.kind == "host":
        return
    if on_network:
        yield from _node_routes(nodes, needs)
    for name in ("host.docker.internal", "kubernetes.docker.internal"):
        yield Route(name, address(name, port), TLS_NAME)
    for gateway in (zone.gateway, zone.gateway6):
        if gateway:
            yield Route("default gateway", address(gateway, port), TLS_NAME)
    if zone.container_id and not on_network:
        yield from _node_routes(nodes, needs)


def _node_routes(nodes: list[str], needs: Needs) -> Iterator[Route]:
    for server in nodes:
        yield Route("node on kind's network", server, "", needs)


def _port(server: str) -> int:
    """The published port, as the server's address has it; kind's own where it has none, or nonsense."""
    try:
        return urlsplit(server).port or NODE_PORT
    except ValueError:
        return NODE_PORT


def address(host: str, port: int) -> str:
    """The https address of a host; an IPv6 address gets its brackets."""
    return f"https://[{host}]:{port}" if ":" in host else f"https://{host}:{port}"
