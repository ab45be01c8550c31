"""The plan of `up` for what was observed, in order. Pure: `--dry-run` prints it, `up` carries it out."""

from __future__ import annotations

from collections.abc import Sequence

from threezone.cluster.lab import Lab
from threezone.core import pins
from threezone.core.plan import Step, StepKind, has
from threezone.delivery import handover
from threezone.flux import installation
from threezone.lab.observe import LabState


def revision(lab: Lab, state: LabState) -> str:
    """The revision of the commit that is to be delivered, as Flux spells it."""
    return f"{lab.settings.gitops.branch}@sha1:{state.head.sha}" if state.head else ""


def is_delivered(lab: Lab, state: LabState) -> bool:
    """Whether Flux has applied the wanted revision as the settings say, and everything that it brings is ready."""
    applied = bool(state.delivery and state.delivery.ready and state.delivery.applied == revision(lab, state))
    return applied and not handover.changes(lab, state.declared, state.head)


def wanted_flux(lab: Lab) -> str:
    """The version of Flux that the settings or the pins ask for, as Flux's own labels spell it."""
    return f"v{pins.tools(lab.root).flux.version}"


def flux_change(lab: Lab, state: LabState) -> str:
    """The sentence of an upgrade or downgrade of our own Flux; "" for the wanted version and for somebody else's."""
    wanted = wanted_flux(lab)
    if state.flux_installer != installation.OURS or state.flux.version in ("", wanted):
        return ""
    return installation.change(state.flux.version, wanted)


def flux_notices(lab: Lab, state: LabState) -> tuple[str, ...]:
    """What a person should know of the Flux that runs: its feature gates, and that somebody else's is not changed."""
    installer, version = state.flux_installer, state.flux.version
    if installer == installation.OURS or version in ("", wanted_flux(lab)):
        return state.flux_notices
    sentence = f"Flux {version} was installed by {installer} and stays; {wanted_flux(lab)} is asked for"
    return (f"{sentence}: ./run invoke flux.install replaces it, after a question", *state.flux_notices)


def _flux_steps(lab: Lab, state: LabState, *, fresh: bool) -> list[Step]:
    """Install Flux where it is missing or not ready, or change its version. A downgrade asks."""
    if change := "" if fresh else flux_change(lab, state):
        install = Step(StepKind.INSTALL_FLUX, change, "./run invoke flux.install", asks=change.startswith("downgrade"))
        return [install, Step(StepKind.WAIT_FOR_FLUX, "wait until its controllers serve")]
    return [Step(StepKind.INSTALL_FLUX, "install Flux", "flux install")] if fresh or not state.flux.ready else []


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
    steps += (flux := _flux_steps(lab, state, fresh=fresh))
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
