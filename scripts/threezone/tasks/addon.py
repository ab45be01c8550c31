"""addon.*: what stands beside the workloads: a login, a proxy, a dashboard, an ingress, the GitLab agent."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from invoke import Context

from threezone.tasks.lab import CHANNEL, CONTEXT, NAME, YES, ask, open_lab
from threezone.tasks.runtime import as_started, emit, say, task

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


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
    from threezone.extras.addons import token as room

    lab = open_lab(name, context=context)
    if remove:
        gone = room.remove(lab.api, lab)
        say("\n".join(f"removed {each}" for each in gone) or "nothing to do")
        return
    if not account:
        ask(lab, "a service account of ours with that role, in kube-system", yes=yes)
    made = room.write(lab.api, lab, role=role, account=account, hours=hours, output=output)
    say(f"{made.path}\na token of {made.account}, until {made.ends}", output)


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
    from threezone.core.errors import RouteError, UsageError
    from threezone.extras.addons import proxy as room

    if action not in ("start", "stop", "status"):
        raise UsageError(f"addon.proxy {action}: expected start, stop or status")
    lab = open_lab(name, context=context)
    if action == "stop":
        stopped = room.stop(lab.context)
        if json:
            emit({"running": False, "stopped": stopped})
        else:
            say(f"the proxy to {lab.context} is stopped" if stopped else "nothing to do: no proxy runs")
        return
    if action == "start":
        found = room.start(lab.tools["kubectl"], lab.context, port=port, read_only=read_only)
    else:
        seen = room.find(lab.context)
        if seen is None:
            if json:
                emit({"running": False})
            raise RouteError(f"no proxy to {lab.context} runs here", fix="./run invoke addon.proxy start")
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


_ADDON = {
    "check": "have the API server check the manifests, and change nothing",
    "remove": "take it out again; the next commit removes it from the cluster",
    "name": NAME,
    "channel": CHANNEL,
    "context": CONTEXT,
}


@task(help={**_ADDON, "admin": "with an account that may do everything, headlamp/admin, beside the one that looks"})
def dashboard(  # noqa: PLR0917  every option of a task is a parameter
    c: Context,
    admin: bool = False,
    check: bool = False,
    remove: bool = False,
    name: str = "",
    channel: str = "",
    context: str = "",
) -> None:
    """Declare Headlamp, the Kubernetes Dashboard's successor, for the next commit: local/gitops/addons/dashboard.

    The API server checks its manifests first. Log in with a token: addon.token --account headlamp/viewer, who sees
    everything but Secrets and changes nothing. Headlamp itself has no rights. Exit code 7: the image cannot be had by
    this channel; it is named, and nothing is declared.
    """
    from threezone.extras.addons import declare as room

    lab = open_lab(name, channel, context)
    if remove:
        _withdrawn("dashboard", changed=room.withdraw(lab, "dashboard"))
        return
    home = room.directory(lab, "dashboard")
    paths = [home, home / "admin"] if admin else [home]
    account = "admin" if admin else "viewer"
    if _offer(lab, "dashboard", paths, check=check):
        say(
            f"then: ./run invoke addon.token --account headlamp/{account}\n"
            f"and: kubectl --context {lab.context} --namespace headlamp port-forward service/headlamp 4466:80"
        )


@task(help=_ADDON)
def ingress(  # noqa: PLR0917  every option of a task is a parameter
    c: Context, check: bool = False, remove: bool = False, name: str = "", channel: str = "", context: str = ""
) -> None:
    """Declare a Gateway API controller (Traefik) for the next commit: local/gitops/addons/ingress.

    The Gateway API's own definitions are written beside it, from their published module. Routes name the Gateway
    ingress/ingress (an example: local/gitops/addons/ingress/hello). It serves on node port 30080, which
    --port 8080:30080 publishes. Exit code 7: the image cannot be had by this channel; it is named, nothing is declared.
    """
    from threezone.extras.addons import declare as room

    lab = open_lab(name, channel, context)
    if remove:
        _withdrawn("ingress", changed=room.withdraw(lab, "ingress"))
        return
    home = room.directory(lab, "ingress")
    room.definitions(lab)
    if _offer(lab, "ingress", [home], check=check):
        say("then, where node port 30080 is published as 8080: curl http://localhost:8080/")


@task(
    help={
        **_ADDON,
        "token-file": "the file with the token that GitLab gave for this agent; it goes into a Secret, nowhere else",
        "yes": YES,
    }
)
def agent(  # noqa: PLR0917  every option of a task is a parameter
    c: Context,
    token_file: str = "",
    check: bool = False,
    remove: bool = False,
    yes: bool = False,
    name: str = "",
    channel: str = "",
    context: str = "",
) -> None:
    """Declare the GitLab agent for the next commit (local/gitops/addons/agent), and bring its token into the cluster.

    A HelmRelease of GitLab's own chart, at a full version, whose pipelines may look and no more; the address of your
    GitLab's agent server stands in release.yaml. Exit code 7: the chart cannot be had by this channel.
    """
    from pathlib import Path

    from threezone.core.errors import UsageError
    from threezone.extras.addons import declare as room

    lab = open_lab(name, channel, context)
    if remove:
        ask(lab, "the agent's token is removed", yes=yes)
        forgotten = room.forget_agent(lab.api)
        _withdrawn("agent", changed=room.withdraw(lab, "agent") or forgotten)
        return
    if not (check or token_file):
        raise UsageError(
            "the agent needs the token that GitLab shows when the agent is registered",
            fix="write it into a file that only you can read, and add --token-file FILE",
        )
    home = room.directory(lab, "agent")
    if token_file and not check:
        ask(lab, "a namespace and a Secret for the GitLab agent", yes=yes)
        room.agent_token(lab.api, Path(token_file))
        say(f"the token is in the Secret {room.AGENT}/{room.SECRET}")
    _offer(lab, "agent", [home], check=check)


def _offer(lab: Any, name: str, paths: Sequence[Path], *, check: bool) -> bool:
    """Check an add-on's manifests by the API server, then declare it; True when that changed something."""
    from threezone.extras.addons import declare as room

    objects = [each for path in paths for each in room.rendered(lab, path)]
    seen = room.check(lab, objects)
    if seen.unknown:
        say(f"not checked, for their kinds come with the same commit: {', '.join(seen.unknown)}")
    if check:
        say("\n".join(f"taken: {each}" for each in seen.accepted))
    room.require(room.lacking(lab, objects), name)
    if check:
        return False
    if not room.declare(lab, paths):
        say(f"{name} is declared; nothing to do")
        return False
    file = room.file(lab).relative_to(lab.root)
    say(
        as_started(
            f"{name} is declared in {file}; deliver it:\n"
            f"git add local/gitops && git commit --message 'Add {name}' && ./run invoke gitops.push"
        )
    )
    return True


def _withdrawn(name: str, *, changed: bool) -> None:
    say(
        as_started(f"{name} is taken out; commit that, and ./run invoke gitops.push removes it")
        if changed
        else f"{name} is not declared; nothing to do"
    )
