"""kubeconfig.*: the entry that kubectl, flux and helm use, with a route that was proved from where you are."""

import sys
from pathlib import Path
from typing import Annotated

from threezone.core.settings import find_root
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
from threezone.tasks.runtime import emit, present, say, task


@task
def connect(
    name: ClusterName = "",
    server: ServerAddress = "",
    tls_server_name: TlsServerName = "",
    break_lock: Annotated[bool, "first remove the lock that a killed kubectl left on your kubeconfig"] = False,
    if_running: Annotated[bool, "do not fail without a running cluster (for a container's start)"] = False,
) -> None:
    """Prove a route to the cluster's API from here and write it into your kubeconfig; also repairs an entry.

    From the host that is the published port on 127.0.0.1; from a container with the engine's socket it is kind's
    network, which the container then joins; to an engine on another machine it is a tunnel. Without an engine the
    address in your own entry is repaired. The certificate is always verified. Other entries stay untouched.
    Exit code 4: the cluster is gone or stopped (0 with --if-running). 5: no route is proved; each one that was tried is
    explained.
    """
    from threezone.core.errors import ClusterError
    from threezone.core.events import note, step
    from threezone.kubeconfig import store
    from threezone.zones import kind_cluster
    from threezone.zones.connect import connect_observed

    by_hand = given(server, tls_server_name)
    if break_lock:
        for sentence in store.break_lock():
            note(sentence)
    if adopted := adopted_context(name):
        _reconnect(adopted, by_hand)
        return
    cluster = chosen_cluster(name)
    with step(f"prove a route to the cluster {cluster}") as running:
        known = kind_cluster.observe(cluster)
        try:
            connected = connect_observed(known, by_hand=by_hand)
        except ClusterError as error:
            if not (if_running and known.missing):
                raise
            running.result = "nothing to connect to"
            message = f"nothing to connect to: {error.message}\nbring it up: {error.fix}"
        else:
            running.result = f"{connected.server} in {connected.seconds:.2f} s"
            message = connected.sentence
    say(message)


def _reconnect(context: str, by_hand: tuple[str, str] | None) -> None:
    """Prove the route to the adopted cluster again; the user agreed to the change when it was adopted."""
    from threezone.core.events import step
    from threezone.lab.external_cluster import adopt

    root = find_root()
    with step(f"prove a route to the cluster of the context {context}") as running:
        route = adopt.observe(adopt.entry_of(context), by_hand)
        steps = adopt.plan(root, route)
        route = adopt.apply(root, route, steps)
        running.result = route.sentence
    say(f"{route.sentence}; context {context} {'written' if steps else 'unchanged'}")


@task
def show(name: ClusterName = "", json: Json = False) -> None:
    """Show the cluster's entry in your kubeconfig: address, TLS name, CA fingerprint, kind of login; never a key."""
    from threezone.core.errors import ClusterError
    from threezone.zones.kubeconfig_entry import find

    adopted = adopted_context(name)
    cluster = adopted or chosen_cluster(name)
    entry = find(adopted or f"kind-{cluster}")
    if entry is None:
        raise ClusterError(
            f"your kubeconfig has no entry for the cluster {cluster}",
            fix="kubectl config get-contexts" if adopted else f"./run invoke kubeconfig.connect --name {cluster}",
        )
    facts = entry.data()
    rows = [[key, "-" if value is None else str(value)] for key, value in facts.items()]
    present(facts, table(rows), as_json=json)


