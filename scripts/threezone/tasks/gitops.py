"""gitops.*: deliver commits with Flux."""

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from threezone.tasks.display import table
from threezone.tasks.options import Channel, ClusterName, ContextName, Json, Timeout, Yes, open_lab, words
from threezone.tasks.runtime import ask, consent, present, say, task

if TYPE_CHECKING:
    from threezone.cluster.lab import Lab
    from threezone.delivery.proof.prove import Proved


@task
def serve(
    repository: Annotated[str, "the repository to add (default: threezone.gitops.repository)"] = "",
    forward: Annotated[bool, "also serve it on a loopback port of this machine"] = False,
    port: Annotated[int, "the loopback port (default: 8418, or a free one)"] = 0,
    stop_forward: Annotated[bool, "close the loopback port, and do nothing else"] = False,
    image: Annotated[str, "the Git server's image, for a cluster that pulls it from a registry"] = "",
    remove: Annotated[bool, "remove the Git server with all its repositories and what was delivered from it"] = False,
    yes: Yes = False,
    name: ClusterName = "",
    channel: Channel = "",
    context: ContextName = "",
) -> None:
    """Serve Git inside the cluster: Flux reads without a password, pushing needs a generated one."""
    from threezone.delivery import git_forward, git_server
    from threezone.delivery import serve as git

    lab = open_lab(name, channel, context)
    if stop_forward:
        say("the forward is closed" if git_forward.close(lab.context) else "there is no forward")
        return
    if remove:
        consent(git.plan_remove(lab), yes=yes)
        say("the Git server is gone" if git.remove(lab) else "there is no Git server of threezone")
        return
    ask(lab, f"the Git server, in the namespace {git_server.NAMESPACE}", yes=yes)
    repositories = git.serve(lab, repository, image)
    password = git_server.password_file(lab.key)
    say("\n".join(f"{git_server.url(each)} serves" for each in repositories) + f"; password: {password}")
    if forward or port:
        opened = git_forward.open_forward(lab, port=port)
        say("\n".join(f"git clone {opened.url(each)}" for each in repositories))
        say(f"to push, tell git where the password is:\n{opened.helper(password)}")


def ask_to_replace(lab: "Lab", *, yes: bool) -> None:
    """Ask before a delivery on a cluster of others is replaced: it may be a colleague's."""
    if lab.foreign:
        from threezone.delivery import handover, sync

        consent(handover.plan(lab, handover.observe(lab.api, sync.target_of(lab)), None), yes=yes)


@task
def push(
    name: ClusterName = "",
    force: Annotated[bool, "replace the commits on the lab's branch by yours"] = False,
    no_check: Annotated[bool, "push the commit without gitops.check"] = False,
    yes: Yes = False,
    context: ContextName = "",
) -> None:
    """Deliver HEAD: check it, push it to the lab's Git server, and wait until Flux has applied exactly that commit."""
    from threezone.delivery.check.check import require
    from threezone.delivery.push import deliver

    lab = open_lab(name, context=context)
    if not no_check:
        require(lab)
    ask(lab, "the content of the commit, delivered by Flux", yes=yes)
    ask_to_replace(lab, yes=yes)
    say(f"applied {deliver(lab, force=force)}")


@task
def wait(
    revision: Annotated[str, "what to wait for: a full or short SHA, main@sha1:…, or a name such as HEAD", "revisions"],
    kustomization: Annotated[str, "Flux's Kustomization, as NAME or NAMESPACE/NAME (default: the lab's)"] = "",
    timeout: Timeout = 0,
    name: ClusterName = "",
    context: ContextName = "",
) -> None:
    """Wait until exactly this revision is applied and everything in it is ready. Exit 6, with the reason, if not."""
    from threezone.delivery import wait as waiting

    applied = waiting.wait(open_lab(name, context=context), revision, kustomization, float(timeout))
    say(f"applied {applied}")


