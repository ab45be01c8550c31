"""up, down, status: the whole lab."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from invoke import Context

from threezone.tasks.edge import as_started, consent, emit, say, table, task

if TYPE_CHECKING:
    from collections.abc import Sequence

    from threezone.plan import Action

CHANNEL = "where tools and images come from: auto (by reachability), release, source"
NAME = "the cluster's name (default: threezone.cluster.name in invoke.yaml)"
CONTEXT = "instead of a lab: the kubeconfig context of any cluster; asks before its first change"
YES = "answer yes to the question"


def session(name: str = "", channel: str = "", context: str = "") -> Any:
    """The session that tasks work in, from settings and options; `context` is one of a cluster that is not ours."""
    from typing import cast, get_args

    from threezone import settings
    from threezone.errors import UsageError
    from threezone.lab.observe import Lab
    from threezone.lab.session import Session

    root = settings.find_root()
    chosen = settings.load(root)
    if channel and channel not in get_args(settings.Channel):
        raise UsageError(f"unknown channel {channel!r}; expected one of {', '.join(get_args(settings.Channel))}")
    if name and context:
        raise UsageError("a cluster is named by --name or by --context, not by both", fix="leave one of them out")
    lab = Lab(root, chosen, settings.cluster_name(name or chosen.cluster.name), context)
    return Session(lab, cast("settings.Channel", channel) if channel else chosen.channel)


def elsewhere(at: Any, actions: Sequence[Action]) -> Sequence[Action]:
    """The same plan; on a cluster that we did not make, each of its actions needs a yes."""
    from dataclasses import replace

    if not at.lab.foreign:
        return actions
    return [replace(each, sentence=f"{each.sentence} (on {at.lab.foreign})", asks=True) for each in actions]


def ask(at: Any, what: str, *, yes: bool) -> None:
    """Before a cluster that we did not make is changed: ask, unless our namespace is there by an earlier yes."""
    from threezone.gitops import server
    from threezone.plan import Action

    if at.lab.foreign and not server.is_here(at.api):
        consent([Action("foreign", f"change the cluster of the context {at.lab.foreign}: {what}", asks=True)], yes=yes)


@task(
    help={
        "yes": "answer yes to every question of the plan",
        "dry-run": "print the plan and change nothing",
        "name": NAME,
        "channel": CHANNEL,
    }
)
def up(c: Context, yes: bool = False, dry_run: bool = False, name: str = "", channel: str = "") -> None:
    """Bring the lab up: engine, tools, cluster, kubeconfig, Flux, Git, and the commit delivered. Safe to repeat."""
    from threezone.lab import up as room
    from threezone.plan import describe

    at = session(name, channel)
    plan = room.plan(at)
    if dry_run:
        say(as_started("\n".join(filter(None, (describe(plan.actions), plan.notice)))))
        return
    if not plan.actions:
        say("nothing to do")
    else:
        consent(plan.actions, yes=yes)
        room.apply(at, plan)
    say(as_started(room.summary(at, plan)))


@task(help={"yes": "answer yes to the question", "dry-run": "print the plan and change nothing", "name": NAME})
def down(c: Context, yes: bool = False, dry_run: bool = False, name: str = "") -> None:
    """Remove everything that up made (cluster, kubeconfig entry, network attachment, password) and nothing else."""
    from threezone.lab import down as room
    from threezone.plan import describe

    at = session(name)
    actions = room.plan(at)
    if dry_run or not actions:
        say(describe(actions))
        return
    consent(actions, yes=yes)
    room.apply(at, actions)
    say(f"the lab {at.lab.name} is gone; tools and images stay cached")


@task(help={"json": "print the observation as JSON", "name": NAME})
def status(c: Context, json: bool = False, name: str = "") -> None:
    """Show the lab as it is: zone, engine, cluster, kubeconfig, Flux and the delivered revision. Changes nothing."""
    from threezone.lab import status as room

    seen = room.collect(session(name).lab)
    if json:
        emit(seen)
    else:
        say(table(room.rows(seen)))