@task
def check(
    name: ClusterName = "",
    context: Annotated[str, "any context of your kubeconfig, instead of a cluster's: a managed cluster's too"] = "",
    json: Json = False,
) -> None:
    """Prove the entry in your kubeconfig exactly as it is; nothing is changed, and no other route is tried.

    Exit code 0: kubectl can work with it. 2: no such entry, or a file that kubectl cannot read. 4: the cluster is gone,
    stopped, or was replaced (it has another CA). 5: the route does not work from here; the failed
    stage is explained. Notices name other risks: a file that others may read, a lock, a proxy, a certificate that
    ends soon. Credential plugins are not run.
    """
    from threezone.core.errors import UsageError
    from threezone.core.events import note
    from threezone.zones.check import check as check_entry

    if name and context:
        raise UsageError("--name and --context both name an entry; give one of them")
    result = check_entry(context or adopted_context(name) or f"kind-{chosen_cluster(name)}")
    if json:
        emit(result.data())
        if result.error:
            sys.exit(result.error.exit_code)
        return
    for notice in result.notices:
        note(notice)
    if result.error:
        raise result.error
    entry = result.entry
    tls = f" (TLS name {entry.tls_server_name})" if entry.tls_server_name else ""
    say(f"{entry.context}: {entry.server}{tls} proved in {result.proof.seconds:.2f} s")


@task
def export(
    for_: Annotated[str, "the place: host, container, ci (a job's container), network (on kind's network), any"],
    output: Annotated[str, "the file to write (default: below the state directory); Git must ignore it"] = "",
    token: Annotated[bool, "log in with a short-lived token instead of the administrator's key"] = False,
    hours: Annotated[int, "hours until the token expires; the server may allow fewer"] = 1,
    role: Annotated[str, "the cluster role of the token"] = "cluster-admin",
    name: ClusterName = "",
    server: Annotated[str, "use this address instead: https://HOST:PORT"] = "",
    proof: Annotated[bool, "prove it in that zone first; --no-proof skips that"] = True,
) -> None:
    """Write a kubeconfig for another place (--for), proved there by kubectl in a throw-away container.

    host: the published port. container: host.docker.internal, verified as localhost. ci: an IP address.
    network: the node itself, for containers on kind's network. any: one file with a context for each of them, and a
    picker that points kind-NAME at the one that works from where it runs.
    The file is minimal, only you can read it (0600), and everything is inline. The first line of the output is its
    path; the others say where it works and where not. Exit code 5: it would not work there; nothing is written.
    """
    from threezone.zones.export.export import ExportOptions
    from threezone.zones.export.export import export as write

    cluster = chosen_cluster(name)
    address, _ = given(server, "") or ("", "")
    written = write(ExportOptions(cluster, for_, output, token, hours, role, address, proof))
    say("\n".join([str(written.path), *written.sentences]), output)


@task
def pick(
    file: Annotated[str, "the export to change (default: the one that kubeconfig.export --for any writes)"] = "",
    name: ClusterName = "",
) -> None:
    """Point kind-NAME of a file for any place (kubeconfig.export --for any) at the route that works from here.

    Every route in the file is proved at once; TLS is always verified. Exit code 5: none works; the file stays.
    """
    from threezone.zones.export import path as export_path
    from threezone.zones.export import picker
    from threezone.zones.locate import locate

    path = Path(file) if file else export_path.default(chosen_cluster(name), "any")
    picked = picker.pick(path.absolute(), locate())
    changed = "" if picked.written else ", as before"
    say(f"{picked.context} goes through {picked.way} ({picked.server}), proved in {picked.seconds:.2f} s{changed}")


@task
def remove(name: ClusterName = "") -> None:
    """Remove the cluster's entry from your kubeconfig, with its tunnel; the previous context becomes current again.

    No engine is needed, and the cluster may be gone. Other entries, and what they share with this one, stay.
    """
    from threezone.kubeconfig import document, store
    from threezone.zones.connect import disconnect
    from threezone.zones.kubeconfig_entry import find

    cluster = chosen_cluster(name)
    known = find(f"kind-{cluster}") is not None
    if not disconnect(cluster):
        say(f"there is no entry for the cluster {cluster}")
        return
    context = document.current_context(store.read().document) or "not set"
    removed = f"removed the entry kind-{cluster}" if known else f"removed what was left of the route to {cluster}"
    say(f"{removed}; the current context is {context}")
