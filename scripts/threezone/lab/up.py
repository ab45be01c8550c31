"""up: from whatever is there to a lab that runs the commit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from threezone.clients.node import Node
from threezone.cluster import lifecycle
from threezone.cluster.context import Session
from threezone.cluster.drift import report
from threezone.cluster.drift.report import Standing
from threezone.cluster.spec.declared import Overlay, published
from threezone.core.errors import DeliveryError, EngineError
from threezone.core.plan import Action
from threezone.delivery import git_backup
from threezone.lab import plan as lab_plan
from threezone.lab import versions
from threezone.lab.observe import Seen, app_answer, observe


@dataclass(frozen=True)
class Plan:
    """What is to be done, what was seen when it was made, and what is not as declared but left to the user."""

    actions: tuple[Action, ...]
    seen: Seen
    notice: str = ""


def plan(session: Session, *, recreate: bool = False) -> Plan:
    """Look, and plan. Raises what no plan can mend (a foreign cluster, no commit, an engine beyond our reach).

    With `recreate` a cluster that is not as it is declared is made anew where it takes that.
    """
    _ = session.declared  # a broken cluster file is told even where nothing else is to be done
    seen = observe(session.lab)
    if seen.head_trouble is not None:
        raise seen.head_trouble
    repairs: tuple[Action, ...] = ()
    if isinstance(seen.engine_trouble, EngineError):
        from threezone.engine import repair

        _, repairs = repair.diagnose()
        if not repairs:
            raise seen.engine_trouble
    stands = _stands(session, seen)
    cluster = _cluster(session, seen, bool(repairs), stands, recreate=recreate)
    actions = (*_prefixed(repairs), *lab_plan.up(session.lab, seen, cluster, git_backup.names(session.lab.key)))
    if any(action.key == "recreate" for action in actions):
        return Plan(actions, seen, "\n".join(versions.planned_apart(session)))
    apart = versions.seen_apart(session.lab, seen) if seen.kubernetes else versions.planned_apart(session)
    return Plan(actions, seen, "\n".join(filter(None, (_told(session, seen, stands), *apart))))


def _stands(session: Session, seen: Seen) -> Standing | None:
    """The comparison with what is declared, of a healthy cluster of ours; None where a cheap look says enough."""
    if not (seen.nodes_ready and seen.containers and seen.containers[0].ours):
        return None
    return None if report.is_as_declared(session, seen) else report.look(session, seen.containers, seen.labels)


def _told(session: Session, seen: Seen, stands: Standing | None) -> str:
    return (stands.notice if stands else "") or notice(session, seen.containers)


def notice(session: Session, nodes: Sequence[Node]) -> str:
    """What the declaration says and a cluster of ours cannot become: where its API is published. "" when all is well.

    The lab works as it is, so this is no failure; a new cluster costs what is in the old one, so it is no action.
    """
    if not nodes or not nodes[0].ours:
        return ""
    from threezone.cluster.spec import api_endpoint

    return api_endpoint.elsewhere(nodes, published(session.declared, session.published))


def _prefixed(repairs: tuple[Action, ...]) -> tuple[Action, ...]:
    return tuple(Action(f"engine.{a.key}", a.sentence, a.command, a.asks) for a in repairs)


def _cluster(
    session: Session, seen: Seen, engine_first: bool, stands: Standing | None, *, recreate: bool = False
) -> tuple[Action, ...]:
    """The cluster's part. A healthy API answers for its nodes, so that the nodes need not be asked."""
    if seen.nodes_ready and seen.containers and seen.containers[0].ours:
        return changes(session, stands, recreate=recreate) if stands else ()
    if engine_first:  # nothing can be seen yet: neither images nor the engine's cgroup version
        images = Action("images", "get the tools and images that are missing")
        absent = lifecycle.Observed(session.lab.name, "absent")
        return (images, *lifecycle.plan(absent, session.declared, _foreseen(session), "…"))
    if not recreate and lifecycle.observe(session.lab.name).state == "running":
        # Created to the end, and not well: restarted a moment ago, or cut off while it was stopping.
        return (Action("start", f"bring the nodes of the cluster {session.lab.name} back"),)
    return cluster_plan(session, recreate=recreate)


