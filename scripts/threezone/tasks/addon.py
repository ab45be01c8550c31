"""addon.*: optional parts of a lab: tokens, a proxy, a dashboard, an ingress, the GitLab agent."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from threezone.tasks.options import Channel, ClusterName, ContextName, Json, Yes, open_lab
from threezone.tasks.runtime import ask, emit, present, say, task

if TYPE_CHECKING:
    from threezone.cluster.lab import Lab

Check = Annotated[bool, "only have the API server check the manifests"]
Remove = Annotated[bool, "remove its declaration; the next commit removes it from the cluster"]


@task
def token(
    role: Annotated[str, "the cluster role of the token (default: view, which reads everything but Secrets)"] = "",
    account: Annotated[str, "a service account instead of a role: NAMESPACE/NAME, such as headlamp/viewer"] = "",
    hours: Annotated[int, "hours until it expires; the server may allow fewer"] = 1,
    output: Annotated[str, "the file to write, which Git must ignore (default: below tokens/ in the project)"] = "",
    remove: Annotated[bool, "revoke every token of a role now, and remove the files"] = False,
    yes: Yes = False,
    name: ClusterName = "",
    context: ContextName = "",
) -> None:
    """Write a short-lived token into a file that only you can read (0600), for a dashboard or a script.

    It is never printed; the first line is the file's path. A role's token belongs to a service account that
    threezone creates in kube-system; --account uses one of yours.
    To paste it into a page: xclip < FILE, or pbcopy < FILE.
    """
    from threezone.extras.addons import token as tokens

    lab = open_lab(name, context=context)
    if remove:
        removed = tokens.remove(lab.api, lab)
        say("\n".join(f"removed {name}" for name in removed) or "nothing to do")
        return
    if not account:
        ask(lab, "a service account of ours with that role, in kube-system", yes=yes)
    written = tokens.write(lab.api, lab, role=role, account=account, hours=hours, output=output)
    say(f"{written.path}\na token of {written.account}, until {written.ends}", output)


@task
def proxy(
    action: Annotated[str, "start, stop or status"],
    port: Annotated[int, "the port on 127.0.0.1 (default: 8001, or a free one)"] = 0,
    json: Json = False,
    yes: Yes = False,
    name: ClusterName = "",
    context: ContextName = "",
) -> None:
    """Run kubectl proxy in the background: the cluster's API on a port of 127.0.0.1, one for each cluster.

    addon.proxy start, addon.proxy stop, addon.proxy status. Every program and user of this machine can use the
    port without a login, so it does not have your rights: it has a token of the role view for a day, and refuses
    changes, Secrets, programs in pods, and servers behind the API. For more, use kubectl. down stops it too.
    Exit code 5: no proxy runs, or the API server does not answer through it.
    """
    from threezone.core.errors import RouteError, UsageError
    from threezone.extras.addons import proxy as proxies

    if action not in ("start", "stop", "status"):
        raise UsageError(f"addon.proxy {action}: expected start, stop or status")
    lab = open_lab(name, context=context)
    if action == "stop":
        stopped = proxies.stop(lab.context)
        text = f"the proxy to {lab.context} is stopped" if stopped else "nothing to do: no proxy runs"
        present({"running": False, "stopped": stopped}, text, as_json=json)
        return
    if action == "start":
        from threezone.zones.export import tokens

        ask(lab, "a service account of ours with the role view, in kube-system", yes=yes)
        running = proxies.start(
            lab.tools["kubectl"],
            lab.context,
            lambda: tokens.request(lab.api, proxies.ROLE, proxies.HOURS),
            port=port,
        )
    elif (existing := proxies.find(lab.context)) is not None:
        running = existing
    else:
        if json:
            emit({"running": False})
        raise RouteError(f"no proxy to {lab.context} runs here", fix="./run invoke addon.proxy start")
    data = running.data()
    text = f"{running.url} serves the API of {running.context}, to read, until {running.ends}"
    present(data, text, as_json=json)
    if not data["answers"]:
        raise RouteError(
            f"the API server of {running.context} does not answer through the proxy at {running.url}",
            fix="./run invoke kubeconfig.check, then addon.proxy start",
        )


@task
def dashboard(
    admin: Annotated[bool, "also declare headlamp/admin, an account that may do everything"] = False,
    check: Check = False,
    remove: Remove = False,
    name: ClusterName = "",
    channel: Channel = "",
    context: ContextName = "",
) -> None:
    """Declare Headlamp, the Kubernetes Dashboard's successor, for the next commit: local/gitops/addons/dashboard.

    The API server checks its manifests first. Log in with a token: addon.token --account headlamp/viewer, which may
    read everything but Secrets and change nothing. Headlamp itself has no rights. Exit code 7: the image is not
    available in this channel; nothing is declared.
    """
    from threezone.extras.addons import declare

    lab = open_lab(name, channel, context)
    if remove:
        _say_removed("dashboard", changed=declare.withdraw(lab, "dashboard"))
        return
    directory = declare.directory(lab, "dashboard")
    account = "admin" if admin else "viewer"
    if _declare(lab, "dashboard", [directory, directory / "admin"] if admin else [directory], check=check):
        say(
            f"then: ./run invoke addon.token --account headlamp/{account}\n"
            f"and: kubectl --context {lab.context} --namespace headlamp port-forward service/headlamp 4466:80"
        )


@task
def ingress(
    check: Check = False,
    remove: Remove = False,
    name: ClusterName = "",
    channel: Channel = "",
    context: ContextName = "",
) -> None:
    """Declare a Gateway API controller (Traefik) for the next commit: local/gitops/addons/ingress.

    The Gateway API's own definitions are written beside it from the published module. Routes name the Gateway
    ingress/ingress (an example: local/gitops/addons/ingress/hello). It serves on node port 30080, which
    --port 8080:30080 publishes. Exit code 7: the image is not available in this channel; nothing is declared.
    """
    from threezone.extras.addons import declare

    lab = open_lab(name, channel, context)
    if remove:
        _say_removed("ingress", changed=declare.withdraw(lab, "ingress"))
        return
    directory = declare.directory(lab, "ingress")
    _ = lab.api  # without a cluster nothing is written
    declare.definitions(lab)
    if _declare(lab, "ingress", [directory], check=check):
        say("then, where node port 30080 is published as 8080: curl http://localhost:8080/")


@task
def agent(
    token_file: Annotated[str, "the file with the agent's token from GitLab; it goes into a Secret only"] = "",
    check: Check = False,
    remove: Remove = False,
    yes: Yes = False,
    name: ClusterName = "",
    channel: Channel = "",
    context: ContextName = "",
) -> None:
    """Declare the GitLab agent for the next commit (local/gitops/addons/agent), and put its token into the cluster.

    A HelmRelease of GitLab's own chart, at a full version, with read-only rights for pipelines; the address of your
    GitLab's agent server is in release.yaml. Exit code 7: the chart is not available in this channel.
    """
    from threezone.core.errors import UsageError
    from threezone.extras.addons import declare

    lab = open_lab(name, channel, context)
    if remove:
        ask(lab, "remove the agent's token", yes=yes)
        forgotten = declare.forget_agent(lab.api)
        _say_removed("agent", changed=declare.withdraw(lab, "agent") or forgotten)
        return
    if not (check or token_file):
        raise UsageError(
            "the agent needs the token that GitLab shows when the agent is registered",
            fix="write it into a file that only you can read, and add --token-file FILE",
        )
    directory = declare.directory(lab, "agent")
    if token_file and not check:
        ask(lab, "a namespace and a Secret for the GitLab agent", yes=yes)
        declare.agent_token(lab.api, Path(token_file))
        say(f"the token is in the Secret {declare.AGENT}/{declare.SECRET}")
    _declare(lab, "agent", [directory], check=check)


def _declare(lab: "Lab", name: str, paths: Sequence[Path], *, check: bool) -> bool:
    """Have the API server check an add-on's manifests, then declare it. Returns whether that changed a file."""
    from threezone.extras.addons import declare

    objects = [item for path in paths for item in declare.rendered(lab, path)]
    result = declare.check(lab, objects)
    if result.unknown:
        say(f"not checked, because the same commit brings their kinds: {', '.join(result.unknown)}")
    if check:
        say("\n".join(f"accepted: {item}" for item in result.accepted))
    declare.require(declare.unavailable(lab, objects), name)
    if check:
        return False
    if not declare.declare(lab, paths):
        say(f"{name} is declared; nothing to do")
        return False
    file = declare.file(lab).relative_to(lab.root)
    say(
        f"{name} is declared in {file}; deliver it:\n"
        f"git add local/gitops && git commit --message 'Add {name}' && ./run invoke gitops.push"
    )
    return True


def _say_removed(name: str, *, changed: bool) -> None:
    if changed:
        say(f"{name} is no longer declared; commit that, and ./run invoke gitops.push removes it from the cluster")
    else:
        say(f"{name} is not declared; nothing to do")
