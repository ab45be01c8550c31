"""Connect: find the ways to a cluster from here, prove one, write that one. The same call repairs a stale entry.

kind's names are kept: context, cluster and user of the cluster NAME are all `kind-NAME`.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from threezone.clients.docker import containers, networks
from threezone.core import events, labels
from threezone.core.errors import ClusterError, CommandFailed, ThreezoneError, UsageError
from threezone.engine.find import Engine
from threezone.kubeconfig import document, store
from threezone.kubeconfig.credentials import Trust, material, trust
from threezone.kubeconfig.document import Entry
from threezone.zones import certificate
from threezone.zones import tunnel as tunnels
from threezone.zones.diagnostics import no_route
from threezone.zones.http_proxy import proxied
from threezone.zones.locate import JOINED_ALIAS, Zone, kind_network, locate
from threezone.zones.prove import Proof, Verdict, prove
from threezone.zones.routes import NODE_PORT, Route, address, candidates

# Where the container can still be joined to kind's network, nobody waits long for the ways that need no change.
_BEFORE_JOINING = 1.0
_BEFORE_TUNNEL = 2.0  # the engine may be far away, and an address of it is better than a tunnel
_AGAIN = 0.2  # seconds between two rounds


@dataclass(frozen=True)
class Current:
    """The user's entry for a cluster. `kubeconfig` is that entry alone as data, with absolute paths: it holds keys."""

    context: str
    server: str
    tls_server_name: str
    namespace: str
    file: str
    is_current: bool
    kubeconfig: Mapping[str, Any] = field(repr=False)

    @property
    def entry(self) -> Entry:
        """The entry with its cluster and user."""
        found = document.entry(document.Document(self.kubeconfig), self.context)
        if found is None:  # it was made from that context
            raise UsageError(f"there is no context {self.context!r} in this kubeconfig")
        return found


@dataclass(frozen=True)
class Connected:
    """A proved way. `written`: the user's kubeconfig changed; `joined`: this container joined kind's network for it."""

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


@dataclass(frozen=True)
class Probe:
    """What was found out about the ways to a cluster. `joinable` are candidates that need a change first."""

    zone: Zone
    verdict: Verdict
    joinable: tuple[Route, ...] = ()

    def data(self) -> dict[str, Any]:
        """The probe as JSON has it: zone, routes with their stages, the chosen one or null."""
        chosen = self.verdict.chosen
        return {
            "zone": self.zone.kind,
            "routes": [proof.data() for proof in (*self.verdict.proofs, *map(_untried, self.joinable))],
            "chosen": {"server": chosen.route.server, "tlsServerName": chosen.route.tls_server_name or None}
            if chosen
            else None,
        }


def _untried(route: Route) -> Proof:
    change = "this container on kind's network" if route.needs == "join" else "a tunnel through the engine"
    return Proof(route, (), 0.0, f"not tried: needs {change} (kubeconfig.connect does that)")


def current(name: str) -> Current | None:
    """The user's entry for the kind cluster `name`, or None. Reads files only. Raises UsageError for a broken one."""
    return find(f"kind-{name}")


def find(context: str) -> Current | None:
    """The user's entry of any name, or None. Reads files only. Raises UsageError for a broken one."""
    view = store.read()
    entry = document.entry(view.document, context)
    if entry is None or not entry.server:
        return None
    alone = document.extract(
        view.document,
        context,
        view.directory("clusters", entry.cluster_name),
        view.directory("users", entry.user_name),
    )
    return Current(
        context=context,
        server=entry.server,
        tls_server_name=entry.tls_server_name,
        namespace=entry.namespace,
        file=view.origins.get(("contexts", context), view.target),
        is_current=document.current_context(view.document) == context,
        kubeconfig=alone.data,
    )


def describe(entry: Current) -> dict[str, Any]:
    """The entry without secrets, as JSON has it: where it leads, whom it trusts (a fingerprint), how it logs in."""
    user = entry.entry.user
    kinds = ("client-certificate-data", "client-certificate", "token", "tokenFile", "exec", "auth-provider", "username")
    return {
        "context": entry.context,
        "current": entry.is_current,
        "file": entry.file,
        "server": entry.server,
        "tlsServerName": entry.tls_server_name or None,
        "namespace": entry.namespace or None,
        "caSha256": certificate.fingerprint(
            material(entry.entry.cluster, "certificate-authority", Path(), entry.context)
        ),
        "credential": next((kind.removesuffix("-data") for kind in kinds if user.get(kind)), None),
    }


