"""Connect: find the ways to a cluster from here, prove one, write that one. The same call repairs a stale entry.

kind's names are kept: context, cluster and user of the cluster NAME are all `kind-NAME`.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import ssl
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from threezone import events, labels, process
from threezone.engine.observe import Engine
from threezone.errors import ClusterError, CommandFailed, RouteError
from threezone.kubeconfig import document, store
from threezone.kubeconfig.document import Entry
from threezone.zones.locate import JOINED_ALIAS, Zone, kind_network, locate
from threezone.zones.prove import Proof, Verdict, prove
from threezone.zones.routes import Route, candidates
from threezone.zones.trust import Trust, trust

# Where the container can still be joined to kind's network, nobody waits long for the ways that need no change.
_BEFORE_JOINING = 1.0
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
    return Proof(route, (), 0.0, "not tried: needs this container on kind's network (kubeconfig.connect does that)")


def current(name: str) -> Current | None:
    """The user's entry for the kind cluster `name`, or None. Reads files only. Raises UsageError for a broken one."""
    context = f"kind-{name}"
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
    data = document.Document(entry.kubeconfig)
    seen = document.entry(data, entry.context)
    cluster, user = (seen.cluster, seen.user) if seen else ({}, {})
    kinds = ("client-certificate-data", "client-certificate", "token", "tokenFile", "exec", "auth-provider", "username")
    return {
        "context": entry.context,
        "current": entry.is_current,
        "file": entry.file,
        "server": entry.server,
        "tlsServerName": entry.tls_server_name or None,
        "namespace": entry.namespace or None,
        "caSha256": fingerprint(str(cluster.get("certificate-authority-data") or "")),
        "credential": next((kind.removesuffix("-data") for kind in kinds if user.get(kind)), None),
    }


def fingerprint(data: str) -> str | None:
    """The SHA-256 of the first certificate in base64 PEM data, as browsers and openssl show it; None without one."""
    try:
        pem = base64.b64decode(data).decode("ascii")
        der = ssl.PEM_cert_to_DER_cert(pem[: pem.index("-----END CERTIFICATE-----") + 25].strip())
    except (ValueError, binascii.Error):
        return None
    return hashlib.sha256(der).hexdigest()


def probe(name: str, kubeconfig: str, *, zone: Zone | None = None) -> Probe:
    """Try every way that needs no change; nothing is written. `kubeconfig` is what `kind get kubeconfig` prints."""
    _, fresh = _source(name, kubeconfig)
    zone = zone or locate()
    routes = _routes(name, fresh, zone)
    ready = tuple(route for route in routes if not route.needs)
    return Probe(zone, prove(ready, trust(fresh)), tuple(route for route in routes if route.needs))


def connect(
    name: str, kubeconfig: str, *, engine: Engine | None = None, zone: Zone | None = None, patience: float = 0.0
) -> Connected:
    """Prove a way to the kind cluster `name` and make it the entry `kind-NAME` of the user's kubeconfig.

    `kubeconfig` is the text that `kind get kubeconfig` prints (it holds the client's key: it is never shown), `engine`
    the engine as observed and `zone` what `locate` found, where that was asked already. Our own container is joined to
    kind's network only when nothing else leads there. A server that is just starting gets `patience` seconds. A context
    that is new becomes the current one, as kind does. An equal entry is not written again.
    Raises RouteError when no way is proved, UsageError when the user's kubeconfig cannot be read or written.
    """
    began = time.monotonic()
    source, fresh = _source(name, kubeconfig)
    zone = zone or locate(engine)
    verdict, joined = _choose(_routes(name, fresh, zone), trust(fresh), zone, patience)
    if verdict.chosen is None:
        raise _no_route(name, zone, verdict)
    route = verdict.chosen.route
    written = store.update(
        lambda before: document.with_route(
            document.adopt(before, source, fresh.context), fresh.cluster_name, route.server, route.tls_server_name
        )
    )
    seconds = time.monotonic() - began
    return Connected(fresh.context, route.server, route.tls_server_name, zone, verdict, joined, written, seconds)


