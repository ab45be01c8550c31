"""cluster.*: zone 3, the declared kind cluster."""

import functools
from typing import TYPE_CHECKING, Annotated

from threezone.core.settings import ClusterOptions, find_root
from threezone.tasks.display import table
from threezone.tasks.options import (
    NO_CHANGES,
    Channel,
    ClusterName,
    DryRun,
    Json,
    Recreate,
    ServerAddress,
    TlsServerName,
    Yes,
    given,
    open_lab,
)
from threezone.tasks.runtime import agreed, consent, present, say, task, yes_no

if TYPE_CHECKING:
    from threezone.clients import kind


@task
def create(
    name: ClusterName = "",
    channel: Channel = "",
    retain: Annotated[bool, "keep the nodes of a failed create, to look at them"] = False,
    dry_run: DryRun = False,
    recreate: Recreate = False,
    yes: Yes = False,
    changes: ClusterOptions = NO_CHANGES,
) -> None:
    """Create the cluster that local/kubernetes/kind.yaml declares, connect the kubeconfig, wait until it is Ready."""
    from threezone.clients import kind
    from threezone.cluster.drift import detect
    from threezone.core.plan import StepKind, has
    from threezone.delivery import git_backup
    from threezone.lab import up

    lab = open_lab(name, channel, own=True, changes=changes)
    plan = up.cluster_plan(lab, recreate=recreate)
    if agreed(plan, yes=yes, dry_run=dry_run):
        agree = functools.partial(consent, yes=yes)
        whole = up.create_cluster(lab, plan, recreate=recreate, retain=retain, agree=agree)
        state = "is ready" if whole else "runs; its nodes become Ready when you install a pod network"
        say(f"the cluster {lab.name} {state}" + ("" if plan else "; nothing to do"))
        if kept := git_backup.summary(lab.key):
            say(kept)
    other = has(plan, StepKind.RECREATE_CLUSTER) or has(plan, StepKind.WAIT_FOR_LEASE)
    nodes = () if dry_run and other else kind.nodes(lab.name)
    if notice := (detect.notice(lab, nodes) or up.notice(lab, nodes)):
        say(notice)


@task
def plan(name: ClusterName = "", json: Json = False, changes: ClusterOptions = NO_CHANGES) -> None:
    """Compare the running cluster with its declaration, field by field. Read-only; exit 4 where they differ.

    Each field is the same, can be changed in place (up does it), or needs a new cluster (up --recreate does it): then
    what would be lost is listed. Fields that older clusters have not recorded, and that cannot be read, are unknown.
    """
    from threezone.lab.drift_report import report

    drift = report(open_lab(name, own=True, changes=changes))
    rows = table([["FIELD", "DECLARED", "RUNNING", "", "WHY"], *drift.rows]) + "\n" if drift.rows else ""
    present(drift.data, rows + drift.text, as_json=json)
    if drift.error is not None:
        raise drift.error


@task
def delete(
    name: Annotated[list[str], "the cluster's name (default: threezone.cluster.name in invoke.yaml); repeatable"],
    all: Annotated[bool, "all clusters of ours on this engine, and leftovers of interrupted ones"] = False,
    yes: Yes = False,
) -> None:
    """Delete clusters of ours, with their kubeconfig entries and the leftovers of interrupted ones.

    The network `kind` stays: all kind clusters share it, and kind creates it when it is missing.
    """
    from threezone.cluster import orphans
    from threezone.core.errors import UsageError
    from threezone.lab import down

    if all and name:
        raise UsageError("--all and --name exclude each other", fix="leave one of them out")
    names = orphans.owners() if all else tuple(dict.fromkeys(name)) or ("",)
    plans = down.plan_all([open_lab(each, own=True) for each in names])
    consent([step for _, steps in plans for step in steps], yes=yes)
    for lab, steps in plans:
        down.apply(lab, steps)
        say(f"the cluster {lab.name} is gone")
    if not plans:
        say("no cluster of ours is here; nothing to do")


@task
def list_(json: Json = False) -> None:
    """List the kind clusters of this engine, and which of them are ours."""
    from threezone.clients import kind

    clusters: dict[str, list[kind.Node]] = {}
    for node in sorted(kind.nodes(), key=lambda node: node.cluster):
        clusters.setdefault(node.cluster, []).append(node)
    data = [
        {
            "name": name,
            "ours": any(node.ours for node in nodes),
            "nodes": [{"name": n.name, "role": n.role, "state": n.state, "image": n.image} for n in nodes],
        }
        for name, nodes in clusters.items()
    ]
    rows = [
        [name, yes_no(any(node.ours for node in nodes)), ", ".join(f"{node.name} ({node.state})" for node in nodes)]
        for name, nodes in clusters.items()
    ]
    present(data, table([["NAME", "OURS", "NODES"], *rows]) if rows else "no clusters", as_json=json)