def probe(
    name: str,
    kubeconfig: str | None,
    *,
    engine: Engine | None = None,
    zone: Zone | None = None,
    by_hand: tuple[str, str] | None = None,
) -> Probe:
    """Try every way that needs no change; nothing is written. `engine`, `zone` and `by_hand` are as in `connect`.

    `kubeconfig` is what `kind get kubeconfig` prints; without it (no engine here) the user's own entry has to serve.
    Raises UsageError when there is neither.
    """
    source = _source(name, kubeconfig)
    zone = zone or locate(engine)
    routes = _routes(name, source, zone, by_hand=by_hand, tunnel=_carries(engine, zone))
    ready = tuple(route for route in routes if not route.needs)
    return Probe(zone, prove(ready, trust(source.entry)), tuple(route for route in routes if route.needs))


def connect(
    name: str,
    kubeconfig: str | None,
    *,
    engine: Engine | None = None,
    zone: Zone | None = None,
    patience: float = 0.0,
    by_hand: tuple[str, str] | None = None,
) -> Connected:
    """Prove a way to the kind cluster `name` and make it the entry `kind-NAME` of the user's kubeconfig.

    `kubeconfig` is the text that `kind get kubeconfig` prints (it holds the client's key: it is never shown); without
    it the user's own entry gives CA and credentials, and only its way is changed. `engine` is the engine as observed
    and `zone` what `locate` found, where that was asked already. `by_hand` (a server, a TLS name or "") is tried alone.
    Our own container is joined to kind's network, or a tunnel opened, only when nothing else leads there. A server that
    is just starting gets `patience` seconds. A context that is new becomes the current one, as kind does. An equal
    entry is not written again.
    Raises RouteError when no way is proved, UsageError when the user's kubeconfig cannot be read or written.
    """
    began = time.monotonic()
    source = _source(name, kubeconfig)
    zone = zone or locate(engine)
    routes = _routes(name, source, zone, by_hand=by_hand, tunnel=_carries(engine, zone))
    found = _choose(name, routes, trust(source.entry), zone, engine, patience=patience)
    if found.verdict.chosen is None:
        raise no_route(name, zone, found.verdict)
    route = found.verdict.chosen.route
    written = store.update(lambda before: source.written(before, route))
    _forget_tunnel(name, route)
    if sentence := proxied(route.server, os.environ):
        events.note(sentence)
    seconds = time.monotonic() - began
    context = source.entry.context
    return Connected(context, route.server, route.tls_server_name, zone, found.verdict, found.joined, written, seconds)


def disconnect(name: str, *, zone: Zone | None = None) -> bool:
    """Remove the entry `kind-NAME` and what was made for it: its tunnel, our attachment to kind's network.

    What other contexts refer to stays. The context that was current before becomes it again. The network is left only
    where we joined it and no other cluster of ours is left. False: there was nothing to do.
    """
    removed = store.update(lambda before: document.disown(before, f"kind-{name}"))
    closed = tunnels.close(name)
    return leave(name, zone or locate()) or removed or closed


@dataclass(frozen=True)
class _Source:
    """Whose CA and credentials prove a way: kind's `fresh` kubeconfig, or the user's own entry when that is None."""

    entry: Entry
    declared: str
    fresh: document.Document | None

    def written(self, before: document.Document, route: Route) -> document.Document:
        """The user's document with this way in it. Of an entry that is the user's own, nothing else is changed."""
        after = before if self.fresh is None else document.adopt(before, self.fresh, self.entry.context)
        return document.with_route(after, self.entry.cluster_name, route.server, route.tls_server_name)


def _source(name: str, kubeconfig: str | None) -> _Source:
    if kubeconfig is None:
        return _own(name)
    fresh = document.parse(kubeconfig.encode(), f"kind's kubeconfig of the cluster {name}")
    entry = document.entry(fresh, f"kind-{name}")
    if entry is None or not entry.server:
        raise ClusterError(f"kind's kubeconfig has no context kind-{name}", fix=f"kind export kubeconfig --name {name}")
    return _Source(entry, entry.server, fresh)


def _own(name: str) -> _Source:
    known = current(name)
    if known is None:
        raise UsageError(
            f"nothing here knows the cluster {name}: no engine answers, and your kubeconfig has no entry kind-{name}",
            fix=f"where the engine is: ./run invoke kubeconfig.export --for ci --name {name}",
        )
    # Where kind published the port on its own host: worth a try, and as good a guess in every other zone.
    try:
        port = urlsplit(known.server).port or NODE_PORT
    except ValueError:
        port = NODE_PORT
    return _Source(known.entry, address("127.0.0.1", port), None)


