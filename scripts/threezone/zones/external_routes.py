"""Routes to a cluster that is not ours: Docker Desktop's, a managed one, one created by hand.

The user's own entry has the CA and login, but its address may be for another zone. Docker Desktop's entry has
`https://kubernetes.docker.internal:6443`. That name is in the hosts file of the machine, and not in containers.
"""

from __future__ import annotations

from threezone.core.errors import RouteError
from threezone.kubeconfig.credentials import trust
from threezone.zones.diagnostics import explain
from threezone.zones.kubeconfig_entry import UserEntry
from threezone.zones.locate import Zone
from threezone.zones.probe import Probe
from threezone.zones.proof import Verdict
from threezone.zones.prove import prove
from threezone.zones.routes import TLS_NAME, Route, address, host_of, is_loopback, port_of, unique

# kubeadm puts this name into every API server's certificate (cmd/kubeadm/app/util/pkiutil, GetAPIServerAltNames);
# those of minikube and Docker Desktop have it too.
CERTIFIED_NAME = "kubernetes"
MACHINE = ("kubernetes.docker.internal", "host.docker.internal", "gateway.docker.internal", "vm.docker.internal")


def candidates(entry: UserEntry, zone: Zone) -> tuple[Route, ...]:
    """Return the routes to try, best first: the entry as it is, then the same port of this machine. Pure.

    Another machine's address (a managed cluster's) is the same from everywhere: it has no other route.
    """
    routes = [Route("existing entry", entry.server, entry.tls_server_name)]
    host, port = host_of(entry.server), port_of(entry.server)
    if host not in MACHINE and not is_loopback(host):
        return tuple(routes)
    hosts = ["127.0.0.1"]
    if zone.kind == "container":
        hosts = ["host.docker.internal", "kubernetes.docker.internal", zone.gateway, zone.gateway6]
    # The certificate has the name that the entry expects, but a loopback address is useless elsewhere.
    name = entry.tls_server_name or (CERTIFIED_NAME if is_loopback(host) else host)
    routes += [
        Route(other, address(other, port), tls_name)
        for other in filter(None, (zone.engine_host, *hosts))
        for tls_name in (name, CERTIFIED_NAME, TLS_NAME)
    ]
    return unique(routes)


def probe(entry: UserEntry, zone: Zone, by_hand: tuple[str, str] | None = None) -> Probe:
    """Try every route at once, or only the one given by hand (server, TLS name or ""). Nothing is written."""
    routes = (Route("given by hand", *by_hand),) if by_hand else candidates(entry, zone)
    verdict = prove(routes, trust(entry.entry))
    if verdict.chosen is None:  # a credential plugin is never run, so its cluster can be proved up to the login only
        plugin = next((proof for proof in verdict.proofs if proof.stages and proof.stages[-1].cause == "plugin"), None)
        verdict = Verdict(plugin, verdict.proofs, verdict.seconds)
    return Probe(zone, verdict)


def no_route(entry: UserEntry, probe: Probe) -> RouteError:
    """Return the error for an entry without a proved route: every route, why it failed, and what to do."""
    in_container = probe.zone.kind == "container"
    where = "on the machine where it works" if in_container else "on a machine that reaches its cluster"
    fix = f"kubectl --context {entry.context} cluster-info, {where}"
    if host_of(entry.server) in MACHINE:
        fix = (
            "start this container with --add-host=host.docker.internal:host-gateway, or check that Docker Desktop runs "
            "with Kubernetes switched on"
            if in_container
            else "start Docker Desktop with Kubernetes switched on (Settings, Kubernetes)"
        )
    return RouteError(
        f"no verified route leads from this {probe.zone.kind} to the API server of the context {entry.context}",
        evidence=f"{probe.verdict.evidence}\n{explain(probe.verdict, probe.zone)}",
        fix=fix,
    )
