"""Explain why no route leads to the API server: a paragraph for each failure, with the boundary between zones.

Pure. The paragraphs quote the messages of kubectl (client-go, Go's net and crypto/tls) and curl exactly, so that a
search for such a message finds the paragraph.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Sequence

from threezone.core import labels
from threezone.core.errors import RouteError
from threezone.zones.locate import Zone
from threezone.zones.proof import Proof, Stage, Verdict
from threezone.zones.routes import host_of, is_loopback

WIDTH = 100
# In one paragraph; the list of routes above it is complete.
_SHOWN = 2  # addresses
_WHY = 120  # characters of a server's message

_CI = {"gitlab": "GitLab", "github": "GitHub"}
_QUOTED = re.compile(r'"[^"]*"[.,:]?')

_TEXTS = {
    "dns address": """
        this is not an https address, so nothing was tried: a server can be verified with TLS only. Correct `server`
        in the entry, or --server.""",
    "dns silent": """
        "dial tcp: lookup {host}: i/o timeout". The resolver of this {here} does not answer (zone 1 → 2). See
        /etc/resolv.conf; use an address instead of the name until it answers.""",
    "dns desktop": """
        {unresolved} Only Docker Desktop knows that name, not the resolver of this {here} (zone 1 → 2). The cluster may
        be healthy. {remedy}""",
    "dns node": """
        {unresolved} A node's name is known on kind's network only, and this {here} is not on it (past zone 2, straight
        into zone 3). In a container with the engine's socket ./run invoke kubeconfig.connect joins it.""",
    "dns other": """
        {unresolved} The resolver of this {here} does not know the name (zone 1 → 2): check its spelling, or give an
        address.""",
    "tcp trap": """
        {refused} The localhost trap (zone 1 → 2): in a container 127.0.0.1 is the container itself; kind publishes the
        port on its host's. {remedy}""",
    "tcp remote": """
        {refused} The engine runs on {machine} and publishes the port there, not here (zone 1 → 2). A tunnel leads to
        it: ./run invoke kubeconfig.connect opens one.""",
    "tcp loopback": """
        {refused} On the host this is the port that kind publishes, and nothing listens behind it (zone 2 → 3): the
        cluster is stopped, gone, or has another port. docker ps --all --filter label={label}""",
    "tcp published": """
        {refused} The engine's host answers, but does not listen there (zone 1 → 2): a native Linux engine publishes
        on 127.0.0.1 only. Join kind's network (kubeconfig.connect), or set threezone.cluster.api: gateway.""",
    "tcp refused": """
        {refused} That machine answers, but nothing listens on the port (zone 2 → 3): the cluster is stopped, has
        another port, or is published on that machine's 127.0.0.1, where only a tunnel leads.""",
    "tcp node": """
        {refused} The node is reached past zone 2, but its API server does not listen (zone 3): it is starting, or it
        crashed. ./run invoke cluster.status, or docker logs {host}""",
    "tcp silent": """
        "Unable to connect to the server: dial tcp {address}: i/o timeout". The packets are lost (zone 1 → 2): a
        firewall such as ufw or firewalld drops them, or that address does not exist. Allow the port for the bridge, or
        use another route.""",
    "tcp unreachable": """
        "Unable to connect to the server: dial tcp {address}: connect: {why}". No network of this {here} leads there
        (zone 1 → 2): the address is outdated, or the networks are separate.""",
    "tls authority": """
        "tls: failed to verify certificate: x509: certificate signed by unknown authority". A server answers, but not
        with this cluster's CA (zone 2 → 3): the cluster was created again, or another one has the port. ./run invoke
        kubeconfig.connect takes the valid CA; never switch verification off.""",
    "tls name": """
        "x509: certificate is valid for kind-control-plane, kubernetes, localhost, …, not {name}". The cluster's own
        server answers; only the name is not in its certificate (zone 2 → 3). `tls-server-name: localhost` in the entry
        fixes it; ./run invoke kubeconfig.connect writes it.""",
    "tls date": """
        "x509: certificate has expired or is not yet valid". The cluster's server answers (zone 2 → 3). Compare `date`
        here and in the node: an engine falls behind while a laptop sleeps. kind's certificates last a year.""",
    "tls plain-http": """
        "http: server gave HTTP response to HTTPS client". Another program has this port of the engine's host (zone 2 →
        3): see which container or program publishes it.""",
    "tls other": """
        "net/http: TLS handshake timeout" or "EOF". The port accepts, but does not speak TLS (zone 2 → 3): the engine
        forwards it to no API server, or a proxy is in between. Does the node run? docker ps --all --filter
        label={label}""",
    "answer unauthorized": """
        "error: You must be logged in to the server (Unauthorized)", HTTP 401. All boundaries are crossed: zone 3
        answers, but does not know these credentials. The cluster was created again, or the token expired: ./run invoke
        kubeconfig.connect writes valid ones.""",
    "answer forbidden": """
        "Error from server (Forbidden)" ({why}). All boundaries are crossed: zone 3 answers, but to "system:anonymous"
        or a user without rights. ./run invoke kubeconfig.connect writes kind's own credentials.""",
    "answer plugin": """
        {why}. All boundaries are crossed: zone 3 answers and is ready. `kubectl auth whoami` shows whether it knows
        the plugin's user.""",
    "answer not-an-api": """
        {why}. A server with a certificate of the right CA answers, but it is no API server (zone 3): the path in
        `server` is wrong, or the port belongs to another part of the cluster.""",
    "answer closed": """
        "Unable to connect to the server: EOF". The API server closed the connection (zone 3): it starts, stops, or
        lacks memory. Try again, then: ./run invoke cluster.status""",
    "answer silent": """
        "net/http: request canceled (Client.Timeout exceeded while awaiting headers)". The API server was reached, but
        did not answer in time (zone 3): it is overloaded, or etcd does not answer it. ./run invoke cluster.status""",
    "answer other": """
        "Error from server" ({why}). All boundaries are crossed: the API server itself is not ready (zone 3). It is
        starting, or a part of it fails: wait, or ./run invoke cluster.status""",
}


