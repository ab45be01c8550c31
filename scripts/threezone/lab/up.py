"""up: from whatever is there to a lab that runs the commit."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Sequence
from dataclasses import replace

from threezone.clients.kind import Node
from threezone.cluster import lifecycle
from threezone.cluster.drift import detect
from threezone.cluster.drift.detect import Drift
from threezone.cluster.lab import Lab
from threezone.cluster.spec.declared import Overlay, as_typed, published
from threezone.core.errors import DeliveryError, EngineError, UsageError
from threezone.core.plan import Plan, Step, StepKind, has
from threezone.delivery import git_backup
from threezone.extras.sample_app import app_answer
from threezone.lab import plan as lab_plan
from threezone.lab import steps, versions
from threezone.lab.observe import Seen, observe


def plan(lab: Lab, seen: Seen, *, recreate: bool = False) -> Plan:
    """Plan from what was seen. Raises what no plan can mend (a foreign cluster, no commit, an engine beyond our reach).

    With `recreate` a cluster that is not as it is declared is made anew where it takes that.
    """
    _ = lab.declared  # a broken cluster file is told even where nothing else is to be done
    if seen.head_trouble is not None:
        raise seen.head_trouble
    repairs: tuple[Step, ...] = ()
    if isinstance(seen.engine_trouble, EngineError):
        from threezone.engine import repair

        _, repairs = repair.diagnose()
        if not repairs:
            raise seen.engine_trouble
        repairs = (*repairs[:-1], replace(repairs[-1], reveals=True))
    stands = _stands(lab, seen)
    cluster = _cluster(lab, seen, bool(repairs), stands, recreate=recreate)
    planned = (*repairs, *lab_plan.up(lab, seen, cluster, git_backup.repositories(lab.key)))
    if has(planned, StepKind.RECREATE_CLUSTER):
        return Plan(planned, tuple(versions.planned_apart(lab)))
    apart = versions.seen_apart(lab, seen) if seen.kubernetes else versions.planned_apart(lab)
    return Plan(planned, tuple(filter(None, (_told(lab, seen, stands), *apart))))


def _stands(lab: Lab, seen: Seen) -> Drift | None:
    """The comparison with what is declared, of a healthy cluster of ours; None where a cheap look says enough."""
    if not (seen.nodes_ready and seen.containers and seen.containers[0].ours):
        return None
    return (
        None
        if detect.is_as_declared(lab, seen.made_from, seen.labels)
        else detect.drift_of(lab, seen.containers, seen.labels)
    )


def _told(lab: Lab, seen: Seen, stands: Drift | None) -> str:
    suspended = ", ".join(seen.delivery.suspended) if seen.delivery else ""
    left = f"{suspended}: suspended, so no commit changes what it applied" if suspended else ""
    return "\n".join(filter(None, ((stands.notice if stands else "") or notice(lab, seen.containers), left)))


def notice(lab: Lab, nodes: Sequence[Node]) -> str:
    """What the declaration says and a cluster of ours cannot become: where its API is published. "" when all is well.

    The lab works as it is, so this is no failure; a new cluster costs what is in the old one, so it is no action.
    """
    if not nodes or not nodes[0].ours:
        return ""
    from threezone.cluster.spec import api_endpoint

    return api_endpoint.elsewhere(nodes, published(lab.declared, lab.published))


def _cluster(
    lab: Lab, seen: Seen, engine_first: bool, stands: Drift | None, *, recreate: bool = False
) -> tuple[Step, ...]:
    """The cluster's part. A healthy API answers for its nodes, so that the nodes need not be asked."""
    if seen.nodes_ready and seen.containers and seen.containers[0].ours:
        return changes(lab, stands, recreate=recreate) if stands else ()
    if engine_first:  # nothing can be seen yet: neither images nor the engine's cgroup version
        images = Step(StepKind.GET_IMAGES, "get the tools and images that are missing")
        absent = lifecycle.Observed(lab.name, "absent")
        return (images, *lifecycle.plan(absent, lab.declared, _foreseen(lab), "…"))
    if not recreate and lifecycle.observe(lab.name).state == "running":
        # Created to the end, and not well: restarted a moment ago, or cut off while it was stopping.
        return (Step(StepKind.START_NODES, f"bring the nodes of the cluster {lab.name} back"),)
    return cluster_plan(lab, recreate=recreate)


