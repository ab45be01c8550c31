"""cluster.*: zone 3, the declared kind cluster."""

from __future__ import annotations

from typing import Any

from invoke import Context

from threezone.tasks.edge import as_started, consent, emit, say, table, task
from threezone.tasks.lab import CHANNEL, DECLARING, NAME, RECREATE, REPEATED, YES, declaring, session


@task(
    help={
        "name": NAME,
        "channel": CHANNEL,
        "retain": "keep the nodes of a failed create for a look",
        "dry-run": "print the plan and change nothing",
        "recreate": RECREATE,
        "yes": YES,
        **DECLARING,
    },
    iterable=REPEATED,
)
def create(
    c: Context,
    *,
    name: str = "",
    channel: str = "",
    retain: bool = False,
    dry_run: bool = False,
    recreate: bool = False,
    yes: bool = False,
    config: str = "",
    kubernetes: str = "",
    control_planes: int = 0,
    workers: int = 0,
    port: Any = None,
    mount: Any = None,
    feature_gate: Any = None,
    set_: Any = None,
) -> None:
    """Create the cluster that local/kubernetes/kind.yaml declares, connect the kubeconfig, wait until it is Ready."""
    from threezone.cluster import kind
    from threezone.lab import rescue, standing, steps, up
    from threezone.plan import describe

    options = declaring(
        config=config,
        kubernetes=kubernetes,
        control_planes=control_planes,
        workers=workers,
        port=port,
        mount=mount,
        feature_gate=feature_gate,
        set_=set_,
    )
    at = session(name, channel, **options)
    at.retain = retain
    actions = up.cluster_plan(at, recreate=recreate)
    if dry_run:
        say(as_started(describe(actions)))
    else:
        consent(actions, yes=yes)
        steps.apply(at, actions)
        steps.connect(at)
        state = "is ready" if steps.ready(at) else "runs, and waits for the pod network that is yours to install"
        say(f"the cluster {at.lab.name} {state}" + ("" if actions else "; nothing to do"))
        if kept := rescue.sentence(at.lab.key):
            say(as_started(kept))
    again = dry_run and any(action.key == "recreate" for action in actions)
    nodes = () if again else kind.nodes(at.lab.name)
    if told := (standing.notice(at, nodes) or up.notice(at, nodes)):
        say(as_started(told))


@task(help={"name": NAME, "json": "print the comparison as JSON", **DECLARING}, iterable=REPEATED)
def plan(
    c: Context,
    *,
    name: str = "",
    json: bool = False,
    config: str = "",
    kubernetes: str = "",
    control_planes: int = 0,
    workers: int = 0,
    port: Any = None,
    mount: Any = None,
    feature_gate: Any = None,
    set_: Any = None,
) -> None:
    """Compare the running cluster with what is declared, field by field. Changes nothing; exit 4 where they differ.

    Each field is the same, can be changed in place (up does it), or needs a new cluster (up --recreate does it): then
    what would be lost is listed. What older clusters have not written down, and cannot be seen, is unknown.
    """
    from threezone.lab.comparison import report

    options = declaring(
        config=config,
        kubernetes=kubernetes,
        control_planes=control_planes,
        workers=workers,
        port=port,
        mount=mount,
        feature_gate=feature_gate,
        set_=set_,
    )
    seen = report(session(name, **options))
    if json:
        emit(seen.data)
    else:
        if seen.rows:
            say(table([["FIELD", "DECLARED", "RUNNING", "", "WHY"], *seen.rows]))
        say(as_started(seen.words))
    if seen.trouble is not None:
        raise seen.trouble


@task(help={"name": NAME, "yes": "answer yes to the question"})
def delete(c: Context, name: str = "", yes: bool = False) -> None:
    """Delete a cluster of ours and its kubeconfig entry; the same as down."""
    from threezone.cluster import kind
    from threezone.errors import ClusterError
    from threezone.lab import down

    at = session(name)
    nodes = kind.nodes(at.lab.name)
    if not nodes:
        known = ", ".join(sorted({node.cluster for node in kind.nodes()})) or "none"
        raise ClusterError(f"there is no cluster named {at.lab.name}", evidence=f"clusters here: {known}")
    if not nodes[0].ours:
        raise ClusterError(
            f"the cluster {at.lab.name} was not made by threezone; it is left alone",
            fix=f"kind delete cluster --name {at.lab.name}",
        )
    actions = down.plan(at)
    consent(actions, yes=yes)
    down.apply(at, actions)
    say(f"the cluster {at.lab.name} is gone")


@task(name="list", help={"json": "print the clusters as JSON"})
def list_(c: Context, json: bool = False) -> None:
    """List the kind clusters of this engine, found by kind's labels; ours are marked."""
    from threezone.cluster import kind

    nodes = kind.nodes()
    names = sorted({node.cluster for node in nodes})
    rows = [
        {
            "name": name,
            "ours": any(node.ours for node in nodes if node.cluster == name),
            "nodes": [
                {"name": n.name, "role": n.role, "state": n.state, "image": n.image} for n in nodes if n.cluster == name
            ],
        }
        for name in names
    ]
    if json:
        emit(rows)
    elif not rows:
        say("no clusters")
    else:
        lines = [["NAME", "OURS", "NODES"]]
        for row in rows:
            shown = ", ".join(f"{node['name']} ({node['state']})" for node in row["nodes"])  # type: ignore[attr-defined]
            lines.append([str(row["name"]), "yes" if row["ours"] else "no", shown])
        say(table(lines))


@task(help={"name": NAME, "json": "print the observation as JSON"})
def status(c: Context, name: str = "", json: bool = False) -> None:
    """Show one cluster: its containers and its nodes as the API server sees them. Exit 4 when it is not ready."""
    from threezone.cluster import kind
    from threezone.errors import ClusterError
    from threezone.lab import status as room

    at = session(name)
    seen = room.collect(at.lab)["cluster"]
    if json:
        emit(seen)
    else:
        lines = [["CONTAINER", "ROLE", "STATE", "KUBERNETES", "READY"]]
        by_name = {node["name"]: node for node in seen["nodes"]}
        for node in kind.nodes(at.lab.name):
            of_api = by_name.get(node.name, {"version": "-", "ready": False})
            ready = "-" if node.role not in ("control-plane", "worker") else ("yes" if of_api["ready"] else "no")
            lines.append([node.name, node.role, node.state, of_api["version"], ready])
        if len(lines) > 1:
            say(table(lines))
    if not seen["ready"]:
        raise ClusterError(f"the cluster {at.lab.name} is not ready: {seen['why']}", fix="./run invoke up")
