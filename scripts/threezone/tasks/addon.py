"""addon.*: what stands beside the workloads: a login, a proxy, a dashboard, an ingress, the GitLab agent."""

from __future__ import annotations

from invoke import Context

from threezone.tasks.edge import emit, say, task
from threezone.tasks.lab import CONTEXT, NAME, YES, ask, session


@task(
    help={
        "role": "the cluster role that the token has (default: view, which reads everything but Secrets)",
        "account": "instead of a role: a service account that is there, NAMESPACE/NAME, such as headlamp/viewer",
        "hours": "how long it lasts; the server may allow less",
        "output": "the file to write (default: below tokens/ in the project); never one that git would pick up",
        "remove": "end every token of a role now, and remove the files",
        "yes": YES,
        "name": NAME,
        "context": CONTEXT,
    }
)
def token(  # noqa: PLR0917  every option of a task is a parameter
    c: Context,
    role: str = "",
    account: str = "",
    hours: int = 1,
    output: str = "",
    remove: bool = False,
    yes: bool = False,
    name: str = "",
    context: str = "",
) -> None:
    """Write a short-lived token into a file for your eyes only (0600), to log in to a dashboard or for a script.

    It is printed nowhere; its path is the first line. A role's token is of a service account of ours in kube-system,
    --account takes an account of yours. To paste it into a page: xclip < FILE, or pbcopy < FILE.
    """
    from threezone.lab import token as room

    at = session(name, context=context)
    if remove:
        gone = room.remove(at.api, at.lab)
        say("\n".join(f"removed {each}" for each in gone) or "nothing to do")
        return
    if not account:
        ask(at, "a service account of ours with that role, in kube-system", yes=yes)
    made = room.write(at.api, at.lab, role=role, account=account, hours=hours, output=output)
    say(f"{made.path}\na token of {made.account}, until {made.ends}")


@task(
    help={
        "action": "start, stop or status",
        "port": "the port on 127.0.0.1 (default: 8001, or a free one)",
        "read-only": "let nothing through that changes anything",
        "json": "print the proxy as JSON",
        "name": NAME,
        "context": CONTEXT,
    }
)
def proxy(  # noqa: PLR0917  every option of a task is a parameter
    c: Context,
    action: str,
    port: int = 0,
    read_only: bool = False,
    json: bool = False,
    name: str = "",
    context: str = "",
) -> None:
    """Run kubectl proxy in the background: the cluster's API on a port of 127.0.0.1, one for each cluster.

    addon.proxy start, addon.proxy stop, addon.proxy status. Every program of this machine that opens the port has the
    API with your entry's rights, without a login: stop it when you are done, or start it --read-only. Pods are neither
    entered nor attached to through it (kubectl's own default). down stops it, too. Exit code 5: none runs, or nothing
    answers through it.
    """
    from threezone.errors import RouteError, UsageError
    from threezone.lab import proxy as room

    if action not in ("start", "stop", "status"):
        raise UsageError(f"addon.proxy {action}: expected start, stop or status")
    at = session(name, context=context)
    if action == "stop":
        stopped = room.stop(at.lab.context)
        if json:
            emit({"running": False, "stopped": stopped})
        else:
            say(f"the proxy to {at.lab.context} is stopped" if stopped else "nothing to do: no proxy runs")
        return
    if action == "start":
        found = room.start(at.tools["kubectl"], at.lab.context, port=port, read_only=read_only)
    else:
        seen = room.find(at.lab.context)
        if seen is None:
            if json:
                emit({"running": False})
            raise RouteError(f"no proxy to {at.lab.context} runs here", fix="./run invoke addon.proxy start")
        found = seen
    data = found.data()
    if json:
        emit(data)
    else:
        say(f"{found.url} is the API of {found.context}" + (", to read only" if found.read_only else ""))
    if not data["answers"]:
        raise RouteError(
            f"the API server of {found.context} does not answer through the proxy at {found.url}",
            fix="./run invoke kubeconfig.check, then addon.proxy start",
        )
