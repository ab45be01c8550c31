"""cluster.*: zone 3, the declared kind cluster."""

from __future__ import annotations

from typing import Any

from invoke import Context

from threezone.tasks.lab import CHANNEL, DECLARING, NAME, RECREATE, REPEATED, YES, declaring, open_lab
from threezone.tasks.runtime import as_started, consent, emit, say, table, task


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
    from threezone.clients import kind
    from threezone.cluster import create as creation
    from threezone.cluster.drift import detect
    from threezone.core.plan import StepKind, describe, has
    from threezone.delivery import git_backup
    from threezone.lab import steps, up

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
    lab = open_lab(name, channel, own=True, **options)
    actions = up.cluster_plan(lab, recreate=recreate)
    if dry_run:
        say(as_started(describe(actions)))
    else:
        consent(actions, yes=yes)
        made = steps.apply(lab, actions, retain=retain).created
        creation.connect(lab, made.kubeconfig if made else "")
        whole = creation.ready(lab, new=made is not None)
        state = "is ready" if whole else "runs, and waits for the pod network that is yours to install"
        say(f"the cluster {lab.name} {state}" + ("" if actions else "; nothing to do"))
        if kept := git_backup.summary(lab.key):
            say(as_started(kept))
    again = dry_run and has(actions, StepKind.RECREATE_CLUSTER)
    nodes = () if again else kind.nodes(lab.name)
    if told := (detect.notice(lab, nodes) or up.notice(lab, nodes)):
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
    from threezone.lab.drift_report import report

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
    seen = report(open_lab(name, own=True, **options))
    if json:
        emit(seen.data)
    else:
        if seen.rows:
            say(table([["FIELD", "DECLARED", "RUNNING", "", "WHY"], *seen.rows]))
        say(as_started(seen.words))
    if seen.trouble is not None:
        raise seen.trouble


@task(
    iterable=["name"],
    help={
        "name": f"{NAME}; may be given several times",
        "all": "all clusters of ours on this engine, and what is left of interrupted ones",
        "yes": "answer yes to the question",
    },
)
def delete(c: Context, name: list[str], all: bool = False, yes: bool = False) -> None:  # noqa: A002  the option's name
    """Delete clusters of ours, found by their labels, with their kubeconfig entries and what interrupted creates left.

    The network `kind` stays: kind made it, for the clusters of everybody, and makes it again where it is missing.
    """
    from threezone.cluster import orphans
    from threezone.core.errors import UsageError
    from threezone.lab import down

    if all and name:
        raise UsageError("--all and --name exclude each other", fix="leave one of them out")
    names = orphans.owners() if all else tuple(dict.fromkeys(name)) or ("",)
    planned = down.several([open_lab(each, own=True) for each in names])
    consent([action for _, actions in planned for action in actions], yes=yes)
    for lab, actions in planned:
        down.apply(lab, actions)
        say(f"the cluster {lab.name} is gone")
    if not planned:
        say("no cluster of ours is here; nothing to do")


@task(name="list", help={"json": "print the clusters as JSON"})
def list_(c: Context, json: bool = False) -> None:
    """List the kind clusters of this engine, found by kind's labels; ours are marked."""
    from threezone.clients import kind

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
    from threezone.clients import kind
    from threezone.core.errors import ClusterError
    from threezone.lab import status as room

    lab = open_lab(name, context="")
    seen = room.collect(lab)["cluster"]
    if json:
        emit(seen)
    else:
        lines = [["CONTAINER", "ROLE", "STATE", "KUBERNETES", "READY"]]
        by_name = {node["name"]: node for node in seen["nodes"]}
        for node in () if lab.foreign else kind.nodes(lab.name):
            of_api = by_name.get(node.name, {"version": "-", "ready": False})
            ready = "-" if node.role not in ("control-plane", "worker") else ("yes" if of_api["ready"] else "no")
            lines.append([node.name, node.role, node.state, of_api["version"], ready])
        if lab.foreign:  # the engine is not asked for its containers
            ready_words = {True: "yes", False: "no"}
            lines.extend([n["name"], "-", "-", n["version"], ready_words[n["ready"]]] for n in seen["nodes"])
        if len(lines) > 1:
            say(table(lines))
    if not seen["ready"]:
        fix = "./run invoke kubeconfig.connect" if lab.foreign else "./run invoke up"
        raise ClusterError(f"the cluster {lab.called} is not ready: {seen['why']}", fix=fix)


@task(
    help={
        "name": NAME,
        "grace": "seconds that pods get to end by themselves; what is still there then is ended by force, and named",
    }
)
def stop(c: Context, name: str = "", grace: int = 5) -> None:
    """Stop the cluster's nodes and keep all that is in them; cluster.start, or up, brings them back."""
    from threezone.cluster import lifecycle
    from threezone.cluster import stop as stopping

    lab = open_lab(name, own=True)
    seen = lifecycle.observe(lab.name)
    if not stopping.plan(seen):
        say(f"the cluster {lab.name} is stopped; nothing to do")
        return
    forced = stopping.stop(seen, grace=grace)
    say("\n".join([f"the cluster {lab.name} is stopped", *forced]))


