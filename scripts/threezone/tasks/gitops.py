"""gitops.*: a commit, and what Flux makes of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from invoke import Context

from threezone.tasks.edge import emit, say, table, task
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


@task(
    help={
        "revision": "what to wait for: a full or short SHA, main@sha1:…, or a name such as HEAD",
        "kustomization": "Flux's Kustomization, as NAME or NAMESPACE/NAME (default: the lab's)",
        "timeout": "seconds (default: threezone.gitops.timeout in invoke.yaml)",
        "name": NAME,
    }
)
def wait(c: Context, revision: str, kustomization: str = "", timeout: int = 0, name: str = "") -> None:
    """Wait until Flux has applied exactly that revision; why it cannot be is told as soon as it is known. Exit 6."""
    from threezone.lab import wait as room

    say(f"applied {room.wait(session(name), revision, kustomization, float(timeout))}")


@task(
    help={
        "phases": "only these and what they stand on, such as create,update (default: all seven)",
        "keep": "leave everything for a look",
        "remove": "remove the kept proof of this id, and run none",
        "timeout": "seconds for each phase (default: threezone.gitops.timeout in invoke.yaml)",
        "json": "print the evidence as JSON",
        "junit": "write the evidence as JUnit XML to this file",
        "report": "write the evidence as one HTML page to this file",
        "name": NAME,
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
    name: str = "",
) -> None:
    """Prove that a commit alone creates, updates and destroys a workload, with evidence. Cleans up. Exit 6 when not."""
    from pathlib import Path

    from threezone.errors import UsageError
    from threezone.lab import prove as room

    at = session(name)
    for file in filter(None, (junit, report)):  # told before a minute of work, not after it
        if not Path(file).absolute().parent.is_dir():
            raise UsageError(f"{file} cannot be written: its directory is not there", fix="name another file")
    if remove:
        room.remove(at, remove)
        say(f"removed {remove}")
        return
    asked = [word.strip() for word in phases.split(",") if word.strip()]
    proved = room.prove(at, asked, keep=keep, seconds=float(timeout))
    data = proved.data()
    if json:
        emit(data)
    else:
        say(_figures(data))
    if junit or report:
        from threezone.report import files, page
        from threezone.report import junit as xml

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
        "name": NAME,
    }
)
def watch(  # noqa: PLR0917  every option of a task is a parameter
    c: Context,
    branch: str = "",
    force: bool = False,
    once: bool = False,
    install_hook: bool = False,
    uninstall_hook: bool = False,
    name: str = "",
) -> None:
    """Deliver each new commit of a branch, until Ctrl-C: a line for each, with its times or with what went wrong."""
    from threezone.gitops import hook
    from threezone.gitops.watch import branch_of
    from threezone.lab import watch as room

    at = session(name)
    root = at.lab.root
    if uninstall_hook:
        say("the hook is gone" if hook.uninstall(root) else "there is no hook of threezone")
        return
    branch = branch or branch_of(root)
    if install_hook:
        options = [*(["--name", name] if name else []), *(["--force"] if force else [])]
        say(f"{hook.install(root, branch, options, _command(root))} delivers each commit on {branch}")
    elif once:
        made = room.once(at, branch, force=force)
        if made is None:
            say("threezone: another run waits to deliver what is newest")
        elif made.failure is not None:
            raise made.failure
        else:
            say(f"threezone: {made.line}")
    else:
        _now(f"following {branch} of {root}; Ctrl-C ends")
        room.watch(at, branch, _now, force=force)


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
