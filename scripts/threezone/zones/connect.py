"""Connect: prove a route to a kind cluster from here and write it into the user's kubeconfig; and disconnect.

The same call repairs a stale entry. kind's names are kept: context, cluster and user of NAME are all `kind-NAME`.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass, replace

from threezone.clients.docker import containers, networks
from threezone.core import labels
from threezone.core.errors import ClusterError, CommandFailed, RouteError, ThreezoneError
from threezone.core.events import note
from threezone.engine.find import Engine
from threezone.kubeconfig import document, store
from threezone.kubeconfig.credentials import Trust, trust
from threezone.zones import kubeconfig_entry
from threezone.zones import probe as probing
from threezone.zones import tunnel as tunnels
from threezone.zones.diagnostics import no_route
from threezone.zones.http_proxy import proxied
from threezone.zones.kind_cluster import KindCluster
from threezone.zones.locate import JOINED_ALIAS, Zone, kind_network, locate
from threezone.zones.proof import Proof, Verdict
from threezone.zones.prove import prove
from threezone.zones.routes import Route, address, port_of

# Seconds for the routes that change nothing, if another one can be opened: joining kind's network is quick, and the
# address of a remote engine is better than a tunnel.
_BEFORE_JOINING = 1.0
_BEFORE_TUNNEL = 2.0
_INTERVAL = 0.2  # seconds between two rounds


@dataclass(frozen=True)
class Connected:
    """A proved route. `written`: the user's kubeconfig changed; `joined`: this container joined kind's network."""

    context: str
    server: str
    tls_server_name: str
    zone: Zone
    verdict: Verdict
    joined: bool
    written: bool
    seconds: float

    @property
    def sentence(self) -> str:
        """The result for a person."""
        tls = f" (TLS name {self.tls_server_name})" if self.tls_server_name else ""
        entry = "written" if self.written else "unchanged"
        return f"{self.server}{tls} proved in {self.seconds:.2f} s; context {self.context} {entry}"


def connect(
    name: str,
    kubeconfig: str | None,
    *,
    engine: Engine | None = None,
    zone: Zone | None = None,
    patience: float = 0.0,
    by_hand: tuple[str, str] | None = None,
) -> Connected:
    """Prove a route to the kind cluster `name` and make it the entry `kind-NAME` of the user's kubeconfig.

    `kubeconfig` is the output of `kind get kubeconfig` (it holds a key: never log it); without it the user's own entry
    gives CA and credentials, and only its route is changed. `engine` and `zone` are what was observed already.
    `by_hand` (a server, a TLS name or "") is the only route tried. `patience` is in seconds, for a server that starts.
    This container joins kind's network, or a tunnel is opened, only when no other route works. A new context becomes
    the current one, as with kind. An equal entry is not written again.
    Raises RouteError when no route is proved, UsageError when the user's kubeconfig cannot be read or written.
    """
    began = time.monotonic()
    source = probing.source(name, kubeconfig)
    zone = zone or locate(engine)
    routes = probing.routes(name, source, zone, engine, by_hand)
    verdict, joined = _choose(name, routes, trust(source.entry), zone, engine, patience=patience)
    if verdict.chosen is None:
        raise no_route(name, zone, verdict)
    route = verdict.chosen.route
    written = store.update(lambda before: source.with_route(before, route))
    tunnel = tunnels.find(name)
    if tunnel is not None and route.server != address("127.0.0.1", tunnel.port):
        tunnels.close(name)
    if sentence := proxied(route.server, os.environ):
        note(sentence)
    context, seconds = source.entry.context, time.monotonic() - began
    return Connected(context, route.server, route.tls_server_name, zone, verdict, joined, written, seconds)


def connect_observed(cluster: KindCluster, *, by_hand: tuple[str, str] | None = None) -> Connected:
    """`connect` with observed facts. Without kind's kubeconfig, the user's own entry is used.

    Raises ClusterError for a cluster that is gone or stopped, RouteError when no route is proved.
    """
    has_kubeconfig = cluster.kubeconfig is not None
    if not has_kubeconfig:
        # A job's container has no engine, or another engine than the cluster; the user's entry may still work.
        if cluster.nodes and cluster.error is not None:
            raise cluster.error
        if kubeconfig_entry.find(f"kind-{cluster.name}") is None and cluster.engine.state != "missing":
            raise cluster.error or ClusterError(f"the cluster {cluster.name} is unknown here")
        note("no engine here has the cluster; your own entry's CA and login are used")
    try:
        return connect(
            cluster.name,
            cluster.kubeconfig,
            engine=cluster.engine,
            zone=cluster.zone,
            patience=cluster.patience,
            by_hand=by_hand,
        )
    except RouteError as error:
        cause = cluster.error  # the cluster is gone, or the engine is stopped
        if has_kubeconfig or cause is None or cluster.engine.state == "missing":
            raise
        evidence = f"{cause.evidence}\n{error.evidence}".strip()
        raise type(cause)(cause.message, evidence=evidence, fix=cause.fix) from None


def disconnect(name: str, *, zone: Zone | None = None) -> bool:
    """Remove the entry `kind-NAME` with its tunnel, and leave kind's network. Returns False if nothing changed.

    Other contexts keep their clusters and users. The context that was current before becomes current again.
    """
    removed = store.update(lambda before: document.disown(before, f"kind-{name}"))
    closed = tunnels.close(name)
    return leave(name, zone or locate()) or removed or closed


def leave(name: str, zone: Zone) -> bool:
    """Leave kind's network if we joined it and have no cluster but `name`. Returns whether it was left."""
    if not zone.joined:
        return False
    # Our other clusters may need it; clusters of others do not rely on it.
    owners = containers.ls(f"label={labels.OWNER}", fields=(containers.label(labels.OWNER),))
    if {owner for (owner,) in owners} - {name}:
        return False
    networks.disconnect(zone.container_id, kind_network())
    return True