def _foreseen(session: Session) -> tuple[Overlay, ...]:
    """What the settings say about publishing, before there is an engine to name the address."""
    if session.lab.settings.cluster.api == "loopback":
        return ()
    from threezone.cluster.spec import api_endpoint

    return (api_endpoint.on_gateway(session.declared, ""),)


def cluster_plan(session: Session, *, recreate: bool = False) -> tuple[Action, ...]:
    """What makes the declared cluster run, with what has to be fetched or built for it."""
    from threezone.cluster import create

    declared = session.declared  # first: a broken file is told even where there is no engine
    observed = lifecycle.observe(session.lab.name)
    if observed.state == "running":
        return changes(session, report.look(session, observed.nodes), recreate=recreate)
    overlays = session.overlays if observed.state in ("absent", "interrupted") else ()
    image = f"threezone/node:{session.kubernetes}-{session.lab.name}"
    actions = lifecycle.plan(observed, declared, overlays, image)
    return (*create.supplies(session), *actions) if any(action.key == "create" for action in actions) else actions


def changes(session: Session, stands: Standing, *, recreate: bool) -> tuple[Action, ...]:
    """What makes a running cluster what is declared: in place, or with `recreate` a new one where that is needed.

    Raises ClusterError when a new one is asked for, and what would be lost with the old one cannot be seen.
    """
    if not (recreate and stands.blocking):
        return stands.actions
    from threezone.cluster import create
    from threezone.lab import data_loss

    lost = data_loss.look(session)
    name = session.lab.name
    fields = ", ".join(row.field for row in stands.blocking)
    return (
        *create.supplies(session),
        *lost.rescued,
        *lost.actions,
        Action(
            "recreate",
            f"delete the cluster {name} with everything in it, to make it anew with {fields} as declared",
            f"kind delete cluster --name {name}",
            asks=True,
        ),
        *lifecycle.plan(
            lifecycle.Observed(name, "absent"),
            session.declared,
            session.overlays,
            f"threezone/node:{session.kubernetes}-{name}",
        ),
    )


def apply(session: Session, plan: Plan) -> None:
    """Carry the plan out. With a new engine the world is looked at again, because nothing could be seen before."""
    from threezone.engine import repair
    from threezone.lab import steps

    repairs = [Action(a.key.removeprefix("engine."), a.sentence) for a in plan.actions if a.key.startswith("engine.")]
    actions = plan.actions
    if repairs:
        repair.apply(repairs)
        again = observe(session.lab)
        cluster = _cluster(session, again, engine_first=False, stands=_stands(session, again))
        actions = lab_plan.up(session.lab, again, cluster, git_backup.names(session.lab.key))
    if back := [number for number, action in enumerate(actions, 1) if action.key == "revive"]:
        steps.apply(session, actions[: back[0]])
        again = observe(session.lab)  # what nobody could see before
        cluster = changes(session, stands, recreate=False) if (stands := _stands(session, again)) else ()
        actions = lab_plan.up(session.lab, again, cluster, git_backup.names(session.lab.key))
    steps.apply(session, actions)


def summary(session: Session, plan: Plan) -> str:
    """What one has now: the nodes, the route, Flux, the commit, and the app's answer."""
    seen = plan.seen if not plan.actions else observe(session.lab)
    lines = [
        f"cluster   {session.lab.context}: " + ", ".join(f"{n.name} {n.version} Ready" for n in seen.nodes),
        f"API       {seen.server}" + (f" (TLS name {seen.tls_server_name})" if seen.tls_server_name else ""),
        f"Flux      {seen.flux.version}: {', '.join(c.name for c in seen.flux.components)}",
        f"commit    {seen.delivery.applied if seen.delivery else 'none'}",
    ]
    try:
        lines.append(f"app       {app_answer(session.api, session.lab.settings.app)}")
    except DeliveryError as silent:  # a project may have no such app; what there is was waited for
        lines.append(f"app       none: {silent.evidence}")
    told = plan.notice
    if plan.actions:  # the world has changed since
        apart = versions.seen_apart(session.lab, seen)
        told = "\n".join(filter(None, (_told(session, seen, _stands(session, seen)), *apart)))
    lines += [f"notice    {line}" for line in told.splitlines()]
    return "\n".join(lines)
