"""up, down, status: the whole lab."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

from invoke import Context

from threezone.tasks.runtime import as_started, consent, emit, say, table, task

if TYPE_CHECKING:
    from collections.abc import Sequence

    from threezone.core.plan import Step

CHANNEL = "where tools and images come from: auto (by reachability), release, source"
NAME = "the cluster's name (default: threezone.cluster.name in invoke.yaml)"
CONTEXT = "instead of a lab: the kubeconfig context of any cluster; asks before its first change"
RECREATE = "make a new cluster where what is declared takes one: what would be lost is listed, and asked about"
YES = "answer yes to the question"


DECLARING = {
    "config": "kind's own file (default: threezone.cluster.config in invoke.yaml)",
    "kubernetes": "the Kubernetes version of the nodes, such as 1.35 or 1.35.0",
    "control-planes": "how many control planes; 0: those of the file",
    "workers": "how many workers; 0: those of the file",
    "port": "HOST:NODE, published on loopback, such as 8080:30080 or 5353:30053/udp; may be repeated",
    "mount": "HOST:NODE[:ro], two paths, mounted into every node; may be repeated",
    "feature-gate": "a feature gate of Kubernetes, such as AllAlpha=true; may be repeated",
    "set": "any single value of kind's file, such as networking.ipFamily=ipv6; may be repeated",
}
REPEATED = ("port", "mount", "feature_gate", "set_")  # for invoke: options that may be given several times


def declaring(
    *,
    config: str,
    kubernetes: str,
    control_planes: int,
    workers: int,
    port: Any,
    mount: Any,
    feature_gate: Any,
    set_: Any,
) -> dict[str, Any]:
    """The options of DECLARING, for `session`: what they lay upon the declared cluster."""
    from pathlib import Path

    from threezone.cluster.spec.overlay import Options

    options = Options(
        control_planes=control_planes,
        workers=workers,
        ports=tuple(port or ()),
        mounts=tuple(mount or ()),
        feature_gates=tuple(feature_gate or ()),
        sets=tuple(set_ or ()),
        base=Path.cwd(),
    )
    return {"config": config, "kubernetes": kubernetes, "flags": options}


def open_lab(
    name: str = "",
    channel: str = "",
    context: str | None = None,
    *,
    own: bool = False,
    config: str = "",
    kubernetes: str = "",
    flags: Any = None,
) -> Any:
    """The session that tasks work in, from settings and options.

    The cluster's name is --name, else that of the settings, else the one that the file of --config gives it.
    `context` is one of a cluster that is not ours. "" is the adopted one, where there is one and no name is given; None
    is for tasks that have to do with no such cluster, and `own` for those that refuse to work on an adopted one.
    """
    import dataclasses
    import re
    from pathlib import Path
    from typing import cast, get_args

    import msgspec

    from threezone.cluster.lab import Lab
    from threezone.core import names, settings, versions
    from threezone.core.errors import UsageError
    from threezone.core.events import note
    from threezone.lab.external_cluster import record

    root = settings.find_root()
    chosen = settings.load(root)
    if channel and channel not in get_args(settings.Channel):
        raise UsageError(f"unknown channel {channel!r}; expected one of {', '.join(get_args(settings.Channel))}")
    if name and context:
        raise UsageError("a cluster is named by --name or by --context, not by both", fix="leave one of them out")
    if kubernetes and not re.fullmatch(f"v?{versions.KUBERNETES}", kubernetes):
        raise UsageError(f"--kubernetes {kubernetes}: expected a version such as 1.35 or 1.35.0")
    if own and not name:
        record.refuse(root)
    if context == "" and not name:
        context = record.context(root)
    wanted = (("config", config and str(Path.cwd() / config)), ("kubernetes", kubernetes.removeprefix("v")))
    changed = {key: value for key, value in wanted if value}
    chosen = msgspec.structs.replace(chosen, cluster=msgspec.structs.replace(chosen.cluster, **changed))
    lab = Lab(
        root,
        chosen,
        names.cluster(name or chosen.cluster.name),
        context or "",
        cast("settings.Channel", channel) if channel else chosen.channel,
        flags,
    )
    if not config or name or lab.foreign or (own_name := lab.declared.name) in ("", lab.name):
        return lab
    if lab.name != settings.Cluster().name:  # somebody chose another one
        return dataclasses.replace(lab, name_is_chosen=False)
    note(f"the cluster is {own_name}, as {config} names it; other tasks find it with --name {own_name}")
    return dataclasses.replace(lab, name=names.cluster(own_name))


def elsewhere(lab: Any, actions: Sequence[Step]) -> Sequence[Step]:
    """The same plan; on a cluster that we did not make, each of its actions needs a yes."""
    from dataclasses import replace

    if not lab.foreign:
        return actions
    return [replace(each, sentence=f"{each.sentence} (on {lab.foreign})", asks=True) for each in actions]


def ask(lab: Any, what: str, *, yes: bool) -> None:
    """Before a cluster that we did not make is changed: ask, unless our namespace is there by an earlier yes."""
    from threezone.core.plan import Step, StepKind
    from threezone.delivery import git_server

    if lab.foreign and not git_server.is_installed(lab.api):
        consent(
            [Step(StepKind.CHANGE_CLUSTER, f"change the cluster of the context {lab.foreign}: {what}", asks=True)],
            yes=yes,
        )


@task(
    help={
        "yes": "answer yes to every question of the plan",
        "dry-run": "print the plan and change nothing",
        "recreate": RECREATE,
        "name": NAME,
        "channel": CHANNEL,
        **DECLARING,
    },
    iterable=REPEATED,
)
def up(
    c: Context,
    *,
    yes: bool = False,
    dry_run: bool = False,
    recreate: bool = False,
    name: str = "",
    channel: str = "",
    config: str = "",
    kubernetes: str = "",
    control_planes: int = 0,
    workers: int = 0,
    port: Any = None,
    mount: Any = None,
    feature_gate: Any = None,
    set_: Any = None,
) -> None:
    """Bring the lab up: engine, tools, cluster, kubeconfig, Flux, Git, and the commit delivered. Safe to repeat.

    On an adopted cluster (cluster.adopt): Flux, Git and the commit, after a question.
    """
    from threezone.core.plan import describe
    from threezone.lab import up as room
    from threezone.lab.observe import observe

    options = declaring(
        config=config,
        kubernetes=kubernetes,
        control_planes=control_planes,
        workers=workers,
        port=port,
        mount=mount,
        feature_gate=feature_gate,
        set_=set_,
    )
    lab = open_lab(name, channel, "", **options)
    if lab.foreign:
        asked = any((recreate, config, kubernetes, control_planes, workers, port, mount, feature_gate, set_))
        _guest_up(lab, yes=yes, dry_run=dry_run, declaring=asked)
        return
    seen = observe(lab)
    plan = room.plan(lab, seen, recreate=recreate)
    if dry_run:
        say(as_started("\n".join((describe(plan.steps), *plan.notices))))
        return
    if not plan.steps:
        say("nothing to do")
    else:
        agree = functools.partial(consent, yes=yes)
        agree(plan.steps)
        room.apply(lab, plan, recreate=recreate, agree=agree)
    say(as_started(room.summary(lab, plan, seen)))


@task(
    help={
        "yes": "answer yes to the question",
        "dry-run": "print the plan and change nothing",
        "name": NAME,
        "images": "remove the images that threezone made too, unless another cluster needs them",
    }
)
def down(c: Context, yes: bool = False, dry_run: bool = False, name: str = "", images: bool = False) -> None:
    """Remove everything that up made (cluster, kubeconfig entry, network attachment, password) and nothing else.

    On an adopted cluster: what was delivered, Git, and Flux where we installed it and nobody else needs it; then the
    cluster is given back.
    """
    from threezone.core.plan import describe
    from threezone.delivery import git_backup
    from threezone.lab import down as room

    lab = open_lab(name, context="")
    if lab.foreign and not images:
        _guest_down(lab, yes=yes, dry_run=dry_run)
        return
    lab = open_lab(name, own=True)
    actions = (*room.plan(lab), *(room.plan_images() if images else ()))
    if dry_run or not actions:
        say(describe(actions))
        return
    consent(actions, yes=yes)
    room.apply(lab, actions)
    say(f"the lab {lab.name} is gone; tools {'stay' if images else 'and images stay'} cached")
    if kept := git_backup.summary(lab.key):
        say(as_started(kept))


def _guest_up(lab: Any, *, yes: bool, dry_run: bool, declaring: bool) -> None:
    from threezone.core.plan import describe
    from threezone.lab import steps
    from threezone.lab import up as room
    from threezone.lab.external_cluster import lifecycle, record
    from threezone.lab.observe import observe

    if declaring:  # such options make a cluster
        record.refuse(lab.root)
    seen = observe(lab)
    plan = lifecycle.plan_up(lab, seen)
    if dry_run:
        say(as_started(describe(plan.steps)))
        return
    if not plan.steps:
        say("nothing to do")
    else:
        consent(plan.steps, yes=yes)
        steps.apply(lab, plan.steps)
    say(as_started(room.summary(lab, plan, seen)))


def _guest_down(lab: Any, *, yes: bool, dry_run: bool) -> None:
    from threezone.core.plan import describe
    from threezone.lab.external_cluster import lifecycle

    actions = lifecycle.plan_down(lab)
    if dry_run:
        say(describe(actions))
        return
    consent(actions, yes=yes)
    say(as_started("\n".join(lifecycle.apply_down(lab, actions))))


@task(help={"json": "print the observation as JSON", "name": NAME})
def status(c: Context, json: bool = False, name: str = "") -> None:
    """Show the lab as it is: zone, engine, cluster, kubeconfig, Flux and the delivered revision. Changes nothing."""
    from threezone.lab import status as room

    seen = room.collect(open_lab(name, context=""))
    if json:
        emit(seen)
    else:
        say(table(room.rows(seen)))
