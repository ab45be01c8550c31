"""kubeconfig.*: the entry that kubectl, flux and helm use, with a route that was proved from where you stand."""

from __future__ import annotations

from invoke import Context

from threezone.tasks.lab import NAME
from threezone.tasks.runtime import as_started, emit, say, table, task


def chosen_cluster(name: str) -> str:
    """The cluster of kind's that an option names, else the one that the settings name.

    Raises UsageError for a bad name, ClusterError where another cluster is adopted and no name is given.
    """
    from threezone.core import names, settings
    from threezone.lab.external_cluster import record

    if not name:
        record.refuse(settings.find_root())
    return names.cluster(name or settings.load(settings.find_root()).cluster.name)


def adopted_context(name: str) -> str:
    """The adopted context, where no cluster is named; "" when there is none."""
    from threezone.core import settings
    from threezone.lab.external_cluster import record

    return "" if name else record.context(settings.find_root())


@task(
    help={
        "name": NAME,
        "server": "try this address alone instead of looking for one: https://HOST:PORT",
        "tls-server-name": "the name in the server's certificate, if not the address's host (kind's has localhost)",
        "break-lock": "remove the lock that a killed kubectl left on your kubeconfig, and go on",
        "if-running": "for a container's start: a cluster that is not there, or stopped, is told and is no failure",
    }
)
def connect(
    c: Context,
    *,
    name: str = "",
    server: str = "",
    tls_server_name: str = "",
    break_lock: bool = False,
    if_running: bool = False,
) -> None:
    """Prove a way to the cluster's API from here and write it into your kubeconfig; the same command repairs an entry.

    From the host that is the published port on 127.0.0.1; from a container with the engine's socket it is kind's
    network, which the container then joins; to an engine on another machine it is a tunnel. Without an engine the way
    in your own entry is repaired. The certificate is verified on every way. Other entries stay untouched.
    Exit code 4: the cluster is gone or stopped (0 with --if-running). 5: no way is proved; every way that was tried is
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
    if held := adopted_context(name):
        _reconnect(held, by_hand)
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
            told = f"nothing to connect to: {error.message}\nbring it up: {error.fix}"
        else:
            running.result = f"{connected.server} in {connected.seconds:.2f} s"
            told = connected.sentence
    say(as_started(told))


def _reconnect(context: str, by_hand: tuple[str, str] | None) -> None:
    """The adopted cluster's way, proved again; its yes was given when it was adopted."""
    from threezone.core.events import step
    from threezone.core.settings import find_root
    from threezone.lab.external_cluster import adopt

    root = find_root()
    with step(f"prove a way to the cluster of the context {context}") as running:
        found = adopt.observe(adopt.entry_of(context), by_hand)
        actions = adopt.plan(root, found)
        done = adopt.apply(root, found, actions)
        running.result = done.sentence
    say(f"{done.sentence}; context {context} {'written' if actions else 'unchanged'}")


def given(server: str, tls_server_name: str) -> tuple[str, str] | None:
    """The way that options name, or None. Raises UsageError for what is no https address, or a name without one."""
    from urllib.parse import urlsplit

    from threezone.core.errors import UsageError

    if not server:
        if tls_server_name:
            raise UsageError("--tls-server-name belongs to an address", fix="add --server https://HOST:PORT")
        return None
    try:
        parts = urlsplit(server)
        good = parts.scheme == "https" and bool(parts.hostname) and parts.port != 0 and "@" not in parts.netloc
    except ValueError:  # a port that is no number, half an IPv6 address
        good = False
    if not good or parts.query or parts.fragment:
        raise UsageError("what --server names is no https address", fix="--server https://HOST:PORT")
    return server.rstrip("/"), tls_server_name


@task(help={"name": NAME, "json": "print the entry as JSON, without keys"})
def show(c: Context, name: str = "", json: bool = False) -> None:
    """Show the cluster's entry in your kubeconfig: address, TLS name, CA fingerprint, kind of login; never a key."""
    from threezone.core.errors import UsageError
    from threezone.zones.kubeconfig_entry import find

    held = adopted_context(name)
    cluster = held or chosen_cluster(name)
    entry = find(held or f"kind-{cluster}")
    if entry is None:
        raise UsageError(
            f"your kubeconfig has no entry for the cluster {cluster}",
            fix="kubectl config get-contexts" if held else f"./run invoke kubeconfig.connect --name {cluster}",
        )
    seen = entry.data()
    if json:
        emit(seen)
    else:
        say(table([[key, str(value if value is not None else "-")] for key, value in seen.items()]))


