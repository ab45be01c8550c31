"""zones.*: where you stand (host, engine, cluster), and which ways lead to the cluster's API from there."""

from __future__ import annotations

from invoke import Context

from threezone.tasks.edge import emit, say, table, task
from threezone.tasks.kubeconfig import chosen_cluster
from threezone.tasks.lab import NAME


@task(help={"json": "print the zone as JSON"})
def show(c: Context, json: bool = False) -> None:
    """Show in which zone you stand, from which evidence, and what kind of engine answers here."""
    from dataclasses import asdict

    from threezone.engine.observe import observe
    from threezone.zones.locate import locate

    zone = locate(observe())
    if json:
        emit(asdict(zone))
        return
    say(f"zone: {zone.kind}{f' (container {zone.container_id[:12]})' if zone.container_id else ''}")
    say(f"engine: {zone.engine}{f' at {zone.engine_host}' if zone.engine_host else ''}")
    say("evidence:\n" + "\n".join(f"  - {line}" for line in zone.evidence))


@task(help={"name": NAME, "json": "print every route and its stages as JSON"})
def probe(c: Context, name: str = "", json: bool = False) -> None:
    """Try every way to the cluster's API from here: name, TCP, verified TLS, /readyz, an authenticated request.

    Nothing is changed. Exit code 5 when no way is proved.
    """
    import sys

    from threezone.cluster import kind
    from threezone.errors import RouteError
    from threezone.zones.connect import probe as try_all

    cluster = chosen_cluster(name)
    found = try_all(cluster, kind.kubeconfig(cluster))
    data = found.data()
    if json:
        emit(data)
    else:
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
            for route in data["routes"]
        ]
        say(table(rows))
    if data["chosen"] is None and not found.joinable:
        if json:
            sys.exit(RouteError.exit_code)
        raise RouteError(f"no way to the cluster {cluster} is proved from this {found.zone.kind}")


def _milliseconds(stage: dict[str, object]) -> str:
    return f"{float(str(stage['seconds'])) * 1000:.0f}ms" if stage["ok"] else "failed"
