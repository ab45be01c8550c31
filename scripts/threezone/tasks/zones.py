"""zones.*: where you are (host, engine, cluster), and which routes lead to the cluster's API from there."""

import os
import sys
from typing import TYPE_CHECKING

from threezone.tasks.display import table
from threezone.tasks.options import (
    ClusterName,
    Json,
    ServerAddress,
    TlsServerName,
    adopted_context,
    chosen_cluster,
    given,
)
from threezone.tasks.runtime import emit, present, say, task, yes_no

if TYPE_CHECKING:
    from threezone.engine.find import Engine
    from threezone.zones.diagram import Facts
    from threezone.zones.probe import Probe


@task
def show(name: ClusterName = "", json: Json = False) -> None:
    """Draw the three zones and what is in them now: where you are, the engine, the cluster, where your entry leads.

    The evidence is printed below. Read-only; works with any component down.
    """
    from dataclasses import asdict

    from threezone.core import names
    from threezone.engine.find import observe
    from threezone.zones import diagram
    from threezone.zones.locate import locate

    adopted = adopted_context(name)
    cluster = (names.in_context(adopted) or adopted) if adopted else chosen_cluster(name)
    engine = observe()
    zone, facts = locate(engine), _facts(cluster, engine, adopted or f"kind-{cluster}")
    evidence = "\n".join(f"  - {line}" for line in zone.evidence)
    text = f"{diagram.draw(zone, facts)}\n\nevidence:\n{evidence}"
    present({**asdict(zone), "facts": facts.data()}, text, as_json=json)


def _facts(cluster: str, engine: "Engine", context: str) -> "Facts":
    from threezone.clients import kind
    from threezone.core.errors import ThreezoneError
    from threezone.zones import diagram
    from threezone.zones.kubeconfig_entry import find

    nodes, nodes_why = tuple[kind.Node, ...](), "not known without an engine"
    entry, entry_why = None, f"your kubeconfig has no entry {context}"
    try:
        if engine.state == "ok":
            nodes = kind.nodes(cluster)
            nodes_why = "" if nodes else f"there is no cluster {cluster}"
    except ThreezoneError as error:
        nodes_why = error.message
    try:
        if entry := find(context):
            entry_why = ""
    except ThreezoneError as error:
        entry_why = error.message
    return diagram.Facts(cluster, engine, nodes, nodes_why, entry, entry_why)


@task
def probe(
    name: ClusterName = "", server: ServerAddress = "", tls_server_name: TlsServerName = "", json: Json = False
) -> None:
    """Try every route to the cluster's API from here: name, TCP, verified TLS, /readyz, an authenticated request.

    Without an engine, the CA in your kubeconfig entry is trusted. Each failure is explained: the boundary between the
    zones that stopped it, and what to do. Read-only. Exit code 5 when no route is proved and kubeconfig.connect could
    open none either.
    """
    from threezone.core.errors import RouteError
    from threezone.zones import kind_cluster
    from threezone.zones.diagnostics import explain, no_route
    from threezone.zones.http_proxy import proxied
    from threezone.zones.kubeconfig_entry import find
    from threezone.zones.probe import probe as try_all

    by_hand = given(server, tls_server_name)
    if adopted := adopted_context(name):
        _probe_adopted(adopted, by_hand, json=json)
        return
    cluster = chosen_cluster(name)
    known, own = kind_cluster.observe(cluster), find(f"kind-{cluster}")
    trouble = known.error
    if trouble is not None and known.engine.state != "missing" and own is None:
        raise trouble
    result = try_all(cluster, known.kubeconfig, engine=known.engine, zone=known.zone, by_hand=by_hand)
    chosen = result.verdict.chosen
    if json:
        emit(result.data())
    else:
        parts = [
            _routes(result),
            explain(result.verdict, result.zone),
            proxied(chosen.route.server, os.environ) if chosen else "",
            "your entry has insecure-skip-tls-verify; every certificate was verified here all the same"
            if own and own.entry.cluster.get("insecure-skip-tls-verify")
            else "",
        ]
        say("\n\n".join(filter(None, parts)))
    if chosen is None and not result.untried:
        error = RouteError(
            f"no route to the cluster {cluster} is proved from this {result.zone.kind}",
            evidence=trouble.message if trouble else "",
            fix=trouble.fix if known.missing and trouble else no_route(cluster, result.zone, result.verdict).fix,
        )
        _end(error, json=json)


def _probe_adopted(context: str, by_hand: tuple[str, str] | None, *, json: bool) -> None:
    from threezone.lab.external_cluster import adopt
    from threezone.zones import external_routes
    from threezone.zones.locate import locate

    entry = adopt.entry_of(context)
    result = external_routes.probe(entry, locate(), by_hand)
    present(result.data(), _routes(result), as_json=json)
    if result.verdict.chosen is None:
        _end(external_routes.no_route(entry, result), json=json)


def _end(error: Exception, *, json: bool) -> None:
    """Fail. With --json only the exit code is set: the JSON has the reason."""
    from threezone.core.errors import RouteError

    if json:
        sys.exit(RouteError.exit_code)
    raise error


def _routes(probe: "Probe") -> str:
    rows = [["ok", "route", "server", "TLS name", "stages", "why"]]
    for route in probe.data()["routes"]:
        stages = " ".join(
            f"{name}:" + (f"{stage['seconds'] * 1000:.0f}ms" if stage["ok"] else "failed")
            for name, stage in route["stages"].items()
            if stage
        )
        tls_name, why = route["tlsServerName"] or "", route["why"] or ""
        rows.append([yes_no(route["ok"]), route["name"], route["server"], tls_name, stages or "-", why])
    return table(rows)
