"""gitops.*: a commit, and what Flux makes of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from invoke import Context

from threezone.tasks.lab import CHANNEL, CONTEXT, NAME, YES, ask, open_lab
from threezone.tasks.runtime import consent, emit, say, table, task


@task(
    help={
        "repository": "one more repository (default: threezone.delivery.repository in invoke.yaml); none is taken away",
        "forward": "keep it open on a loopback port of this machine, through whatever restarts",
        "port": "that port (default: 8418, or a free one)",
        "stop-forward": "end that, and do nothing else",
        "image": "the Git server's image, where the cluster has to pull it from a registry",
        "remove": "remove the Git server with all its repositories and what was delivered from it",
        "yes": YES,
        "name": NAME,
        "channel": CHANNEL,
        "context": CONTEXT,
    }
)
def serve(  # noqa: PLR0917  every option of a task is a parameter
    c: Context,
    repository: str = "",
    forward: bool = False,
    port: int = 0,
    stop_forward: bool = False,
    image: str = "",
    remove: bool = False,
    yes: bool = False,
    name: str = "",
    channel: str = "",
    context: str = "",
) -> None:
    """Serve Git inside the cluster: Flux reads without a password, pushing needs a generated one."""
    from threezone.delivery import git_forward, git_server, serve

    lab = open_lab(name, channel, context)
    if stop_forward:
        say("the forward is closed" if git_forward.close(lab.context) else "there is no forward")
        return
    if remove:
        consent(serve.plan_remove(lab), yes=yes)
        say("the Git server is gone" if serve.remove(lab) else "there is no Git server of threezone")
        return
    ask(lab, f"the Git server, in the namespace {git_server.NAMESPACE}", yes=yes)
    repositories = serve.serve(lab, repository, image)
    password = git_server.password_file(lab.key)
    say("\n".join(f"{git_server.url(each)} serves" for each in repositories) + f"; password: {password}")
    if forward or port:
        opened = git_forward.open_forward(lab, port=port)
        say("\n".join(f"git clone {opened.url(each)}" for each in repositories))
        say(f"to push, tell git where the password is:\n{opened.helper(password)}")


@task(
    help={
        "name": NAME,
        "force": "replace what the lab's branch holds by your commit",
        "yes": YES,
        "context": CONTEXT,
    }
)
def push(c: Context, name: str = "", force: bool = False, yes: bool = False, context: str = "") -> None:
    """Deliver HEAD: push it to the lab's Git server and wait until Flux has applied exactly that commit."""
    from threezone.delivery import push as deliver

    lab = open_lab(name, context=context)
    ask(lab, "what the commit says, delivered by Flux", yes=yes)
    revision = deliver.deliver(lab, force=force)
    say(f"applied {revision}")


@task(
    help={
        "revision": "what to wait for: a full or short SHA, main@sha1:…, or a name such as HEAD",
        "kustomization": "Flux's Kustomization, as NAME or NAMESPACE/NAME (default: the lab's)",
        "timeout": "seconds (default: threezone.gitops.timeout in invoke.yaml)",
        "name": NAME,
        "context": CONTEXT,
    }
)
def wait(  # noqa: PLR0917  every option of a task is a parameter
    c: Context, revision: str, kustomization: str = "", timeout: int = 0, name: str = "", context: str = ""
) -> None:
    """Wait until exactly that revision is applied and all that it brings is ready, or tell why it cannot be. Exit 6."""
    from threezone.delivery import wait as delivery_wait

    say(f"applied {delivery_wait.wait(open_lab(name, context=context), revision, kustomization, float(timeout))}")


