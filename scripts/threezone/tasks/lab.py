"""up, down, status: the whole lab."""

from typing import TYPE_CHECKING, Annotated

from threezone.core.settings import ClusterOptions
from threezone.tasks.display import redrawn, table
from threezone.tasks.options import NO_CHANGES, Channel, ClusterName, DryRun, Json, Recreate, Yes, open_lab
from threezone.tasks.runtime import agreed, consent, present, report_to, say, task

if TYPE_CHECKING:
    from threezone.cluster.lab import Lab


@task
def up(
    yes: Yes = False,
    dry_run: DryRun = False,
    recreate: Recreate = False,
    name: ClusterName = "",
    channel: Channel = "",
    report: Annotated[str, "write a page of what happened, with a timeline, to this file"] = "",
    changes: ClusterOptions = NO_CHANGES,
) -> None:
    """Bring the lab up: engine, tools, cluster, kubeconfig, Flux, Git, and the commit delivered. Safe to repeat.

    On an adopted cluster (cluster.adopt): Flux, Git and the commit, after a question.
    """
    from functools import partial

    from threezone.lab import steps
    from threezone.lab import up as lab_up
    from threezone.lab.external_cluster import lifecycle, record
    from threezone.lab.observe import observe

    report_to(report)
    lab = open_lab(name, channel, "", changes=changes)
    if lab.foreign and (recreate or changes != NO_CHANGES):  # such options create a cluster
        record.refuse(lab.root)
    state = observe(lab)
    plan = lifecycle.plan_up(lab, state) if lab.foreign else lab_up.plan(lab, state, recreate=recreate)
    if not agreed(plan, yes=yes, dry_run=dry_run):
        return
    if not plan.steps:
        say("nothing to do")
    elif lab.foreign:
        steps.apply(lab, plan.steps)
    else:
        lab_up.apply(lab, plan, recreate=recreate, agree=partial(consent, yes=yes))
    say(lab_up.summary(lab, plan, state))


@task
def down(
    yes: Yes = False,
    dry_run: DryRun = False,
    name: ClusterName = "",
    images: Annotated[bool, "also remove the images that threezone made, unless another cluster needs them"] = False,
) -> None:
    """Remove everything that up made (cluster, kubeconfig entry, network attachment, password) and nothing else.

    On an adopted cluster: what was delivered, Git, and Flux where we installed it and nobody else needs it; then the
    cluster is released.
    """
    from threezone.delivery import git_backup
    from threezone.delivery.secrets import age_key
    from threezone.lab import down as lab_down

    lab = open_lab(name, context="")
    if lab.foreign and not images:
        _down_external(lab, yes=yes, dry_run=dry_run)
        return
    lab = open_lab(name, own=True)
    steps = (*lab_down.plan(lab), *(lab_down.plan_images() if images else ()))
    if agreed(steps, yes=yes, dry_run=dry_run or not steps):
        lab_down.apply(lab, steps)
        say(f"the lab {lab.name} is gone; tools {'stay' if images else 'and images stay'} cached")
        if kept := git_backup.summary(lab.key):
            say(kept)
        if (key := age_key.file(lab)).is_file():
            say(f"the key of its Secrets stays: {key}")


def _down_external(lab: "Lab", *, yes: bool, dry_run: bool) -> None:
    from threezone.lab.external_cluster import lifecycle

    steps = lifecycle.plan_down(lab)
    if agreed(steps, yes=yes, dry_run=dry_run):
        say("\n".join(lifecycle.apply_down(lab, steps)))


@task
def status(
    json: Json = False,
    watch: Annotated[
        bool, "show it again after each change, with Flux's tree and the app's answer, until Ctrl-C"
    ] = False,
    name: ClusterName = "",
) -> None:
    """Show the lab as it is: zone, engine, cluster, kubeconfig, Flux and the delivered revision. Read-only.

    With --watch and --json, each state is one line of JSON.
    """
    lab = open_lab(name, context="")
    if watch:
        _watch(lab, as_json=json)
        return
    from threezone.lab import status as lab_status

    data = lab_status.collect(lab)
    present(data, table(lab_status.rows(data)), as_json=json)


def _watch(lab: "Lab", *, as_json: bool) -> None:
    import json

    from threezone.lab import live

    if as_json:
        for view in live.follow(lab):
            say(json.dumps(view.data()))
        return
    with redrawn() as show:
        for view in live.follow(lab):
            show("\n\n".join(map(table, view.tables)))
