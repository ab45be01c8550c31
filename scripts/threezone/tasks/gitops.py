"""gitops.*: a commit, and what Flux makes of it."""

from __future__ import annotations

from invoke import Context

from threezone.tasks.edge import say, task
from threezone.tasks.lab import CHANNEL, NAME, session


@task(help={"name": NAME, "channel": CHANNEL})
def serve(c: Context, name: str = "", channel: str = "") -> None:
    """Serve Git inside the cluster: Flux reads without a password, pushing needs a generated one."""
    from threezone.gitops import server
    from threezone.lab import steps

    at = session(name, channel)
    steps.serve(at)
    say(f"{server.url(at.lab.settings.gitops.repository)} serves; password: {server.password_file(at.lab.name)}")


@task(help={"name": NAME, "force": "replace what the lab's branch holds by your commit"})
def push(c: Context, name: str = "", force: bool = False) -> None:
    """Deliver HEAD: push it to the lab's Git server and wait until Flux has applied exactly that commit."""
    from threezone.lab import steps

    at = session(name)
    revision = steps.deliver(at, force=force)
    say(f"applied {revision}")