def explain(verdict: Verdict, zone: Zone) -> str:
    """Return a paragraph for each distinct failure, in the order of the routes.

    It says what was tried, what happened, at which boundary between the zones, and what to do. Cancelled and untried
    routes are not explained. Lines have at most 100 columns, except where one word is longer.
    """
    groups: dict[str, list[tuple[Proof, Stage]]] = {}
    for proof in verdict.proofs:
        failed = next((stage for stage in proof.stages if not stage.ok), None)
        if failed is not None:
            groups.setdefault(_case(proof, failed, zone), []).append((proof, failed))
    return "\n\n".join(_paragraph(case, group, zone) for case, group in groups.items())


def no_route(name: str, zone: Zone, verdict: Verdict) -> RouteError:
    """Return the error for a cluster without a proved route: every route, why it failed, and what to do."""
    parts = (verdict.evidence, explain(verdict, zone), *zone.evidence)
    return RouteError(
        f"no verified route leads from this {zone.kind} to the API server of the cluster {name}",
        evidence="\n".join(part for part in parts if part),
        fix=_fix(name, zone, verdict),
    )


def _fix(name: str, zone: Zone, verdict: Verdict) -> str:
    if any(stage.name == "tls" and stage.ok for proof in verdict.proofs for stage in proof.stages):
        return f"./run invoke cluster.status --name {name}"
    if zone.kind == "container" and not zone.container_id:
        return (
            f"./run invoke kubeconfig.export --for {_export(zone)} --name {name} on the host, and that file here; or "
            f"mount the engine's socket into this {_here(zone)}"
        )
    return f"docker ps --all --filter label={labels.KIND_CLUSTER}={name}"


def _case(proof: Proof, stage: Stage, zone: Zone) -> str:
    """Return the key of the text for this failure: the stage, then its cause or the kind of address."""
    host = host_of(proof.route.server)
    detail: str = stage.cause
    if stage.name == "dns" and stage.cause == "unknown-name":
        detail = _host_kind(host)
    elif stage.name == "tcp" and stage.cause == "refused":
        detail = _refused(host, zone)
    name = "answer" if stage.name in ("readyz", "auth") else stage.name
    key = f"{name} {detail}"
    return key if key in _TEXTS else {"tcp": "tcp unreachable"}.get(name, f"{name} other")


def _host_kind(host: str) -> str:
    if host.endswith(".docker.internal"):
        return "desktop"
    return "node" if host.endswith(("-control-plane", "-external-load-balancer")) else "other"


def _refused(host: str, zone: Zone) -> str:
    if _host_kind(host) == "node":
        return "node"
    if not is_loopback(host):
        return "published" if zone.kind == "container" and zone.engine != "remote" else "refused"
    if zone.engine == "remote":
        return "remote"
    return "trap" if zone.kind == "container" else "loopback"


def _paragraph(case: str, group: Sequence[tuple[Proof, Stage]], zone: Zone) -> str:
    servers = list(dict.fromkeys(proof.route.server for proof, _ in group))
    tried = " and ".join(servers[:_SHOWN]) + (f" and {len(servers) - _SHOWN} more" if servers[_SHOWN:] else "")
    proof, stage = group[0]
    host = host_of(proof.route.server)
    address = proof.route.server.partition("://")[2].partition("/")[0]
    words = _TEXTS[case].format(
        host=host,
        address=address,
        refused=f'"The connection to the server {address} was refused - did you specify the right host or port?"',
        unresolved=f'"curl: (6) Could not resolve host: {host}", kubectl: "no such host".',
        name=proof.route.tls_server_name or host,
        why=textwrap.shorten(stage.why, _WHY, placeholder=" …"),
        here=_here(zone),
        machine="another machine" if is_loopback(zone.engine_host) else zone.engine_host or "another machine",
        label=labels.KIND_CLUSTER,
        remedy=_remedy(zone),
    )
    return _wrapped(f"{stage.name}: {tried}: {' '.join(words.split())}")


def _wrapped(text: str) -> str:
    """The text in lines of at most 100 columns; a message in quotes is not broken if it fits in one line."""
    whole = _QUOTED.sub(lambda quote: quote[0].replace(" ", "\0") if len(quote[0]) <= WIDTH else quote[0], text)
    return textwrap.fill(whole, WIDTH, break_long_words=False, break_on_hyphens=False).replace("\0", " ")


def _here(zone: Zone) -> str:
    if zone.kind == "container":
        return f"{_CI[zone.ci]} job's container" if zone.ci else "container"
    return "host"


def _export(zone: Zone) -> str:
    return "ci" if zone.ci else "container"


def _remedy(zone: Zone) -> str:
    """Return the fix: connect if the engine knows this container, else use a file exported for this place."""
    if zone.kind == "host" or zone.container_id:
        return "./run invoke kubeconfig.connect finds a working route and proves it."
    agent = " or a GitLab agent" if zone.ci == "gitlab" else ""
    return f"Use a file from `kubeconfig.export --for {_export(zone)}` on the host{agent}."
