"""up: plan and apply, from any state to a lab that runs the commit."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import replace

from threezone.clients.kind import Node
from threezone.cluster import lease, lifecycle
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
from threezone.lab.observe import LabState, observe


def plan(lab: Lab, state: LabState, *, recreate: bool = False) -> Plan:
    """The plan for what was observed. With `recreate` a cluster that needs it is replaced by a new one.

    Raises what no plan can repair: a foreign cluster, no commit, an engine that we cannot start.
    """
    _ = lab.declared  # a broken cluster file is an error even where nothing else is to be done
    if state.head_error is not None:
        raise state.head_error
    repairs: tuple[Step, ...] = ()
    if isinstance(state.engine_error, EngineError):
        from threezone.engine import repair

        _, repairs = repair.diagnose()
        if not repairs:
            raise state.engine_error
        repairs = (*repairs[:-1], replace(repairs[-1], reveals=True))
    drift = _drift(lab, state)
    cluster = _cluster(lab, state, drift, engine_first=bool(repairs), recreate=recreate)
    planned = (*repairs, *lab_plan.up(lab, state, cluster, git_backup.repositories(lab.key)))
    if planned and not repairs and (holder := lease.read(lab.name)):
        return Plan((lease.wait_step(holder),))
    removed = versions.removed_apis(lab, state, planned)
    if has(planned, StepKind.RECREATE_CLUSTER):
        return Plan(planned, (*versions.planned_skew(lab), *removed))
    skew = versions.live_skew(lab, state) if state.kubernetes else versions.planned_skew(lab)
    return Plan(planned, (*_notices(lab, state, drift), *skew, *removed))


def _drift(lab: Lab, state: LabState) -> Drift | None:
    """The drift of a healthy cluster of ours; None for others, and where a content hash shows none."""
    if not state.is_healthy_and_ours or detect.is_as_declared(lab, state.made_from, state.labels):
        return None
    return detect.drift_of(lab, state.containers, state.labels)


def _notices(lab: Lab, state: LabState, drift: Drift | None) -> tuple[str, ...]:
    suspended = ", ".join(state.delivery.suspended) if state.delivery else ""
    sentences = (
        (drift.notice if drift else "") or notice(lab, state.containers),
        f"{suspended}: suspended, so no commit changes what it applied" if suspended else "",
        *lab_plan.flux_notices(lab, state),
    )
    return tuple(filter(None, sentences))


def notice(lab: Lab, nodes: Sequence[Node]) -> str:
    """Where the API of a cluster of ours is published, if it is declared elsewhere; "" otherwise.

    The lab works as it is, so this is no failure; a new cluster costs what is in the old one, so it is no step.
    """
    if not nodes or not nodes[0].ours:
        return ""
    from threezone.cluster.spec import api_endpoint

    return api_endpoint.other_address_notice(nodes, published(lab.declared, lab.published))


def _cluster(lab: Lab, state: LabState, drift: Drift | None, *, engine_first: bool, recreate: bool) -> tuple[Step, ...]:
    """The steps for the cluster. A healthy API answers for its nodes, so that the nodes need not be asked."""
    if state.is_healthy_and_ours:
        return changes(lab, drift, recreate=recreate) if drift else ()
    if engine_first:  # nothing can be observed yet: neither images nor the engine's cgroup version
        images = Step(StepKind.GET_IMAGES, "get the tools and images that are missing")
        absent = lifecycle.Observed(lab.name, "absent")
        return (images, *lifecycle.plan(absent, lab.declared, _expected_overlays(lab), "…"))
    if not recreate and lifecycle.observe(lab.name).state == "running":
        # Complete, and not healthy: restarted a moment ago, or cut off while it was stopping.
        return (Step(StepKind.START_NODES, f"bring the nodes of the cluster {lab.name} back"),)
    return cluster_plan(lab, recreate=recreate)


def _expected_overlays(lab: Lab) -> tuple[Overlay, ...]:
    """The overlays that need no engine: the notes on versions, and the API's address before an engine can name it."""
    if lab.settings.cluster.api == "loopback":
        return lab.version_notes
    from threezone.cluster.spec import api_endpoint

    return (*lab.version_notes, api_endpoint.on_gateway(lab.declared, ""))


def cluster_plan(lab: Lab, *, recreate: bool = False) -> tuple[Step, ...]:
    """The steps that make the declared cluster run, with what has to be fetched or built for it."""
    from threezone.cluster import create

    declared = lab.declared  # first: a broken file is an error even where there is no engine
    observed = lifecycle.observe(lab.name)
    if observed.state == "running":
        return changes(lab, detect.drift_of(lab, observed.nodes), recreate=recreate)
    if observed.state == "interrupted":
        _require_chosen(lab)
    overlays = lab.overlays if observed.state in ("absent", "interrupted") else ()
    planned = lifecycle.plan(observed, declared, overlays, _node_image(lab))
    return (*create.supplies(lab), *planned) if has(planned, StepKind.CREATE_CLUSTER) else planned


