"""The places that a kubeconfig can be exported for, and the routes from there to the cluster. Pure."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, replace
from typing import Literal

from threezone.clients.kind import BALANCER
from threezone.zones.locate import EngineKind
from threezone.zones.routes import NODE_PORT, TLS_NAME, Route, address, host_of, port_of

Target = Literal["host", "container", "ci", "network"]
TARGETS: tuple[Target, ...] = ("host", "container", "ci", "network")
# The places of a file for any place, in the order in which they are tried; a job's container is a container.
ANY: tuple[Target, ...] = ("host", "network", "container")

_HOST_NAME = "host.docker.internal"


@dataclass(frozen=True)
class Site:
    """A cluster's server as kind declares it, its engine, its network, and the gateway of the default bridge."""

    name: str
    declared: str
    engine: EngineKind = "unknown"
    network: str = "kind"
    gateway: str = ""
    balanced: bool = False

    @property
    def published(self) -> Literal["loopback", "everywhere", "address"]:
        """Where the engine's host listens for the API: on its own 127.0.0.1, on all addresses, or on one of them."""
        host = host_of(self.declared)
        try:
            ip = ipaddress.ip_address(host)
        except ValueError:
            return "loopback" if host == "localhost" else "address"
        return "loopback" if ip.is_loopback else "everywhere" if ip.is_unspecified else "address"

    @property
    def by_host_name(self) -> Route:
        """The published port on host.docker.internal."""
        return Route(_HOST_NAME, address(_HOST_NAME, port_of(self.declared)), TLS_NAME)


@dataclass(frozen=True)
class Offer:
    """The routes for one place, best first, and where they work or fail.

    They are proved in a container on `network`, with the name host.docker.internal if `mapped`. `obstacle` is a
    possible reason for a failure, `fix` the remedy.
    """

    target: Target
    routes: tuple[Route, ...]
    network: str
    works: str
    fails: str
    mapped: bool = False
    obstacle: str = ""
    fix: str = ""


def offer(target: Target, site: Site, by_hand: str = "") -> Offer:
    """Return the routes for a place. `by_hand` is a server that the user names instead."""
    offers = {"host": _host, "container": _container, "ci": _ci, "network": _network}
    standard = offers[target](site)
    if not by_hand:
        return standard
    routes = tuple(Route("given by hand", by_hand, name) for name in ("", TLS_NAME))
    works = f"wherever {by_hand} leads to the cluster"
    return replace(standard, routes=routes, works=works, fails="elsewhere", obstacle="", fix="")


def _place(server: str) -> str:
    """The server's host and port as they are written."""
    return server.partition("://")[2].partition("/")[0]


def _host(site: Site) -> Offer:
    return Offer(
        "host",
        (Route("declared", site.declared),),
        network="host",
        works=f"on the engine's host, where kind publishes the API on {_place(site.declared)}",
        fails="in containers, which have a 127.0.0.1 of their own"
        if site.published == "loopback"
        else "beyond that machine",
    )


def _container(site: Site) -> Offer:
    obstacle, fix = _obstacle(site)
    return Offer(
        "container",
        (site.by_host_name,),
        network="bridge",
        works=f"in containers that know {_HOST_NAME}: all of Docker Desktop's; on a Linux engine those started with "
        f"--add-host={_HOST_NAME}:host-gateway",
        fails="on a Linux host itself, and in containers without that name",
        mapped=True,
        obstacle=obstacle,
        fix=fix,
    )


def _ci(site: Site) -> Offer:
    route = site.by_host_name
    if site.published == "address":
        route = Route("published address", site.declared)
    elif site.gateway and site.engine != "desktop":
        route = Route("default bridge's gateway", address(site.gateway, port_of(site.declared)), TLS_NAME)
    no_name = "" if route == site.by_host_name else ", without name resolution"
    obstacle, fix = _obstacle(site)
    return Offer(
        "ci",
        (route,),
        network="bridge",
        works=f"in job containers of this engine that reach {host_of(route.server)}{no_name}",
        fails="on runners of another machine, and where the engine lets no container reach its host",
        obstacle=obstacle,
        fix=fix,
    )


def _network(site: Site) -> Offer:
    role = BALANCER if site.balanced else "control-plane"
    return Offer(
        "network",
        (Route("node on kind's network", f"https://{site.name}-{role}:{NODE_PORT}"),),
        network=site.network,
        works=f"in containers on the network {site.network} of this engine (docker run --network {site.network})",
        fails="on the host and in containers on other networks: only that network knows the node's name",
    )


def _obstacle(site: Site) -> tuple[str, str]:
    """Return why containers cannot reach the port on the host, and the fix; "" if they can."""
    if site.published != "loopback" or site.engine == "desktop":
        return "", ""
    network = f"put the container on the network {site.network} and use ./run invoke kubeconfig.export --for network"
    publish = "set threezone.cluster.api: gateway in invoke.yaml and create the cluster again: ./run invoke down, up"
    why = (
        f"kind publishes the API on {_place(site.declared)} of the engine's host only, "
        "which containers of a Linux engine cannot reach"
    )
    return why, network if site.engine == "rootless" else f"{publish}; or {network}"
