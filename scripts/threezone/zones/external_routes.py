"""Ways to a cluster that kind did not make for us: Docker Desktop's own, a managed one, one made by hand.

Whom to trust and how to log in is in the user's own entry; only its address may be of another zone. Docker Desktop's
entry says `https://kubernetes.docker.internal:6443`: a name that the hosts file of that machine has, and no container.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator
from urllib.parse import urlsplit

from threezone.core.errors import RouteError
from threezone.kubeconfig.credentials import trust
from threezone.zones.connect import Current, Probe
from threezone.zones.diagnostics import explain
from threezone.zones.locate import Zone
from threezone.zones.prove import Verdict, prove
from threezone.zones.routes import NODE_PORT, TLS_NAME, Route, address

# kubeadm and its kin put this name into every API server's certificate (kubeadm: cmd/kubeadm/app/util/pkiutil,
# GetAPIServerAltNames); those of minikube and of Docker Desktop carry it too.
EVERYWHERE = "kubernetes"
MACHINE = ("kubernetes.docker.internal", "host.docker.internal", "gateway.docker.internal", "vm.docker.internal")


def candidates(entry: Current, zone: Zone) -> tuple[Route, ...]:
    """The ways to try, best first, none twice: the entry as it stands, then the same port of this machine. Pure.

    An address that is not this machine's (a managed cluster's) is the same from everywhere: it has no other way.
    """
    found: dict[tuple[str, str], Route] = {}
    for route in _all(entry, zone):
        found.setdefault((route.server, route.tls_server_name), route)
    return tuple(found.values())


def _all(entry: Current, zone: Zone) -> Iterator[Route]:
    yield Route("existing entry", entry.server, entry.tls_server_name)
    try:
        parts = urlsplit(entry.server)
        host, port = parts.hostname or "", parts.port or NODE_PORT
    except ValueError:
        return
    if not _of_this_machine(host):
        return
    # The certificate's name stays what the entry expects of it; an address of loopback is no name for elsewhere.
    name = entry.tls_server_name or (EVERYWHERE if _is_address(host) or host == "localhost" else host)
    hosts = ["127.0.0.1"]
    if zone.kind == "container":
        hosts = ["host.docker.internal", "kubernetes.docker.internal", zone.gateway, zone.gateway6]
    for each in filter(None, (zone.engine_host, *hosts)):
        for tls in dict.fromkeys((name, EVERYWHERE, TLS_NAME)):
            yield Route(each, address(each, port), tls)


def _of_this_machine(host: str) -> bool:
    return host in MACHINE or host == "localhost" or (_is_address(host) and ipaddress.ip_address(host).is_loopback)


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def probe(entry: Current, zone: Zone, by_hand: tuple[str, str] | None = None) -> Probe:
    """Try every way at once, or only the one given by hand (server, TLS name or ""); nothing is written."""
    routes = (Route("given by hand", *by_hand),) if by_hand else candidates(entry, zone)
    verdict = prove(routes, trust(entry.entry))
    if verdict.chosen is None:  # a credential plugin is never run to look: its cluster answered up to the login
        plugin = next((p for p in verdict.proofs if p.stages and p.stages[-1].cause == "plugin"), None)
        verdict = Verdict(plugin, verdict.proofs, verdict.seconds) if plugin else verdict
    return Probe(zone, verdict)


def no_way(entry: Current, found: Probe) -> RouteError:
    """The error when nothing leads to the entry's cluster from here: every way, why not, and what to do."""
    where = "on the machine where it works" if found.zone.kind == "container" else "where its cluster is at home"
    fix = f"kubectl --context {entry.context} cluster-info, {where}"
    if _whose_name(entry.server) in MACHINE:
        fix = (
            "start this container with --add-host=host.docker.internal:host-gateway, or check that Docker Desktop runs "
            "with Kubernetes switched on"
            if found.zone.kind == "container"
            else "start Docker Desktop with Kubernetes switched on (Settings, Kubernetes)"
        )
    return RouteError(
        f"no verified way leads from this {found.zone.kind} to the API server of the context {entry.context}",
        evidence="\n".join((found.verdict.evidence, explain(found.verdict, found.zone))),
        fix=fix,
    )


def _whose_name(server: str) -> str:
    try:
        return urlsplit(server).hostname or ""
    except ValueError:
        return ""