def _routes(
    name: str, source: _Source, zone: Zone, *, by_hand: tuple[str, str] | None = None, tunnel: bool = False
) -> tuple[Route, ...]:
    entry = document.entry(store.read().document, source.entry.context)
    existing = (entry.server, entry.tls_server_name) if entry else None
    found = candidates(
        name, source.declared, zone, network=kind_network(), existing=existing, by_hand=by_hand, tunnel=tunnel
    )
    if by_hand is None:
        return found
    # Who names an address wants that one or an error, not another that happens to work.
    server, name = by_hand
    return tuple(route for route in found if route.server == server and (not name or route.tls_server_name == name))


def _carries(engine: Engine | None, zone: Zone) -> bool:
    """Whether a tunnel through the engine may be of use: not where its published ports are our own."""
    return engine is not None and engine.state == "ok" and (zone.kind == "container" or zone.engine == "remote")


@dataclass(frozen=True)
class _Found:
    """The verdict over everything that was tried, and whether our container joined kind's network for it."""

    verdict: Verdict
    joined: bool = False

    def after(self, before: Verdict) -> _Found:
        """The same with what was tried before it."""
        proofs = (*before.proofs, *self.verdict.proofs)
        return _Found(Verdict(self.verdict.chosen, proofs, before.seconds + self.verdict.seconds), self.joined)


def _choose(
    name: str, routes: tuple[Route, ...], credentials: Trust, zone: Zone, engine: Engine | None, *, patience: float
) -> _Found:
    """Try the ways that change nothing; then join kind's network; where that cannot be, open a tunnel."""
    ready, join, through = (tuple(route for route in routes if route.needs == need) for need in ("", "join", "tunnel"))
    if not (join or through):
        return _Found(_prove_patiently(ready, credentials, patience))
    verdict = prove(ready, credentials, deadline=_BEFORE_JOINING if join else _BEFORE_TUNNEL)
    if verdict.chosen is not None:
        return _Found(verdict)
    if join:
        refused = _attach(zone.container_id)
        if not refused:
            second = _prove_patiently(join, credentials, patience)
            if second.chosen is None:
                _detach(zone.container_id)
            return _Found(second, second.chosen is not None).after(verdict)
        untried = tuple(Proof(route, (), 0.0, f"joining failed: {refused}") for route in join)
        verdict = Verdict(None, (*verdict.proofs, *untried), verdict.seconds)
    if not through or engine is None:
        return _Found(verdict)
    return _Found(_through_tunnel(name, through[0], credentials, engine, patience)).after(verdict)


def _attach(container_id: str) -> str:
    """Join our own container to kind's network, marked as ours; the engine's words when it refuses."""
    events.note(f"no way leads out of this container; joining it to the network {kind_network()}")
    try:
        networks.connect(container_id, kind_network(), JOINED_ALIAS)
    except CommandFailed as error:
        return error.tail or error.message
    return ""


def _through_tunnel(name: str, route: Route, credentials: Trust, engine: Engine, patience: float) -> Verdict:
    """Open the tunnel (it may listen on another port than the wanted one) and prove it; without a proof, close it."""
    events.note(
        f"no way leads to the cluster {name} directly; opening a tunnel through the engine at {engine.endpoint}"
    )
    try:
        opened = tunnels.open_tunnel(name, engine, port=urlsplit(route.server).port or NODE_PORT)
    except ThreezoneError as error:
        words = f"no tunnel: {error.message}" + (f" ({error.evidence.splitlines()[-1]})" if error.evidence else "")
        return Verdict(None, (Proof(route, (), 0.0, words),), 0.0)
    verdict = _prove_patiently((replace(route, server=address("127.0.0.1", opened.port)),), credentials, patience)
    if verdict.chosen is None:
        tunnels.close(name)
    return verdict


def _forget_tunnel(name: str, route: Route) -> None:
    """Close a tunnel that the entry no longer leads through."""
    opened = tunnels.find(name)
    if opened is not None and route.server != address("127.0.0.1", opened.port):
        tunnels.close(name)


def _prove_patiently(routes: tuple[Route, ...], credentials: Trust, patience: float) -> Verdict:
    """`prove`, and again until a way is proved or `patience` seconds are over: nothing announces a listening server."""
    end = time.monotonic() + patience
    while (verdict := prove(routes, credentials)).chosen is None and time.monotonic() < end:
        time.sleep(_AGAIN)
    return verdict


def leave(name: str, zone: Zone) -> bool:
    """Leave kind's network, where we joined it for the cluster `name` and none of ours needs it; else False."""
    if not zone.joined:
        return False
    # Another cluster of ours may be reached through the attachment; somebody else's does not count on it.
    owners = containers.ls(f"label={labels.OWNER}", fields=(containers.label(labels.OWNER),))
    if {owner for (owner,) in owners} - {name}:
        return False
    _detach(zone.container_id)
    return True


def _detach(container_id: str) -> None:
    networks.disconnect(container_id, kind_network())