@task
def status(name: ClusterName = "", json: Json = False) -> None:
    """Show one cluster: its containers and its nodes as the API server reports them. Exit 4 when it is not ready."""
    from threezone.clients import kind
    from threezone.core.errors import ClusterError
    from threezone.lab.status import collect

    lab = open_lab(name, context="")
    cluster = collect(lab)["cluster"]
    by_name = {node["name"]: node for node in cluster["nodes"]}
    if lab.foreign:  # its containers may be on another engine
        rows = [[node["name"], "-", "-", node["version"], yes_no(node["ready"])] for node in cluster["nodes"]]
    else:
        rows = []
        for node in kind.nodes(lab.name):
            reported = by_name.get(node.name, {"version": "-", "ready": False})
            ready = yes_no(reported["ready"]) if node.role in ("control-plane", "worker") else "-"
            rows.append([node.name, node.role, node.state, reported["version"], ready])
    text = table([["CONTAINER", "ROLE", "STATE", "KUBERNETES", "READY"], *rows]) if rows else ""
    present(cluster, text, as_json=json)
    if not cluster["ready"]:
        fix = "./run invoke kubeconfig.connect" if lab.foreign else "./run invoke up"
        raise ClusterError(f"the cluster {lab.display_name} is not ready: {cluster['why']}", fix=fix)


@task
def stop(
    name: ClusterName = "",
    grace: Annotated[int, "seconds for pods to end by themselves; later ones are killed and listed"] = 5,
) -> None:
    """Stop the cluster's nodes and keep their content; cluster.start, or up, starts them again."""
    from threezone.cluster import lifecycle
    from threezone.cluster import stop as stopping

    lab = open_lab(name, own=True)
    observed = lifecycle.observe(lab.name)
    if not stopping.plan(observed):
        say(f"the cluster {lab.name} is stopped; nothing to do")
        return
    killed = stopping.stop(observed, grace=grace)
    say("\n".join([f"the cluster {lab.name} is stopped", *killed]))


@task
def start(name: ClusterName = "") -> None:
    """Start a stopped cluster, repair one whose node or engine was restarted, and wait until every pod is Ready."""
    from threezone.cluster import recover
    from threezone.lab.observe import observe

    lab = open_lab(name, own=True)
    stuck = recover.bring_back(lab, lambda: observe(lab).nodes_ready)
    if stuck is None:
        say(f"the cluster {lab.name} is ready; nothing to do")
    else:
        say("\n".join([f"the cluster {lab.name} is ready", *(f"still not ready: {line}" for line in stuck)]))


@task
def inspect(name: ClusterName = "", json: Json = False) -> None:
    """Show a cluster's parts: containers, addresses, ports, balancer, kubeadm.conf, static pods, certificate.

    Shows no secrets and needs no API server: works for a stopped cluster too, and for one that kind alone created.
    """
    from threezone.cluster import inspect as inspection

    lab = open_lab(name, own=True)
    walk = inspection.inspect(_nodes(lab.name))
    present(walk.data(), inspection.page(walk), as_json=json)


@task
def logs(
    name: ClusterName = "",
    output: Annotated[str, "the .tar.gz to write (default: one below the state directory; its path is printed)"] = "",
) -> None:
    """Collect logs and state in one archive: nodes, kubelet, events, Flux, engine, threezone's plan.

    Keys, tokens, passwords and the values of the cluster's Secrets are removed. What is not available is listed: it
    works for a stopped or broken cluster too.
    """
    from threezone.doctor.support_bundle import bundle

    lab = open_lab(name, own=True)
    _nodes(lab.name)
    archive = bundle.collect(lab, output)
    say("\n".join([str(archive.path), *(f"not available: {line}" for line in archive.missing)]), output)


def _nodes(name: str) -> "tuple[kind.Node, ...]":
    """The nodes of a cluster. Raises ClusterError when there is none."""
    from threezone.clients import kind
    from threezone.core.errors import ClusterError

    nodes = kind.nodes(name)
    if not nodes:
        raise ClusterError(f"there is no cluster named {name}", fix="./run invoke cluster.list")
    return nodes


@task
def adopt(
    context: Annotated[str, "the kubeconfig context of the cluster: docker-desktop, or any other"] = "",
    server: ServerAddress = "",
    tls_server_name: TlsServerName = "",
    remove: Annotated[bool, "release the adopted cluster and restore its kubeconfig entry"] = False,
    dry_run: DryRun = False,
    yes: Yes = False,
) -> None:
    """Use an existing cluster, such as Docker Desktop's own, as the lab of this project.

    From then on status, flux.*, gitops.*, app.* and addon.* work on that cluster, without --context. It is never
    created, started, stopped or deleted. Your kubeconfig entry is proved first. If it does not work from here (the
    name kubernetes.docker.internal in a container), another route is proved and, after a question, written.
    Without options, prints the adopted cluster. Exit code 5: no route works; each one that was tried is explained.
    """
    from threezone.core.errors import UsageError
    from threezone.core.events import step
    from threezone.lab.external_cluster import adopt as adoption
    from threezone.lab.external_cluster import record

    root = find_root()
    if remove:
        say("\n".join(adoption.release(root)))
        return
    if not context:
        if server:
            raise UsageError("--server needs a context", fix="add --context NAME")
        adopted = record.context(root)
        say(f"adopted: {adopted}" if adopted else "no cluster is adopted here; cluster.adopt --context NAME adopts one")
        return
    by_hand = given(server, tls_server_name)
    entry = adoption.entry_of(context)
    adoption.require_foreign(context)
    with step(f"prove a route to the cluster of the context {context}") as running:
        route = adoption.observe(entry, by_hand)
        running.result = route.sentence
    steps = adoption.plan(root, route)
    if agreed(steps, yes=yes, dry_run=dry_run):
        route = adoption.apply(root, route, steps)
        say(f"{context} is adopted: {route.sentence}" + ("" if steps else "; nothing to do"))