def _choose(
    name: str, routes: tuple[Route, ...], credentials: Trust, zone: Zone, engine: Engine | None, *, patience: float
) -> tuple[Verdict, bool]:
    """Try the routes that change nothing; then join kind's network; if that fails, open a tunnel.

    Returns the verdict over all of them, and whether the network was joined.
    """
    ready, join, tunnel = ([route for route in routes if route.needs == needs] for needs in ("", "join", "tunnel"))
    if not (join or tunnel):
        return _prove_patiently(ready, credentials, patience), False
    verdict = prove(ready, credentials, deadline=_BEFORE_JOINING if join else _BEFORE_TUNNEL)
    if verdict.chosen is None and join:
        if not (refused := _join(zone.container_id)):
            verdict = verdict.then(_prove_patiently(join, credentials, patience))
            if verdict.chosen is None:
                networks.disconnect(zone.container_id, kind_network())
            return verdict, verdict.chosen is not None
        verdict = verdict.then(Verdict(None, tuple(Proof(route, why=f"joining failed: {refused}") for route in join)))
    if verdict.chosen is None and tunnel and engine is not None:
        verdict = verdict.then(_prove_tunnel(name, tunnel[0], credentials, engine, patience))
    return verdict, False


def _join(container_id: str) -> str:
    """Join our container to kind's network, marked as ours. Returns the engine's message if it refuses, else ""."""
    note(f"no route leads out of this container; joining it to the network {kind_network()}")
    try:
        networks.connect(container_id, kind_network(), JOINED_ALIAS)
    except CommandFailed as error:
        return error.tail or error.message
    return ""


def _prove_tunnel(name: str, route: Route, credentials: Trust, engine: Engine, patience: float) -> Verdict:
    """Open the tunnel and prove it; close it if that fails. Its port may differ from the route's."""
    note(f"no direct route leads to the cluster {name}; opening a tunnel through the engine at {engine.endpoint}")
    try:
        tunnel = tunnels.open_tunnel(name, engine, port=port_of(route.server))
    except ThreezoneError as error:
        cause = f" ({error.evidence.splitlines()[-1]})" if error.evidence else ""
        return Verdict(None, (Proof(route, why=f"no tunnel: {error.message}{cause}"),))
    verdict = _prove_patiently([replace(route, server=address("127.0.0.1", tunnel.port))], credentials, patience)
    if verdict.chosen is None:
        tunnels.close(name)
    return verdict


def _prove_patiently(routes: list[Route], credentials: Trust, patience: float) -> Verdict:
    """`prove` again for up to `patience` seconds: there is no event for a server that begins to listen."""
    end = time.monotonic() + patience
    while (verdict := prove(routes, credentials)).chosen is None and time.monotonic() < end:
        time.sleep(_INTERVAL)
    return verdict