@task(
    help={
        "name": NAME,
        "context": "any context of your kubeconfig, instead of a cluster's: a managed cluster's too",
        "json": "print state, stages and notices as JSON",
    }
)
def check(c: Context, name: str = "", context: str = "", json: bool = False) -> None:
    """Prove the entry in your kubeconfig exactly as it stands; nothing is changed, and no other way is tried.

    Exit code 0: kubectl can work with it. 2: no such entry, or a file that kubectl cannot read. 4: the cluster is gone,
    stopped, or another one now (made anew: another CA). 5: the way does not lead there from here; the failed stage is
    explained. Notices name what is worth knowing all the same: a file that others may read, a lock, a proxy, a
    certificate that ends soon. A credential plugin is not run to look.
    """
    import sys

    from threezone.core.errors import UsageError
    from threezone.core.events import note
    from threezone.zones.check import check as prove_entry

    if name and context:
        raise UsageError("--name and --context both name an entry; give one of them")
    found = prove_entry(context or adopted_context(name) or f"kind-{chosen_cluster(name)}")
    if json:
        emit(found.data())
        if found.error:
            sys.exit(found.error.exit_code)
        return
    for notice in found.notices:
        note(notice)
    if found.error:
        raise found.error
    tls = f" (TLS name {found.entry.tls_server_name})" if found.entry.tls_server_name else ""
    say(f"{found.entry.context}: {found.entry.server}{tls} proved in {found.proof.seconds:.2f} s")


@task(
    help={
        "for": "the place: host, container, ci (a job's container), network (a container on kind's network), any",
        "output": "the file to write (default: below the state directory); never one that git would pick up",
        "token": "log in with a short-lived token instead of the administrator's key",
        "hours": "how long the token lasts; the server may allow less",
        "role": "the cluster role that the token has",
        "name": NAME,
        "server": "offer this address instead: https://HOST:PORT",
        "proof": "prove it in that zone first; --no-proof writes it unproved",
    }
)
def export(  # noqa: PLR0917  every option of a task is a parameter
    c: Context,
    for_: str,
    output: str = "",
    token: bool = False,
    hours: int = 1,
    role: str = "cluster-admin",
    name: str = "",
    server: str = "",
    proof: bool = True,
) -> None:
    """Write a kubeconfig for another place (--for), proved there by kubectl in a throw-away container.

    host: the published port. container: host.docker.internal, verified as localhost. ci: an address that needs no name.
    network: the node itself, for containers on kind's network. any: one file with a context for each of them, and a
    picker that points kind-NAME at the one that leads to the cluster from where it runs.
    The file is minimal, for your eyes only (0600), and holds everything inline. Its path is the first line that is
    printed; the others say where it works and where not. Exit code 5: it would not work there; nothing is written.
    """
    from threezone.zones.export.export import ExportOptions
    from threezone.zones.export.export import export as write

    cluster = chosen_cluster(name)
    by_hand, _ = given(server, "") or ("", "")
    written = write(ExportOptions(cluster, for_, output, token, hours, role, by_hand, proof))
    say("\n".join([str(written.path), *written.sentences]), output)


@task(help={"file": "the export to change (default: the one that kubeconfig.export --for any writes)", "name": NAME})
def pick(c: Context, file: str = "", name: str = "") -> None:
    """Point kind-NAME of a file for any place (kubeconfig.export --for any) at the way that leads there from here.

    Every way in the file is proved at once; TLS is verified on each. Exit code 5: none leads there; the file stays.
    """
    from pathlib import Path

    from threezone.zones.export import path as place
    from threezone.zones.export import picker
    from threezone.zones.locate import locate

    path = Path(file) if file else place.default(chosen_cluster(name), "any")
    picked = picker.pick(path.absolute(), locate())
    changed = "" if picked.written else ", as before"
    say(f"{picked.context} goes through {picked.way} ({picked.server}), proved in {picked.seconds:.2f} s{changed}")


@task(help={"name": NAME})
def remove(c: Context, name: str = "") -> None:
    """Remove the cluster's entry from your kubeconfig, with its tunnel; the context of before is the current one again.

    The cluster may be long gone: no engine is needed. Other entries, and what they share with this one, stay.
    """
    from threezone.kubeconfig import document, store
    from threezone.zones.connect import disconnect
    from threezone.zones.kubeconfig_entry import find

    cluster = chosen_cluster(name)
    known = find(f"kind-{cluster}") is not None
    changed = disconnect(cluster)
    if not changed:
        say(f"there is no entry for the cluster {cluster}")
        return
    now = document.current_context(store.read().document)
    what = f"removed the entry kind-{cluster}" if known else f"removed what was left of the way to {cluster}"
    say(f"{what}; the current context is {now or 'not set'}")