@task(
    help={
        "phases": "only these and what they stand on, such as create,update (default: all seven)",
        "keep": "leave everything for a look",
        "remove": "remove the kept proof of this id, and run none",
        "timeout": "seconds for each phase (default: threezone.gitops.timeout in invoke.yaml)",
        "json": "print the evidence as JSON",
        "junit": "write the evidence as JUnit XML to this file",
        "report": "write the evidence as one HTML page to this file",
        "yes": YES,
        "name": NAME,
        "context": CONTEXT,
    }
)
def prove(  # noqa: PLR0917  every option of a task is a parameter
    c: Context,
    phases: str = "",
    keep: bool = False,
    remove: str = "",
    timeout: int = 0,
    json: bool = False,
    junit: str = "",
    report: str = "",
    yes: bool = False,
    name: str = "",
    context: str = "",
) -> None:
    """Prove that a commit alone creates, updates and destroys a workload, with evidence. Cleans up. Exit 6 when not."""
    from pathlib import Path

    from threezone.core.errors import UsageError
    from threezone.delivery.proof import prove as room

    lab = open_lab(name, context=context)
    for file in filter(None, (junit, report)):  # told before a minute of work, not after it
        if not Path(file).absolute().parent.is_dir():
            raise UsageError(f"{file} cannot be written: its directory is not there", fix="name another file")
    if remove:
        room.remove(lab, remove)
        say(f"removed {remove}")
        return
    ask(lab, "a namespace and objects of Flux for the proof, all removed at its end", yes=yes)
    asked = [word.strip() for word in phases.split(",") if word.strip()]
    proved = room.prove(lab, asked, keep=keep, seconds=float(timeout))
    data = proved.data()
    if json:
        emit(data)
    else:
        say(_figures(data))
    if junit or report:
        from threezone.extras.report import files, page
        from threezone.extras.report import junit as xml

        for file, draw in ((junit, xml.junit), (report, page.page)):
            if file:
                files.save(Path(file), draw(data))
    proved.require()


def _figures(proof: dict[str, Any]) -> str:
    """A proof for people: a line for each phase with the seconds of its stages, and who owns the fields."""
    stages = ("push", "fetch", "apply", "settle", "total")
    rows = [["PHASE", "HOLDS", *(stage.upper() for stage in stages), "REVISION"]]
    for phase in proof["phases"]:
        holds = {True: "yes", False: "NO", None: "not run"}[phase["ok"]]
        figures = ("-" if phase["seconds"][stage] is None else f"{phase['seconds'][stage]:.1f} s" for stage in stages)
        rows.append([phase["name"], holds, *figures, (phase["revision"] or "-").rpartition(":")[2][:7]])
    owners = f"fields owned by: {', '.join(proof['managers']) or 'nobody, for there was no workload'}"
    return f"{table(rows)}\n{owners}\n{proof['branch']} on {proof['context']}: {proof['seconds']:.1f} s"


@task(
    help={
        "branch": "the branch to follow (default: the one that is checked out)",
        "force": "replace what the lab's branch holds by your commit (after an amend or a rebase)",
        "once": "deliver the branch's commit and end, as the hook does",
        "install-hook": "have git deliver each commit of the branch by itself, with a post-commit hook",
        "uninstall-hook": "take that hook away again, and put back the one that was there before",
        "yes": YES,
        "name": NAME,
        "context": CONTEXT,
    }
)
def watch(  # noqa: PLR0917  every option of a task is a parameter
    c: Context,
    branch: str = "",
    force: bool = False,
    once: bool = False,
    install_hook: bool = False,
    uninstall_hook: bool = False,
    yes: bool = False,
    name: str = "",
    context: str = "",
) -> None:
    """Deliver each new commit of a branch, until Ctrl-C: a line for each, with its times or with what went wrong."""
    from threezone.delivery import hook
    from threezone.delivery import watch as room
    from threezone.delivery.branch import branch_of

    lab = open_lab(name, context=context)
    root = lab.root
    if uninstall_hook:
        say("the hook is gone" if hook.uninstall(root) else "there is no hook of threezone")
        return
    branch = branch or branch_of(root)
    ask(lab, "what the commits say, delivered by Flux", yes=yes)
    if install_hook:
        options = [
            each for option, value in (("--name", name), ("--context", context)) if value for each in (option, value)
        ]
        options += ["--force"] if force else []
        say(f"{hook.install(root, branch, options, _command(root))} delivers each commit on {branch}")
    elif once:
        made = room.once(lab, branch, force=force)
        if made is None:
            say("threezone: another run waits to deliver what is newest")
        elif made.failure is not None:
            raise made.failure
        else:
            say(f"threezone: {made.line}")
    else:
        _now(f"following {branch} of {root}; Ctrl-C ends")
        room.watch(lab, branch, _now, force=force)


def _now(text: str) -> None:
    """Print a line at once, for whoever reads them as they come."""
    import sys

    say(text)
    sys.stdout.flush()


def _command(root: Path) -> str:
    """How a hook runs a task in the project at `root`."""
    import shlex
    import sys

    return "./run invoke" if (root / "run").is_file() else f"{shlex.quote(sys.executable)} -m invoke"
