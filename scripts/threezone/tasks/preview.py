"""preview.*: branches beside main, each in namespaces of its own."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

from threezone.tasks.display import table
from threezone.tasks.options import ClusterName, ContextName, DryRun, Json, Yes, open_lab
from threezone.tasks.runtime import agreed, ask, present, say, task, yes_no

if TYPE_CHECKING:
    from threezone.cluster.lab import Lab
    from threezone.delivery.preview.model import Preview

Branch = Annotated[str, "the branch (default: the current one)", "branches"]


def _branch(lab: "Lab", branch: str) -> str:
    from threezone.delivery.branch import branch_of

    return branch or branch_of(lab.root)


@task
def start(
    branch: Branch = "",
    path: Annotated[str, "what is delivered of it (default: threezone.gitops.path in invoke.yaml)"] = "",
    ttl: Annotated[str, "when preview.prune removes it, such as 8h or 2d from now (default: not by its age)"] = "",
    force: Annotated[bool, "replace the commits of the lab's branch by yours (after an amend or a rebase)"] = False,
    dry_run: DryRun = False,
    json: Json = False,
    yes: Yes = False,
    name: ClusterName = "",
    context: ContextName = "",
) -> None:
    """Deliver a branch into namespaces of its own, beside main. Repeat it for newer commits; main is never touched.

    Manifests may use the variables branch and preview. What cannot be there twice is refused, with the reason.
    """
    from threezone.delivery.preview import start as previews

    lab = open_lab(name, context=context)
    wanted = previews.observe(lab, _branch(lab, branch), path, ttl)
    if not agreed(previews.plan(lab, wanted), yes=yes, dry_run=dry_run):
        return
    ask(lab, "the content of the branch, delivered by Flux", yes=yes)
    started = previews.start(lab, wanted, force=force)
    present(started.data(), started.line, as_json=json)


@task
def list_(json: Json = False, name: ClusterName = "", context: ContextName = "") -> None:
    """List the previews: namespaces, commit, whether all of it is ready, and when its time ends."""
    from datetime import UTC, datetime

    from threezone.delivery.preview import cluster
    from threezone.flux.status import wait_for_verdicts

    lab = open_lab(name, context=context)
    now = datetime.now(UTC)
    wait_for_verdicts(lab.api, [cluster.target_of(lab, "").kustomizations])
    found = cluster.observe(lab)
    rows = [["BRANCH", "NAMESPACES", "COMMIT", "READY", "ENDS", "MESSAGE"]]
    for each in found:
        end = "ended" if each.is_expired(now) else each.expires.isoformat() if each.expires else "-"
        names = ",".join(each.namespaces.values())
        commit = (each.applied.rpartition(":")[2] or "-")[:7]
        rows.append([each.branch, names, commit, yes_no(each.ready), end, each.message.replace("\n", " ")])
    present([each.data(now) for each in found], table(rows) if found else "there is no preview", as_json=json)


@task
def open_(
    branch: Branch = "",
    service: Annotated[str, "the Service (default: threezone.app.service in invoke.yaml)"] = "",
    port: Annotated[int, "port on 127.0.0.1 to open it on; 0 lets the system choose"] = 0,
    once: Annotated[bool, "print the answer and return"] = False,
    name: ClusterName = "",
    context: ContextName = "",
) -> None:
    """Open a preview's app on a loopback port until Ctrl-C; --once prints its answer and returns."""
    import dataclasses

    import msgspec

    from threezone.core.errors import UsageError
    from threezone.delivery.preview import cluster
    from threezone.extras import sample_app

    lab = open_lab(name, context=context)
    branch = _branch(lab, branch)
    preview = cluster.find(lab, branch)
    if preview is None:
        raise UsageError(f"there is no preview of {branch}", fix=f"./run invoke preview.start --branch {branch}")
    app = lab.settings.app
    spaces = preview.namespaces
    namespace = spaces.get(app.namespace) or next(iter(spaces.values()), preview.name)
    app = msgspec.structs.replace(app, namespace=namespace, service=service or app.service)
    lab = dataclasses.replace(lab, settings=msgspec.structs.replace(lab.settings, app=app))
    say(sample_app.app_answer(lab.api, app))
    if not once:
        sample_app.open_app(lab, port, lambda address: say(f"http://{address}/ until Ctrl-C"))


@task
def stop(
    branch: Branch = "",
    dry_run: DryRun = False,
    yes: Yes = False,
    name: ClusterName = "",
    context: ContextName = "",
) -> None:
    """Remove a preview: all that Flux applied, its namespaces, and its branch on the lab's Git server."""
    from threezone.delivery.preview import cluster

    lab = open_lab(name, context=context)
    branch = _branch(lab, branch)
    preview = cluster.find(lab, branch)
    if preview is None:
        say(f"there is no preview of {branch}")
        return
    _remove(lab, [(preview, "")], yes=yes, dry_run=dry_run)


@task
def prune(dry_run: DryRun = False, yes: Yes = False, name: ClusterName = "", context: ContextName = "") -> None:
    """Remove the previews whose time has ended, or whose branch is deleted here or on the lab's Git server."""
    from datetime import UTC, datetime

    from threezone.delivery.preview import stop as previews

    lab = open_lab(name, context=context)
    ended = previews.ended(lab, datetime.now(UTC))
    if not ended:
        say("nothing to do")
        return
    _remove(lab, ended, yes=yes, dry_run=dry_run)


def _remove(lab: "Lab", found: "Sequence[tuple[Preview, str]]", *, yes: bool, dry_run: bool) -> None:
    from threezone.delivery.preview import stop as previews

    if not agreed(previews.plan(lab, found), yes=yes, dry_run=dry_run):
        return
    for preview, _ in found:
        previews.stop(lab, preview)
        say(f"the preview of {preview.branch} is gone")