def disconnect(name: str, *, zone: Zone | None = None) -> bool:
    """Remove the entry `kind-NAME` and, where we joined it and no other cluster of ours is left, leave kind's network.

    What other contexts refer to stays. The context that was current before becomes it again. False: nothing to do.
    """
    removed = store.update(lambda before: document.disown(before, f"kind-{name}"))
    return _leave(name, zone or locate()) or removed


def _source(name: str, kubeconfig: str) -> tuple[document.Document, Entry]:
    source = document.parse(kubeconfig.encode(), f"kind's kubeconfig of the cluster {name}")
    fresh = document.entry(source, f"kind-{name}")
    if fresh is None or not fresh.server:
        raise ClusterError(f"kind's kubeconfig has no context kind-{name}", fix=f"kind export kubeconfig --name {name}")
    return source, fresh


def _routes(name: str, fresh: Entry, zone: Zone) -> tuple[Route, ...]:
    entry = document.entry(store.read().document, fresh.context)
    existing = (entry.server, entry.tls_server_name) if entry else None
    return candidates(name, fresh.server, zone, network=kind_network(), existing=existing)


def _choose(routes: tuple[Route, ...], credentials: Trust, zone: Zone, patience: float) -> tuple[Verdict, bool]:
    """The verdict, after joining kind's network where only that can help, and whether it was joined."""
    ready = tuple(route for route in routes if not route.needs)
    needing = tuple(route for route in routes if route.needs)
    if not needing:
        return _prove_patiently(ready, credentials, patience), False
    verdict = prove(ready, credentials, deadline=_BEFORE_JOINING)
    if verdict.chosen is not None:
        return verdict, False
    events.note(f"no way leads out of this container; joining it to the network {kind_network()}")
    try:
        process.run(
            ["docker", "network", "connect", "--alias", JOINED_ALIAS, kind_network(), zone.container_id], timeout=20
        )
    except CommandFailed as error:
        refused = tuple(Proof(route, (), 0.0, f"joining failed: {error.tail}") for route in needing)
        return Verdict(None, (*verdict.proofs, *refused), verdict.seconds), False
    second = _prove_patiently(needing, credentials, patience)
    if second.chosen is None:
        _detach(zone.container_id)
    proofs = (*verdict.proofs, *second.proofs)
    return Verdict(second.chosen, proofs, verdict.seconds + second.seconds), second.chosen is not None


def _prove_patiently(routes: tuple[Route, ...], credentials: Trust, patience: float) -> Verdict:
    """`prove`, and again until a way is proved or `patience` seconds are over: nothing announces a listening server."""
    end = time.monotonic() + patience
    while (verdict := prove(routes, credentials)).chosen is None and time.monotonic() < end:
        time.sleep(_AGAIN)
    return verdict


def _no_route(name: str, zone: Zone, verdict: Verdict) -> RouteError:
    reached = {stage.name for proof in verdict.proofs for stage in proof.stages if stage.ok}
    if "tls" in reached:
        fix = f"./run invoke cluster.status --name {name}"
    elif zone.kind == "container" and not zone.container_id:
        fix = "mount the engine's socket into this container, or give it a route to the port that kind published"
    else:
        fix = f"docker ps --filter label={labels.KIND_CLUSTER}={name}"
    return RouteError(
        f"no verified way leads from this {zone.kind} to the API server of the cluster {name}",
        evidence="\n".join((verdict.evidence, *zone.evidence)),
        fix=fix,
    )


def _leave(name: str, zone: Zone) -> bool:
    if not zone.joined:
        return False
    # Another cluster of ours may be reached through the attachment; somebody else's does not count on it.
    listing = ["docker", "ps", "--all", "--filter", f"label={labels.OWNER}", "--format"]
    seen = process.run([*listing, f'{{{{.Label "{labels.OWNER}"}}}}'], timeout=20)
    if set(seen.stdout.split()) - {name}:
        return False
    _detach(zone.container_id)
    return True


def _detach(container_id: str) -> None:
    process.run(["docker", "network", "disconnect", kind_network(), container_id], timeout=20)
