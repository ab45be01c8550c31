"""The routes that could lead to the API server from here, as data, best first."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal
from urllib.parse import urlsplit

from threezone.clients.kind import BALANCER
from threezone.zones.locate import Zone

# kind puts this name into every API certificate (kubeadm config, certSANs), so it is a valid TLS name for any address.
TLS_NAME = "localhost"
NODE_PORT = 6443  # inside kind's network, whatever port is published

# The condition for a route: this container on kind's network, or a tunnel through the engine.
Needs = Literal["", "join", "tunnel"]


@dataclass(frozen=True)
class Route:
    """An address, the name in its certificate ("": the address's host), and its condition."""

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
    """Return the routes to try, best first.

    `declared` is the server as kind writes it for the engine's host. `existing` are server and TLS name in the user's
    kubeconfig: they come first, so that a working entry stays. `by_hand` are the user's own, before all others; without
    a TLS name the address is tried as it is and as `localhost`. `tunnel`: one through the engine is possible.
    Names come before addresses, and routes that need a change (`needs`) come last.
    """
    routes = [*_given(by_hand), *_all(cluster, declared, zone, network, existing)]
    if tunnel:
        # An entry may lead through a tunnel that is closed now: the same address then needs the tunnel again.
        routes.append(Route("tunnel through the engine", address("127.0.0.1", port_of(declared)), TLS_NAME, "tunnel"))
    return unique(routes)


def unique(routes: Iterable[Route]) -> tuple[Route, ...]:
    """Return the routes without those that differ only in their name."""
    first: dict[tuple[str, str, Needs], Route] = {}
    for route in routes:
        first.setdefault((route.server, route.tls_server_name, route.needs), route)
    return tuple(first.values())


def _given(by_hand: tuple[str, str] | None) -> list[Route]:
    if by_hand is None:
        return []
    server, tls_name = by_hand
    return [Route("given by hand", server, name) for name in ([tls_name] if tls_name else ["", TLS_NAME])]


def _all(cluster: str, declared: str, zone: Zone, network: str, existing: tuple[str, str] | None) -> Iterator[Route]:
    on_network = zone.kind == "container" and network in zone.networks
    needs: Needs = "" if on_network else "join"
    servers = [f"https://{cluster}-{role}:{NODE_PORT}" for role in (BALANCER, "control-plane")]
    nodes = [Route("node on kind's network", server, "", needs) for server in servers]
    # A node's name works only on that network. Elsewhere, such an entry is tried after joining.
    if existing and existing[0]:
        yield Route("existing entry", *existing, needs if existing[0] in servers and zone.container_id else "")
    yield Route("declared", declared)
    port = port_of(declared)
    if zone.engine_host:
        yield Route("engine's machine", address(zone.engine_host, port), TLS_NAME)
    if zone.kind == "host":
        return
    if on_network:
        yield from nodes
    for name in ("host.docker.internal", "kubernetes.docker.internal"):
        yield Route(name, address(name, port), TLS_NAME)
    for gateway in filter(None, (zone.gateway, zone.gateway6)):
        yield Route("default gateway", address(gateway, port), TLS_NAME)
    if zone.container_id and not on_network:
        yield from nodes


def port_of(server: str) -> int:
    """Return the port in the server's address; the API server's own port if it is missing or invalid."""
    try:
        return urlsplit(server).port or NODE_PORT
    except ValueError:
        return NODE_PORT


def host_of(server: str) -> str:
    """Return the host in the server's address, "" for an invalid one."""
    try:
        return urlsplit(server).hostname or ""
    except ValueError:
        return ""


def is_loopback(host: str) -> bool:
    """Whether the host is this machine itself. kind writes 0.0.0.0 when it publishes on all addresses."""
    try:
        ip = ipaddress.ip_address(host)
    except ValueError:
        return host == "localhost"
    return ip.is_loopback or ip.is_unspecified


def address(host: str, port: int) -> str:
    """Return the https address of a host; an IPv6 address gets its brackets."""
    return f"https://[{host}]:{port}" if ":" in host else f"https://{host}:{port}"
