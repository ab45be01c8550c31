"""zones.*: where you stand (host, engine, cluster), and which ways lead to the cluster's API from there."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from invoke import Context

from threezone.tasks.kubeconfig import adopted_context, chosen_cluster, given
from threezone.tasks.lab import NAME
from threezone.tasks.runtime import as_started, emit, say, table, task

if TYPE_CHECKING:
    from threezone.engine.find import Engine
    from threezone.zones.diagram import Facts


@task(help={"name": NAME, "json": "print the zone and the facts as JSON"})
def show(c: Context, name: str = "", json: bool = False) -> None:
    """Draw the three zones with what is in them now: where you stand, the engine, the cluster, where your entry leads.

    The evidence for it stands below. Nothing is changed, and nothing has to be well.
    """
    from dataclasses import asdict

    from threezone.core import names
    from threezone.engine.find import observe
    from threezone.zones import diagram
    from threezone.zones.locate import locate

    held = adopted_context(name)
    cluster = (names.in_context(held) or held) if held else chosen_cluster(name)
    engine = observe()
    zone, facts = locate(engine), _facts(cluster, engine, held or f"kind-{cluster}")
    if json:
        emit({**asdict(zone), "facts": facts.data()})
        return
    say(as_started(diagram.draw(zone, facts)))
    say("\nevidence:\n" + "\n".join(f"  - {line}" for line in zone.evidence))


def _facts(cluster: str, engine: Engine, context: str) -> Facts:
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


@task(
    help={
        "name": NAME,
        "server": "try this address alone: https://HOST:PORT",
        "tls-server-name": "the name in the server's certificate, if not the address's host (kind's has localhost)",
        "json": "print every route and its stages as JSON",
    }
)
def probe(c: Context, name: str = "", server: str = "", tls_server_name: str = "", json: bool = False) -> None:
    """Try every way to the cluster's API from here: name, TCP, verified TLS, /readyz, an authenticated request.

    Without an engine the entry in your kubeconfig says whom to trust. Each failure is explained: which boundary between
    the zones it is, and what to do. Nothing is changed. Exit code 5 when no way is proved and none is left that
    kubeconfig.connect could still open.
    """
    import os
    import sys

    from threezone.core.errors import RouteError
    from threezone.zones import kind_cluster
    from threezone.zones.diagnostics import explain, no_route
    from threezone.zones.http_proxy import proxied
    from threezone.zones.kubeconfig_entry import find
    from threezone.zones.probe import probe as try_all

    by_hand = given(server, tls_server_name)
    if held := adopted_context(name):
        _probe_adopted(held, by_hand, json=json)
        return
    cluster = chosen_cluster(name)
    known, own = kind_cluster.observe(cluster), find(f"kind-{cluster}")
    if known.error is not None and known.engine.state != "missing" and own is None:
        raise known.error
    found = try_all(cluster, known.kubeconfig, engine=known.engine, zone=known.zone, by_hand=by_hand)
    data = found.data()
    chosen = found.verdict.chosen
    if json:
        emit(data)
    else:
        say(_routes(data["routes"]))
        if words := explain(found.verdict, found.zone):
            say(f"\n{as_started(words)}")
        if chosen and (sentence := proxied(chosen.route.server, os.environ)):
            say(f"\n{sentence}")
        if own and own.entry.cluster.get("insecure-skip-tls-verify"):
            say("\nyour entry has insecure-skip-tls-verify; every certificate was verified here all the same")
    if chosen is None and not found.untried:
        if json:
            sys.exit(RouteError.exit_code)
        raise RouteError(
            f"no way to the cluster {cluster} is proved from this {found.zone.kind}",
            evidence=known.error.message if known.error else "",
            fix=known.error.fix if known.missing and known.error else no_route(cluster, found.zone, found.verdict).fix,
        )


def _probe_adopted(context: str, by_hand: tuple[str, str] | None, *, json: bool) -> None:
    import sys

    from threezone.core.errors import RouteError
    from threezone.lab.external_cluster import adopt
    from threezone.zones import external_routes
    from threezone.zones.locate import locate

    entry = adopt.entry_of(context)
    found = external_routes.probe(entry, locate(), by_hand)
    data = found.data()
    if json:
        emit(data)
    else:
        say(_routes(data["routes"]))
    if found.verdict.chosen is None:
        if json:
            sys.exit(RouteError.exit_code)
        raise external_routes.no_route(entry, found)


def _routes(routes: list[dict[str, Any]]) -> str:
    rows = [["ok", "route", "server", "TLS name", "stages", "why"]]
    rows += [
        [
            "yes" if route["ok"] else "no",
            route["name"],
            route["server"],
            route["tlsServerName"] or "",
            " ".join(f"{stage}:{_milliseconds(seen)}" for stage, seen in route["stages"].items() if seen) or "-",
            route["why"] or "",
        ]
        for route in routes
    ]
    return table(rows)


def _milliseconds(stage: dict[str, object]) -> str:
    return f"{float(str(stage['seconds'])) * 1000:.0f}ms" if stage["ok"] else "failed"