@task(help={"name": NAME})
def start(c: Context, name: str = "") -> None:
    """Start a stopped cluster, repair one whose node or engine was restarted, and wait until every pod is Ready."""
    from threezone.cluster import recover
    from threezone.lab.observe import observe

    lab = open_lab(name, own=True)
    stuck = recover.bring_back(lab, lambda: observe(lab).nodes_ready)
    if stuck is None:
        say(f"the cluster {lab.name} is ready; nothing to do")
    else:
        say("\n".join([f"the cluster {lab.name} is ready", *(f"not by the restart: {line}" for line in stuck)]))


@task(help={"name": NAME, "json": "print the walk as JSON"})
def inspect(c: Context, name: str = "", json: bool = False) -> None:
    """Walk through a cluster: containers, addresses, ports, balancer, kubeadm.conf, static pods, the API's certificate.

    Without secrets, and without asking the API server: it works for a stopped cluster too, and for one made by kind.
    """
    from threezone.clients import kind
    from threezone.cluster import inspect as room
    from threezone.core.errors import ClusterError

    lab = open_lab(name, own=True)
    nodes = kind.nodes(lab.name)
    if not nodes:
        raise ClusterError(f"there is no cluster named {lab.name}", fix="./run invoke cluster.list")
    seen = room.inspect(nodes)
    if json:
        emit(seen.data())
    else:
        say(room.page(seen))


@task(
    help={
        "name": NAME,
        "output": "the archive to write, a .tar.gz (default: one below the state directory, its path is printed)",
    }
)
def logs(c: Context, name: str = "", output: str = "") -> None:
    """Collect everything that tells what happened in one archive: nodes, kubelet, events, Flux, engine, our own plan.

    Keys, tokens, passwords and whatever stands in the cluster's Secrets are taken out. What cannot be had is listed;
    a cluster that is stopped or broken gives what it can.
    """
    from threezone.clients import kind
    from threezone.core.errors import ClusterError
    from threezone.doctor.support_bundle import bundle as room

    lab = open_lab(name, own=True)
    if not kind.nodes(lab.name):
        raise ClusterError(f"there is no cluster named {lab.name}", fix="./run invoke cluster.list")
    made = room.collect(lab, output)
    say("\n".join([str(made.path), *(f"not to be had: {line}" for line in made.missing)]), output)


@task(
    help={
        "context": "the kubeconfig context of the cluster: docker-desktop, or any other",
        "server": "take this address to it instead of looking for one: https://HOST:PORT",
        "tls-server-name": "the name in the server's certificate, if not the address's host",
        "remove": "give the adopted cluster back: its kubeconfig entry is as it was",
        "dry-run": "print the plan and change nothing",
        "yes": YES,
    }
)
def adopt(  # noqa: PLR0917  every option of a task is a parameter
    c: Context,
    context: str = "",
    server: str = "",
    tls_server_name: str = "",
    remove: bool = False,
    dry_run: bool = False,
    yes: bool = False,
) -> None:
    """Work with a cluster that is there already, such as Docker Desktop's own, as the lab of this project.

    From then on status, flux.*, gitops.*, app.* and addon.* mean that cluster, without --context. It is never created,
    started, stopped or deleted. The entry is proved first; where it does not lead there from here (the name
    kubernetes.docker.internal in a container), another way is looked for, proved, and written after a question.
    Without options: what is adopted. Exit code 5: no way leads there; each that was tried is explained.
    """
    from threezone.core.errors import UsageError
    from threezone.core.events import step
    from threezone.core.plan import describe
    from threezone.core.settings import find_root
    from threezone.lab.external_cluster import adopt as adoption
    from threezone.lab.external_cluster import record
    from threezone.tasks.kubeconfig import given

    root = find_root()
    if remove:
        say(as_started("\n".join(adoption.release(root))))
        return
    held = record.context(root)
    if not context:
        if server:
            raise UsageError("--server belongs to a context", fix="add --context NAME")
        say(f"adopted: {held}" if held else "no cluster is adopted here; cluster.adopt --context NAME adopts one")
        return
    by_hand = given(server, tls_server_name)
    entry = adoption.entry_of(context)
    adoption.require_foreign(context)
    with step(f"prove a way to the cluster of the context {context}") as running:
        found = adoption.observe(entry, by_hand)
        running.result = found.sentence
    actions = adoption.plan(root, found)
    if dry_run:
        say(as_started(describe(actions)))
        return
    consent(actions, yes=yes)
    done = adoption.apply(root, found, actions)
    say(f"{context} is adopted: {done.sentence}" + ("" if actions else "; nothing to do"))
