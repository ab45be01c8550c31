"""Export: a kubeconfig for another zone. Pure: which way is offered there, why, where it works, and the file as data.

Minimal: one context, its cluster, its user, everything inline. For any zone: a cluster and a context for each zone
that was proved, and the context `kind-NAME`: the same cluster everywhere, pointed at one of the ways by a picker.
"""

from __future__ import annotations

import base64
import ipaddress
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

from threezone.clients.kind import BALANCER
from threezone.core.errors import UsageError
from threezone.kubeconfig import document
from threezone.kubeconfig.credentials import material
from threezone.kubeconfig.document import Document, Entry
from threezone.zones.locate import EngineKind
from threezone.zones.routes import NODE_PORT, TLS_NAME, Route, address

Target = Literal["host", "container", "ci", "network"]
TARGETS: tuple[Target, ...] = ("host", "container", "ci", "network")
# The zones of a file for any zone, in the order in which they are tried; a job's container is a container.
ANY: tuple[Target, ...] = ("host", "network", "container")

_HOST_NAME = "host.docker.internal"


@dataclass(frozen=True)
class Site:
    """Where a cluster stands: its server as kind declares it, its engine, its network, the default bridge's gateway."""

    name: str
    declared: str
    engine: EngineKind = "unknown"
    network: str = "kind"
    gateway: str = ""
    balanced: bool = False

    @property
    def port(self) -> int:
        """The published port."""
        return urlsplit(self.declared).port or NODE_PORT

    @property
    def published(self) -> Literal["loopback", "everywhere", "address"]:
        """Where the engine's host listens for the API: on its own 127.0.0.1, on all addresses, or on one of them."""
        host = urlsplit(self.declared).hostname or ""
        try:
            at = ipaddress.ip_address(host)
        except ValueError:
            return "loopback" if host == "localhost" else "address"
        return "loopback" if at.is_loopback else "everywhere" if at.is_unspecified else "address"


@dataclass(frozen=True)
class Offer:
    """The ways for one zone, best first, and what to say: where they work and where not.

    `network` is the container network in which they are proved, `mapped` says that host.docker.internal is given there.
    `trap` is why none may be proved, `cure` what to do then; both are empty where nothing is known to be in the way.
    """

    target: Target
    routes: tuple[Route, ...]
    network: str
    works: str
    fails: str
    mapped: bool = False
    trap: str = ""
    cure: str = ""


def offer(target: Target, site: Site, by_hand: str = "") -> Offer:
    """What is offered for a zone. `by_hand` is a server that the user names instead."""
    made = _OFFERS[target](site)
    if by_hand:
        routes = (Route("given by hand", by_hand), Route("given by hand", by_hand, TLS_NAME))
        return Offer(target, routes, made.network, f"wherever {by_hand} leads to the cluster", "elsewhere", made.mapped)
    return made


def _host(site: Site) -> Offer:
    return Offer(
        "host",
        (Route("declared", site.declared),),
        "host",
        f"on the engine's host, where kind publishes the API on {urlsplit(site.declared).netloc}",
        "in containers: their 127.0.0.1 is their own" if site.published == "loopback" else "beyond that machine",
    )


def _container(site: Site) -> Offer:
    return Offer(
        "container",
        (Route(_HOST_NAME, address(_HOST_NAME, site.port), TLS_NAME),),
        "bridge",
        f"in containers that know {_HOST_NAME}: all of Docker Desktop's; on a Linux engine those started with "
        f"--add-host={_HOST_NAME}:host-gateway",
        "on a Linux host itself, and in containers without that name",
        True,
        *_trap(site),
    )


def _ci(site: Site) -> Offer:
    if site.published == "address":
        routes: tuple[Route, ...] = (Route("published address", site.declared),)
    elif site.gateway and site.engine != "desktop":
        routes = (Route("default bridge's gateway", address(site.gateway, site.port), TLS_NAME),)
    else:
        routes = (Route(_HOST_NAME, address(_HOST_NAME, site.port), TLS_NAME),)
    host = urlsplit(routes[0].server).hostname
    name = "" if host == _HOST_NAME else "; no name has to be resolved for it"
    return Offer(
        "ci",
        routes,
        "bridge",
        f"in job containers of this engine that reach {host}{name}",
        "on runners of another machine, and where the engine lets no container reach its host",
        False,
        *_trap(site),
    )


