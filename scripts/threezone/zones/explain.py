"""Why no way leads to the API server: a paragraph for each thing that went wrong, with the boundary where it happened.

Pure: from a verdict to words. The messages of kubectl (client-go, Go's net and crypto/x509) and of curl stand in them as
those programs print them, so that a search for such a message finds the paragraph, and the paragraph the message.
"""

from __future__ import annotations

import ipaddress
import textwrap
from collections.abc import Sequence
from typing import Literal
from urllib.parse import urlsplit

from threezone import labels
from threezone.errors import RouteError
from threezone.zones.locate import Zone
from threezone.zones.prove import Proof, Stage, Verdict

WIDTH = 100
_SHOWN = 2  # addresses in one paragraph; the list of routes has them all

# What else depends on the address: our own loopback, Docker Desktop's names, a node's name, any other.
_Place = Literal["loopback", "desktop", "node", "other"]
_DESKTOP_NAMES = (".docker.internal",)
_NODE_NAMES = ("-control-plane", "-external-load-balancer")


def explain(verdict: Verdict, zone: Zone) -> str:
    """A paragraph for each distinct failure in the verdict, in the order of the routes, parted by empty lines.

    It says what was tried, what happened, which boundary between the zones that is, and what to do. What was cancelled
    or not tried is not explained. Every line has at most 100 columns.
    """
    groups: dict[tuple[str, str, str], list[tuple[Proof, Stage]]] = {}
    for proof in verdict.proofs:
        failed = next((stage for stage in proof.stages if not stage.ok), None)
        if failed is not None:
            groups.setdefault((failed.name, failed.cause, _place(proof)), []).append((proof, failed))
    return "\n\n".join(_paragraph(group, zone) for group in groups.values())


def no_route(name: str, zone: Zone, verdict: Verdict) -> RouteError:
    """The error for a verdict without a proved route to the cluster `name`: every route, why, and what to do."""
    parts = (verdict.evidence, explain(verdict, zone), *zone.evidence)
    return RouteError(
        f"no verified way leads from this {zone.kind} to the API server of the cluster {name}",
        evidence="\n".join(part for part in parts if part),
        fix=_fix(name, zone, verdict),
    )


def _fix(name: str, zone: Zone, verdict: Verdict) -> str:
    if any(stage.name == "tls" and stage.ok for proof in verdict.proofs for stage in proof.stages):
        return f"./run invoke cluster.status --name {name}"
    if zone.kind == "container" and not zone.container_id:
        place = "ci" if zone.ci else "container"
        return (
            f"./run invoke kubeconfig.export --for {place} --name {name} where the cluster was made, and use that file "
            "here; or mount the engine's socket into this container"
        )
    return f"docker ps --all --filter label={labels.KIND_CLUSTER}={name}"


def _host(proof: Proof) -> str:
    try:
        return urlsplit(proof.route.server).hostname or ""
    except ValueError:
        return ""


def _place(proof: Proof) -> _Place:
    host = _host(proof)
    if host == "localhost" or _is_loopback(host):
        return "loopback"
    if host.endswith(_DESKTOP_NAMES):
        return "desktop"
    return "node" if host.endswith(_NODE_NAMES) else "other"


def _is_loopback(host: str) -> bool:
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    return address.is_loopback or address.is_unspecified  # kind writes 0.0.0.0 when it publishes everywhere


def _paragraph(group: Sequence[tuple[Proof, Stage]], zone: Zone) -> str:
    servers = list(dict.fromkeys(proof.route.server for proof, _ in group))
    tried = " and ".join(servers[:_SHOWN]) + (f" and {len(servers) - _SHOWN} more" if servers[_SHOWN:] else "")
    proof, stage = group[0]
    text = f"{stage.name}: {tried}: {_said(proof, stage, zone)}"
    return textwrap.fill(text, WIDTH, break_long_words=False, break_on_hyphens=False)


def _said(proof: Proof, stage: Stage, zone: Zone) -> str:
    """What happened, which boundary that is, what to do."""
    match stage.name:
        case "dns":
            return _name(proof, stage, zone)
        case "tcp":
            return _connection(proof, stage, zone)
        case "tls":
            return _identity(proof, stage)
        case _:
            return _answer(stage)


def _name(proof: Proof, stage: Stage, zone: Zone) -> str:
    host = _host(proof)
    if stage.cause == "address":
        return "that is no https address. Nothing was tried: a route without verified TLS is none, see `server` in the entry."
    if stage.cause != "unknown-name":
        return (
            f'"dial tcp: lookup {host}: i/o timeout". The resolver of this {_here(zone)} does not answer (zone 1 → 2): see '
            "/etc/resolv.conf, and take an address instead of a name until it does."
        )
    said = f'"curl: (6) Could not resolve host: {host}", in kubectl "dial tcp: lookup {host}: no such host". '
    match _place(proof):
        case "desktop":
            return said + (
                f"Only Docker Desktop knows that name, the resolver of this {_here(zone)} does not (zone 1 → 2); the cluster "
                f"may be healthy. {_way_in(zone)}"
            )
        case "node":
            return said + (
                "Only containers on the cluster's own network know a node's name: the way past zone 2 straight into zone 3 is "
                "closed from here. With the engine's socket, ./run invoke kubeconfig.connect joins that network."
            )
        case _:
            return (
                said
                + f"The resolver of this {_here(zone)} does not know it (zone 1 → 2): check its spelling, or give the address."
            )


