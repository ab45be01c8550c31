"""Try every route to a kind cluster that needs no change. Nothing is written."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from threezone.core.errors import ClusterError
from threezone.engine.find import Engine
from threezone.kubeconfig import document, store
from threezone.kubeconfig.credentials import trust
from threezone.kubeconfig.document import Entry
from threezone.zones import kubeconfig_entry
from threezone.zones.locate import Zone, kind_network, locate
from threezone.zones.proof import Proof, Verdict
from threezone.zones.prove import prove
from threezone.zones.routes import Route, address, candidates, port_of


@dataclass(frozen=True)
class Probe:
    """The proofs of the routes to a cluster. `untried` routes need a change: a network to join, or a tunnel."""

    zone: Zone
    verdict: Verdict
    untried: tuple[Route, ...] = ()

    def data(self) -> dict[str, Any]:
        """The probe as JSON: zone, routes with their stages, the chosen one or null."""
        chosen = self.verdict.chosen.route if self.verdict.chosen else None
        return {
            "zone": self.zone.kind,
            "routes": [proof.data() for proof in (*self.verdict.proofs, *map(_untried, self.untried))],
            "chosen": {"server": chosen.server, "tlsServerName": chosen.tls_server_name or None} if chosen else None,
        }


def _untried(route: Route) -> Proof:
    change = "this container on kind's network" if route.needs == "join" else "a tunnel through the engine"
    return Proof(route, why=f"not tried: needs {change} (kubeconfig.connect does that)")


@dataclass(frozen=True)
class Source:
    """The entry whose CA and credentials prove a route: from kind's `fresh` kubeconfig, or the user's own (None).

    `declared` is the server as kind writes it for the engine's host.
    """

    entry: Entry
    declared: str
    fresh: document.Document | None

    def with_route(self, before: document.Document, route: Route) -> document.Document:
        """Return the user's document with this route. In the user's own entry, only the route changes."""
        after = before if self.fresh is None else document.adopt(before, self.fresh, self.entry.context)
        return document.with_route(after, self.entry.cluster_name, route.server, route.tls_server_name)


def source(name: str, kubeconfig: str | None) -> Source:
    """Return kind's entry from the text of its kubeconfig, or the user's own entry without it.

    Raises ClusterError if kind's text lacks the cluster, or the user has no entry for it.
    """
    context = f"kind-{name}"
    if kubeconfig is not None:
        fresh = document.parse(kubeconfig.encode(), f"kind's kubeconfig of the cluster {name}")
        entry = document.entry(fresh, context)
        if entry is None or not entry.server:
            raise ClusterError(
                f"kind's kubeconfig has no context {context}", fix=f"kind export kubeconfig --name {name}"
            )
        return Source(entry, entry.server, fresh)
    own = kubeconfig_entry.find(context)
    if own is None:
        raise ClusterError(
            f"the cluster {name} is unknown here: no engine answers, and your kubeconfig has no entry {context}",
            fix=f"where the engine is: ./run invoke kubeconfig.export --for ci --name {name}",
        )
    # The entry's port is the best guess for the port that kind published on the engine's host.
    return Source(own.entry, address("127.0.0.1", port_of(own.server)), None)


def routes(
    name: str, source: Source, zone: Zone, engine: Engine | None, by_hand: tuple[str, str] | None
) -> tuple[Route, ...]:
    """Return the routes to try, best first. An address given by hand is the only one tried."""
    entry = document.entry(store.read().document, source.entry.context)
    existing = (entry.server, entry.tls_server_name) if entry else None
    # A tunnel is useless if the engine publishes its ports on our 127.0.0.1.
    tunnel = engine is not None and engine.state == "ok" and (zone.kind == "container" or zone.engine == "remote")
    listed = candidates(
        name, source.declared, zone, network=kind_network(), existing=existing, by_hand=by_hand, tunnel=tunnel
    )
    if by_hand is None:
        return listed
    server, tls_name = by_hand
    return tuple(
        route for route in listed if route.server == server and (not tls_name or route.tls_server_name == tls_name)
    )


def probe(
    name: str,
    kubeconfig: str | None,
    *,
    engine: Engine | None = None,
    zone: Zone | None = None,
    by_hand: tuple[str, str] | None = None,
) -> Probe:
    """Try every route that needs no change. The arguments are those of `connect.connect`.

    Raises UsageError when there is neither kind's kubeconfig nor an entry of the user's.
    """
    origin = source(name, kubeconfig)
    zone = zone or locate(engine)
    listed = routes(name, origin, zone, engine, by_hand)
    verdict = prove([route for route in listed if not route.needs], trust(origin.entry))
    return Probe(zone, verdict, tuple(route for route in listed if route.needs))