def _foreseen(lab: Lab) -> tuple[Overlay, ...]:
    """What the settings say about publishing, before there is an engine to name the address."""
    if lab.settings.cluster.api == "loopback":
        return ()
    from threezone.cluster.spec import api_endpoint

    return (api_endpoint.on_gateway(lab.declared, ""),)


def cluster_plan(lab: Lab, *, recreate: bool = False) -> tuple[Step, ...]:
    """What makes the declared cluster run, with what has to be fetched or built for it."""
    from threezone.cluster import create

    declared = lab.declared  # first: a broken file is told even where there is no engine
    observed = lifecycle.observe(lab.name)
    if observed.state == "running":
        return changes(lab, detect.drift_of(lab, observed.nodes), recreate=recreate)
    if observed.state == "interrupted":
        _require_chosen(lab)
    overlays = lab.overlays if observed.state in ("absent", "interrupted") else ()
    image = f"threezone/node:{lab.kubernetes}-{lab.name}"
    actions = lifecycle.plan(observed, declared, overlays, image)
    return (*create.supplies(lab), *actions) if has(actions, StepKind.CREATE_CLUSTER) else actions


def changes(lab: Lab, stands: Drift, *, recreate: bool) -> tuple[Step, ...]:
    """What makes a running cluster what is declared: in place, or with `recreate` a new one where that is needed.

    Raises ClusterError when a new one is asked for, and what would be lost with the old one cannot be seen.
    """
    if not (recreate and stands.blocking):
        return stands.actions
    from threezone.cluster import create
    from threezone.lab import data_loss

    _require_chosen(lab, " --recreate")
    lost = data_loss.look(lab)
    name = lab.name
    fields = ", ".join(row.field for row in stands.blocking)
    return (
        *create.supplies(lab),
        *lost.backup,
        *lost.actions,
        Step(
            StepKind.RECREATE_CLUSTER,
            f"delete the cluster {name} with everything in it, to make it anew with {fields} as declared",
            f"kind delete cluster --name {name}",
            asks=True,
        ),
        *lifecycle.plan(
            lifecycle.Observed(name, "absent"),
            lab.declared,
            lab.overlays,
            f"threezone/node:{lab.kubernetes}-{name}",
        ),
    )


def _require_chosen(lab: Lab, how: str = "") -> None:
    """Raise UsageError before a plan deletes a cluster whose name differs from the one in the file of --config."""
    if lab.name_is_chosen:
        return
    declared, name = lab.declared, lab.name
    command = f"./run invoke up{how} --config {shlex.quote(str(as_typed(declared.path)))} --name"
    raise UsageError(
        f"{as_typed(declared.path)} names the cluster {declared.name}, and invoke.yaml {name}: a cluster is deleted "
        "only when you say which",
        fix=f"{command} {declared.name}, or {command} {name}",
    )


def apply(lab: Lab, planned: Plan, *, recreate: bool = False, agree: Callable[[Sequence[Step]], None]) -> None:
    """Carry the plan out. Where a step makes more of the world visible, the rest is planned anew, as it was asked for.

    `agree` is asked about steps that come only then; it raises Declined.
    """

    def replan() -> tuple[Step, ...]:
        later = plan(lab, observe(lab), recreate=recreate).steps
        agree([step for step in later if step not in planned.steps])
        return later

    steps.apply(lab, planned.steps, replan)


def summary(lab: Lab, planned: Plan, seen: Seen) -> str:
    """What one has now: nodes, route, Flux, commit and the app's answer. `seen` is what was planned from."""
    # What `up` has delivered is what it waited for; Flux may look at it once more.
    seen = observe(lab, patient=False) if planned.steps else seen
    lines = [
        f"cluster   {lab.context}: " + ", ".join(f"{n.name} {n.version} Ready" for n in seen.nodes),
        f"API       {seen.server}" + (f" (TLS name {seen.tls_server_name})" if seen.tls_server_name else ""),
        f"Flux      {seen.flux.version}: {', '.join(c.name for c in seen.flux.components)}",
        f"commit    {lab_plan.revision(lab, seen) if seen.delivery else 'none'}",
    ]
    try:
        lines.append(f"app       {app_answer(lab.api, lab.settings.app)}")
    except DeliveryError as silent:  # a project may have no such app; what there is was waited for
        lines.append(f"app       none: {silent.evidence}")
    notices = planned.notices
    if planned.steps:  # the world has changed since
        notices = (_told(lab, seen, _stands(lab, seen)), *versions.seen_apart(lab, seen))
    lines += [f"notice    {line}" for notice in notices for line in notice.splitlines()]
    return "\n".join(lines)