def _network(site: Site) -> Offer:
    role = BALANCER if site.balanced else "control-plane"
    return Offer(
        "network",
        (Route("node on kind's network", f"https://{site.name}-{role}:{NODE_PORT}"),),
        site.network,
        f"in containers on the network {site.network} of this engine (docker run --network {site.network})",
        "on the host and in containers on other networks: only that network knows the node's name",
    )


_OFFERS = {"host": _host, "container": _container, "ci": _ci, "network": _network}


def _trap(site: Site) -> tuple[str, str]:
    """Why containers cannot come through the host, where that is so, and what to do about it."""
    if site.published != "loopback" or site.engine == "desktop":
        return "", ""
    network = f"put the container on the network {site.network} and use ./run invoke kubeconfig.export --for network"
    publish = "set threezone.cluster.api: gateway in invoke.yaml and make the cluster anew: ./run invoke down, then up"
    why = (
        f"kind publishes the API on {urlsplit(site.declared).netloc} of the engine's host only, "
        "and a Linux engine carries nothing from containers to there"
    )
    return why, network if site.engine == "rootless" else f"{publish}; or {network}"


def identity(entry: Entry) -> tuple[dict[str, Any], dict[str, Any]]:
    """What is trusted and who logs in, as inline cluster and user: the CA, and a client certificate or a token.

    Raises UsageError for what another zone cannot use: a credential plugin, a password, no CA.
    """
    authority = material(entry.cluster, "certificate-authority", Path(), entry.context)
    if not authority:
        raise UsageError(f"the context {entry.context} names no certificate authority: its server cannot be verified")
    cluster = {"certificate-authority-data": _inline(authority)}
    certificate = material(entry.user, "client-certificate", Path(), entry.context)
    key = material(entry.user, "client-key", Path(), entry.context)
    if certificate and key:
        return cluster, {"client-certificate-data": _inline(certificate), "client-key-data": _inline(key)}
    if entry.user.get("token"):
        return cluster, {"token": str(entry.user["token"])}
    raise UsageError(
        f"the context {entry.context} logs in by means that stay on this machine, so its user cannot be exported",
        fix="add --token: the file then carries a short-lived token",
    )


def _inline(pem: bytes) -> str:
    return base64.b64encode(pem).decode("ascii")


def file(name: str, cluster: Mapping[str, Any], user: Mapping[str, Any], route: Route, namespace: str = "") -> Document:
    """A kubeconfig with the one context `kind-NAME` that goes this way."""
    context = f"kind-{name}"
    made = document.put(Document(), "clusters", context, _cluster(cluster, route))
    made = document.put(made, "users", context, user)
    return _current(made, context, context, namespace)


def any_file(
    name: str,
    cluster: Mapping[str, Any],
    user: Mapping[str, Any],
    ways: Sequence[tuple[Target, Route]],
    namespace: str = "",
) -> Document:
    """A kubeconfig for several zones: cluster and context `kind-NAME@ZONE` for each, and `kind-NAME` for the first."""
    context = f"kind-{name}"
    made = document.put(Document(), "users", context, user)
    for target, route in ways:
        made = document.put(made, "clusters", f"{context}@{target}", _cluster(cluster, route))
        made = document.put(
            made, "contexts", f"{context}@{target}", _context(f"{context}@{target}", context, namespace)
        )
    return _current(made, context, f"{context}@{ways[0][0]}", namespace)


def _cluster(cluster: Mapping[str, Any], route: Route) -> dict[str, Any]:
    named = {"tls-server-name": route.tls_server_name} if route.tls_server_name else {}
    return {**cluster, "server": route.server, **named}


def _context(cluster: str, user: str, namespace: str = "") -> dict[str, str]:
    return {"cluster": cluster, "user": user, **({"namespace": namespace} if namespace else {})}


def _current(made: Document, context: str, cluster: str, namespace: str = "") -> Document:
    made = document.put(made, "contexts", context, _context(cluster, context, namespace))
    return document.with_current_context(made, context)