@task
def prove(
    phases: Annotated[str, "only these and what they depend on, such as create,update (default: all seven)"] = "",
    keep: Annotated[bool, "keep everything at the end, to look at it"] = False,
    remove: Annotated[str, "only remove the kept proof with this id"] = "",
    timeout: Annotated[int, "seconds for each phase (default: threezone.gitops.timeout in invoke.yaml)"] = 0,
    json: Json = False,
    junit: Annotated[str, "write the evidence as JUnit XML to this file"] = "",
    report: Annotated[str, "write the evidence as one HTML page to this file"] = "",
    yes: Yes = False,
    name: ClusterName = "",
    context: ContextName = "",
) -> None:
    """Prove that a commit alone creates, updates and destroys a workload. Cleans up. Exit 6 with the first failure."""
    from threezone.core.errors import UsageError
    from threezone.delivery.proof import prove as proofs

    lab = open_lab(name, context=context)
    for file in filter(None, (junit, report)):  # fail before a minute of work, not after it
        if not Path(file).absolute().parent.is_dir():
            raise UsageError(f"{file} cannot be written: its directory does not exist", fix="name another file")
    if remove:
        proofs.remove(lab, remove)
        say(f"removed {remove}")
        return
    ask(lab, "a namespace and objects of Flux for the proof, all removed at its end", yes=yes)
    proof = proofs.prove(lab, words(phases), keep=keep, seconds=float(timeout))
    data = proof.data()
    present(data, _figures(proof), as_json=json)
    if junit or report:
        from threezone.extras.report import files, page
        from threezone.extras.report import junit as xml

        for file, draw in ((junit, xml.junit), (report, page.page)):
            if file:
                files.save(Path(file), draw(data))
    proof.require()


def _figures(proved: "Proved") -> str:
    """A proof for people: a line for each phase with the seconds of its stages, and who owns the fields."""
    proof = proved.proof
    stages = ("push", "fetch", "apply", "settle", "total")
    rows = [["PHASE", "HOLDS", *(stage.upper() for stage in stages), "REVISION"]]
    for outcome in proof.outcomes:
        holds = "not run" if outcome.ok is None else "yes" if outcome.ok else "NO"
        seconds = outcome.seconds()
        figures = ("-" if (taken := seconds[stage]) is None else f"{taken:.1f} s" for stage in stages)
        rows.append([outcome.phase.name, holds, *figures, (outcome.revision or "-").rpartition(":")[2][:7]])
    owners = f"fields owned by: {', '.join(sorted(proof.managers)) or 'nobody, for there was no workload'}"
    return f"{table(rows)}\n{owners}\n{proof.names.name} on {proof.context}: {proved.seconds:.1f} s"


@task
def watch(
    branch: Annotated[str, "the branch to follow (default: the current one)"] = "",
    force: Annotated[bool, "replace the commits on the lab's branch by yours (after an amend or a rebase)"] = False,
    once: Annotated[bool, "deliver the branch's newest commit and end, as the hook does"] = False,
    install_hook: Annotated[bool, "have git deliver each commit of the branch, with a post-commit hook"] = False,
    uninstall_hook: Annotated[bool, "remove that hook, and restore the earlier one"] = False,
    yes: Yes = False,
    name: ClusterName = "",
    context: ContextName = "",
) -> None:
    """Deliver each new commit of a branch until Ctrl-C, and print its times or its failure."""
    from threezone.core.settings import RUN, launcher
    from threezone.delivery import hook
    from threezone.delivery import watch as deliveries
    from threezone.delivery.branch import branch_of

    lab = open_lab(name, context=context)
    root = lab.root
    if uninstall_hook:
        say("the hook is gone" if hook.uninstall(root) else "there is no hook of threezone")
        return
    branch = branch or branch_of(root)
    ask(lab, "the content of the commits, delivered by Flux", yes=yes)
    if not install_hook:
        ask_to_replace(lab, yes=yes)
    if install_hook:
        options = ["--name", name] if name else ["--context", context] if context else []
        options += ["--force"] if force else []
        command = launcher(root)
        command = command if command == RUN else f"{shlex.quote(sys.executable)} -m threezone"
        say(f"{hook.install(root, branch, options, command)} delivers each commit on {branch}")
    elif once:
        delivered = deliveries.once(lab, branch, force=force)
        if delivered is None:
            say("threezone: another run delivers the newest commit")
        elif delivered.failure is not None:
            raise delivered.failure
        else:
            say(f"threezone: {delivered.line}")
    else:
        _say_now(f"following {branch} of {root}; Ctrl-C ends")
        deliveries.watch(lab, branch, _say_now, force=force)


def _say_now(text: str) -> None:
    """Print a line at once, for whoever reads the lines as they come."""
    say(text)
    sys.stdout.flush()
