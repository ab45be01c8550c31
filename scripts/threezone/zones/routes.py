"""Which ways could lead to the API server from here: candidates as data, in the order in which they are preferred."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal
from urllib.parse import urlsplit

from threezone.zones.locate import Zone

# kind puts these into every API certificate (kubeadm config, certSANs): `localhost` holds wherever the port appears.
TLS_NAME = "localhost"
NODE_PORT = 6443  # inside kind's network, whatever port is published

Needs = Literal["", "join"]


@dataclass(frozen=True)
class Route:
    """One way: the address, the name that its certificate must carry ("": the address's host), what it needs first."""

    name: str
    server: str
    tls_server_name: str = ""
    needs: Needs = ""


def candidates(
    cluster: str, declared: str, zone: Zone, *, network: str = "kind", existing: tuple[str, str] | None = None
) -> tuple[Route, ...]:
    """The routes to try, best first, none twice.

    `declared` is the server as kind writes it for the engine's host, `existing` the server and TLS name that the user's
    kubeconfig has now: a way that works is left as it is. Ways that change something (`needs`) come last.
    """
    found: dict[tuple[str, str], Route] = {}
    for route in _all(cluster, declared, zone, network, existing):
        found.setdefault((route.server, route.tls_server_name), route)
    return tuple(found.values())


def _all(cluster: str, declared: str, zone: Zone, network: str, existing: tuple[str, str] | None) -> Iterator[Route]:
    nodes = [f"https://{cluster}-{role}:{NODE_PORT}" for role in ("external-load-balancer", "control-plane")]
    on_network = zone.kind == "container" and network in zone.networks
    needs: Needs = "" if on_network else "join"
    # An entry with a node's name works only while we are on that network: without it, it is worth a look-up, not more.
    if existing and existing[0]:
        yield Route(
            "existing entry", existing[0], existing[1], needs if existing[0] in nodes and zone.container_id else ""
        )
    yield Route("declared", declared)
    port = urlsplit(declared).port or 443
    if zone.engine_host:
        yield Route("engine's machine", address(zone.engine_host, port), TLS_NAME)
    if zone.kind == "host":
        return
    if on_network:
        yield from _node_routes(nodes, needs)
    for name in ("host.docker.internal", "kubernetes.docker.internal"):
        yield Route(name, address(name, port), TLS_NAME)
    if zone.gateway:
        yield Route("default gateway", address(zone.gateway, port), TLS_NAME)
    if zone.container_id and not on_network:
        yield from _node_routes(nodes, needs)


def _node_routes(nodes: list[str], needs: Needs) -> Iterator[Route]:
    for server in nodes:
        yield Route("node on kind's network", server, "", needs)


def address(host: str, port: int) -> str:
    """The https address of a host; an IPv6 address gets its brackets."""
    return f"https://[{host}]:{port}" if ":" in host else f"https://{host}:{port}"
