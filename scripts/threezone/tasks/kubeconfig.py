"""kubeconfig.*: the entry that kubectl, flux and helm use, with a route that was proved from where you stand."""

from __future__ import annotations

from invoke import Context

from threezone.tasks.edge import emit, say, table, task
from threezone.tasks.lab import NAME


def chosen_cluster(name: str) -> str:
    """The cluster that an option names, else the one that the settings name. Raises UsageError for a bad name."""
    from threezone import settings

    return settings.cluster_name(name or settings.load(settings.find_root()).cluster.name)


@task(help={"name": NAME})
def connect(c: Context, name: str = "") -> None:
    """Prove a way to the cluster's API from here and write it into your kubeconfig; the same command repairs an entry.

    From the host that is the published port on 127.0.0.1; from a container with the engine's socket it is kind's
    network, which the container then joins. The certificate is verified on every way. Other entries stay untouched.
    """
    from threezone.cluster import kind
    from threezone.events import step
    from threezone.zones.connect import connect as prove_and_write

    cluster = chosen_cluster(name)
    with step(f"prove a route to the cluster {cluster}") as running:
        connected = prove_and_write(cluster, kind.kubeconfig(cluster))
        running.result = f"{connected.server} in {connected.seconds:.2f} s"
    say(connected.sentence)


@task(help={"name": NAME, "json": "print the entry as JSON, without keys"})
def show(c: Context, name: str = "", json: bool = False) -> None:
    """Show the cluster's entry in your kubeconfig: address, TLS name, CA fingerprint, kind of login; never a key."""
    from threezone.errors import UsageError
    from threezone.zones.connect import current, describe

    cluster = chosen_cluster(name)
    entry = current(cluster)
    if entry is None:
        raise UsageError(
            f"your kubeconfig has no entry for the cluster {cluster}",
            fix=f"./run invoke kubeconfig.connect --name {cluster}",
        )
    seen = describe(entry)
    if json:
        emit(seen)
    else:
        say(table([[key, str(value if value is not None else "-")] for key, value in seen.items()]))