def _node_image(lab: Lab) -> str:
    return f"threezone/node:{lab.kubernetes}-{lab.name}"


def changes(lab: Lab, drift: Drift, *, recreate: bool) -> tuple[Step, ...]:
    """The steps from the running cluster to the declared one: in place, or with `recreate` a new one where needed.

    Raises ClusterError when a new one is asked for, and what would be lost with the old one cannot be read.
    """
    if not (recreate and drift.blocking):
        return drift.actions
    from threezone.cluster import create
    from threezone.lab import data_loss

    _require_chosen(lab, " --recreate")
    lost = data_loss.observe(lab)
    fields = ", ".join(row.field for row in drift.blocking)
    sentence = f"delete the cluster {lab.name} with everything in it, and create it again with {fields} as declared"
    absent = lifecycle.Observed(lab.name, "absent")
    return (
        *create.supplies(lab),
        *lost.backup_steps,
        *lost.steps,
        Step(StepKind.RECREATE_CLUSTER, sentence, f"kind delete cluster --name {lab.name}", asks=True),
        *lifecycle.plan(absent, lab.declared, lab.overlays, _node_image(lab)),
    )


def _require_chosen(lab: Lab, flag: str = "") -> None:
    """Raise UsageError before a plan deletes a cluster whose name differs from the one in the file of --config."""
    if lab.name_is_chosen:
        return
    file, declared, name = as_typed(lab.declared.path), lab.declared.name, lab.name
    command = f"./run invoke up{flag} --config {shlex.quote(str(file))} --name"
    raise UsageError(
        f"{file} names the cluster {declared}, and invoke.yaml {name}: a cluster is deleted only when you say which",
        fix=f"{command} {declared}, or {command} {name}",
    )


def apply(lab: Lab, planned: Plan, *, recreate: bool = False, agree: Callable[[Sequence[Step]], None]) -> None:
    """Carry the plan out. Where a step reveals more of the world, the rest is planned again, with the same options.

    `agree` is asked about steps that are planned only then; it raises Declined.
    """

    def replan() -> tuple[Step, ...]:
        later = plan(lab, observe(lab), recreate=recreate).steps
        agree([step for step in later if step not in planned.steps])
        return later

    steps.apply(lab, planned.steps, replan)


def create_cluster(
    lab: Lab, planned: Sequence[Step], *, recreate: bool, retain: bool, agree: Callable[[Sequence[Step]], None]
) -> bool:
    """Carry out a plan of the cluster alone, and connect. False: the pod network is missing.

    It is planned again, and `agree` is asked about new steps, if another run has changed the cluster meanwhile.
    """
    from threezone.cluster import create

    def replan() -> tuple[Step, ...]:
        later = cluster_plan(lab, recreate=recreate)
        agree([step for step in later if step not in planned])
        return later

    with lease.hold(lab.name, lab.settings.cluster.lease_timeout) if planned else nullcontext():
        created = steps.apply(lab, planned, replan, retain=retain).created
        create.connect(lab, created.kubeconfig if created else "")
        return create.ready(lab, new=created is not None)


def summary(lab: Lab, planned: Plan, state: LabState) -> str:
    """The result for a person: nodes, route, Flux, commit and the app's answer. `state` is what was planned from."""
    # `up` has waited for its delivery; Flux may reconcile it once more.
    state = observe(lab, patient=False) if planned.steps else state
    lines = [
        f"cluster   {lab.context}: " + ", ".join(f"{n.name} {n.version} Ready" for n in state.nodes),
        f"API       {state.server}" + (f" (TLS name {state.tls_server_name})" if state.tls_server_name else ""),
        f"Flux      {state.flux.version}: {', '.join(c.name for c in state.flux.components)}",
        f"commit    {lab_plan.revision(lab, state) if state.delivery else 'none'}",
    ]
    try:
        lines.append(f"app       {app_answer(lab.api, lab.settings.app)}")
    except DeliveryError as silent:  # a project may have no such app
        lines.append(f"app       none: {silent.evidence}")
    notices = planned.notices
    if planned.steps:  # the world has changed since
        notices = (*_notices(lab, state, _drift(lab, state)), *versions.live_skew(lab, state))
    lines += [f"notice    {line}" for notice in notices for line in notice.splitlines()]
    return "\n".join(lines)