def _way_in(zone: Zone) -> str:
    if zone.kind == "host":
        return "Here the published port on 127.0.0.1 is the way: ./run invoke kubeconfig.connect."
    where = "ci" if zone.ci else "container"
    return (
        f"Use a kubeconfig made for this place (./run invoke kubeconfig.export --for {where}, on the host)"
        f"{', or a GitLab agent' if zone.ci == 'gitlab' else ''}."
    )


def _here(zone: Zone) -> str:
    return f"{zone.kind if not zone.ci else 'CI job'}"


def _connection(proof: Proof, stage: Stage, zone: Zone) -> str:
    at = proof.route.server.partition("://")[2].partition("/")[0]
    if stage.cause == "silent":
        return (
            f'"Unable to connect to the server: dial tcp {at}: i/o timeout". The packets vanish: a firewall drops them (ufw '
            "and firewalld do so with traffic from containers to their host, zone 1 → 2), or nobody has that address. "
            "Allow the port for the bridge, or take another way."
        )
    if stage.cause != "refused":
        return (
            f'"Unable to connect to the server: dial tcp {at}: connect: {stage.why}". No way leads from this {_here(zone)} to '
            "that address (zone 1 → 2): the networks are parted, or the address is an old one."
        )
    said = f'"The connection to the server {at} was refused - did you specify the right host or port?" '
    if _place(proof) == "loopback":
        return said + _loopback(zone)
    if zone.kind == "container":
        return said + (
            "The engine's host was found (zone 1 → 2), but does not listen there: a native Linux engine publishes on "
            "its own 127.0.0.1. Join kind's network (./run invoke kubeconfig.connect) or set threezone.cluster.api: gateway."
        )
    return said + (
        "The machine answers, but nobody listens on that port (zone 2 → 3): the cluster is stopped, has another port, or "
        "is published on that machine's own 127.0.0.1, which only a tunnel reaches."
    )


def _loopback(zone: Zone) -> str:
    if zone.kind == "container":
        return (
            f"That is the localhost trap (zone 1 → 2): 127.0.0.1 in a {'job’s ' if zone.ci else ''}container is the container, "
            "while kind publishes the port on its host. ./run invoke kubeconfig.connect looks for a way out and proves it."
        )
    if zone.engine == "remote":
        return (
            f"The engine runs on {zone.engine_host or 'another machine'} and publishes the port there, not here (zone 1 → 2). A "
            "tunnel leads to it: ./run invoke kubeconfig.connect."
        )
    return (
        "On the host that is the port which kind publishes, and nobody is behind it (zone 2 → 3): the cluster is stopped, "
        f"gone, or has another port. docker ps --all --filter label={labels.KIND_CLUSTER} shows it."
    )


def _identity(proof: Proof, stage: Stage) -> str:
    match stage.cause:
        case "authority":
            return (
                '"tls: failed to verify certificate: x509: certificate signed by unknown authority". A server answers, but its '
                "certificate is not of this cluster's CA (zone 2 → 3): the cluster was made anew, or another one has the "
                "port. ./run invoke kubeconfig.connect takes the new CA; never switch verification off."
            )
        case "name":
            name = proof.route.tls_server_name or _host(proof)
            return (
                f'"x509: certificate is valid for kind-control-plane, kubernetes, localhost, …, not {name}". The cluster\'s own '
                "server answers (zones 1 → 2 → 3 hold) under a name that is not in its certificate: the entry lacks "
                "`tls-server-name: localhost`. ./run invoke kubeconfig.connect writes it."
            )
        case "date":
            return (
                '"x509: certificate has expired or is not yet valid". The server answers (zone 2 → 3 holds): compare `date` here '
                "and in the node, a sleeping laptop's engine falls behind; kind's certificates last a year."
            )
        case "plain-http":
            return (
                '"http: server gave HTTP response to HTTPS client". Something else than the API server has this port on the '
                "engine's host (zone 2 → 3): see which container or program publishes it."
            )
        case _:
            return (
                '"net/http: TLS handshake timeout" or "EOF". The port accepts, yet no TLS comes (zone 2 → 3): Docker\'s forwarder '
                "is there and the API server behind it is not, or a proxy is in between. Is the node running?"
            )


def _answer(stage: Stage) -> str:
    match stage.cause:
        case "unauthorized":
            return (
                '"error: You must be logged in to the server (Unauthorized)", HTTP 401. Every boundary is behind us; the server '
                "does not know this user: the cluster was made anew or the token ran out. ./run invoke kubeconfig.connect "
                "takes new credentials from kind."
            )
        case "forbidden":
            return (
                f'"Error from server (Forbidden)", {stage.why}. Every boundary is behind us, but the server takes us for '
                "system:anonymous: the entry carries no credentials that it knows. ./run invoke kubeconfig.connect."
            )
        case "plugin":
            return (
                f"{stage.why}. Every boundary is behind us and the server is ready; whether this user may log in, `kubectl auth "
                "whoami` tells."
            )
        case "not-an-api":
            return (
                "a verified server answers, but not as a Kubernetes API server does (zone 3): does the path in `server` belong "
                "there, or is this the port of something else with the same CA?"
            )
        case "closed":
            return (
                '"Unable to connect to the server: EOF". The server ended the connection in the middle (zone 3): it is '
                "starting, stopping or being killed for want of memory. Try again; else see the logs of the node."
            )
        case "silent":
            return (
                '"net/http: request canceled (Client.Timeout exceeded while awaiting headers)". The server is reached and says '
                "nothing in time (zone 3): it is overloaded, or its etcd does not answer. See ./run invoke cluster.status."
            )
        case _:
            return (
                f'"Error from server", {stage.why}. Every boundary is behind us; the API server itself is not ready (zone 3): it '
                "is starting, or a part of it fails. ./run invoke cluster.status, or wait."
            )
