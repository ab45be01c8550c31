"""The plan of `up` for what was observed, in order. Pure: `--dry-run` prints it, `up` carries it out."""

from __future__ import annotations

from collections.abc import Sequence

from threezone.cluster.lab import Lab
from threezone.core.plan import Step, StepKind, has
from threezone.delivery import handover
from threezone.lab.observe import LabState


def revision(lab: Lab, state: LabState) -> str:
    """The revision of the commit that is to be delivered, as Flux spells it."""
    return f"{lab.settings.gitops.branch}@sha1:{state.head.sha}" if state.head else ""


def is_delivered(lab: Lab, state: LabState) -> bool:
    """Whether Flux has applied the wanted revision as the settings say, and everything that it brings is ready."""
    applied = bool(state.delivery and state.delivery.ready and state.delivery.applied == revision(lab, state))
    return applied and not handover.changes(lab, state.declared, state.head)


def up(lab: Lab, state: LabState, cluster: tuple[Step, ...], backup: Sequence[str] = ()) -> tuple[Step, ...]:
    """The steps that bring the lab up, after those for the `cluster`. Empty when nothing is to be done.

    `backup` are the repositories of an earlier cluster that were backed up for the Git server.
    """
    branch = lab.settings.gitops.branch
    steps = list(cluster)
    restore = bool(backup) or has(cluster, StepKind.BACK_UP_GIT)
    fresh = has(cluster, StepKind.CREATE_CLUSTER)
    if fresh or not state.nodes_ready:
        steps.append(Step(StepKind.CONNECT, f"prove a route to the API server and write the context {lab.context}"))
    if has(cluster, StepKind.START_NODES):
        sentence = "wait until every pod is Ready again, and help those that the restart holds back"
        steps.append(Step(StepKind.WAIT_FOR_PODS, sentence, reveals=True))
    # What is applied while the nodes are not Ready starts the moment they are; first what takes longest to start.
    if flux := fresh or not state.flux.ready:
        steps.append(Step(StepKind.INSTALL_FLUX, "install Flux", "flux install"))
    if git := fresh or restore or not state.git_serves:
        steps.append(Step(StepKind.SERVE_GIT, "serve Git in the cluster"))
    if fresh or not state.nodes_ready:
        steps.append(Step(StepKind.WAIT_FOR_NODES, "wait until every node is Ready"))
    if git or flux:  # Flux may go on starting while the commit is pushed
        steps.append(Step(StepKind.WAIT_FOR_GIT, "wait until the Git server serves"))
    if restore:  # before Flux is sent there: the branch that it follows has to be what it was
        names = f" ({', '.join(backup)})" if backup else ""
        steps.append(Step(StepKind.RESTORE_GIT, f"put back what the Git server held{names}"))
    steps.extend(() if fresh else handover.plan(lab, state.declared, state.head))
    if git or not is_delivered(lab, state):
        commit = state.head.sha[:7] if state.head else "the commit"
        sentence = f"push {commit} and wait until Flux has applied it"
        steps.append(Step(StepKind.DELIVER, sentence, f"git push … {branch}"))
    if fresh or steps or state.waiting:
        steps.append(Step(StepKind.WAIT_FOR_WORKLOADS, "wait until every workload is available (CoreDNS included)"))
    return tuple(steps)
