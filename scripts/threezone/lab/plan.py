"""From what is seen to what is to be done, in order. Pure: `--dry-run` prints it, `up` carries it out."""

from __future__ import annotations

from collections.abc import Sequence

from threezone.cluster.lab import Lab
from threezone.core.plan import Step, StepKind, has
from threezone.lab.observe import Seen


def revision(lab: Lab, seen: Seen) -> str:
    """The revision that the lab shall run, as Flux spells it."""
    return f"{lab.settings.gitops.branch}@sha1:{seen.head.sha}" if seen.head else ""


def is_delivered(lab: Lab, seen: Seen) -> bool:
    """Whether Flux has applied the wanted revision, and everything that it brings is ready."""
    return bool(seen.delivery and seen.delivery.ready and seen.delivery.applied == revision(lab, seen))


def up(lab: Lab, seen: Seen, cluster: tuple[Step, ...], backed_up: Sequence[str] = ()) -> tuple[Step, ...]:
    """What brings the lab up, given the cluster's own plan. Empty when everything is as it should be.

    `backed_up` are the repositories of an earlier cluster that are restored into the Git server.
    """
    actions = list(cluster)
    restoring = bool(backed_up) or has(cluster, StepKind.BACK_UP_GIT)
    fresh = has(cluster, StepKind.CREATE_CLUSTER)
    if fresh or not seen.nodes_ready:
        actions.append(Step(StepKind.CONNECT, f"prove a route to the API server and write the context {lab.context}"))
    if has(cluster, StepKind.START_NODES):
        actions.append(
            Step(
                StepKind.WAIT_FOR_PODS,
                "wait until every pod is Ready again, and help those that the restart holds back",
                reveals=True,
            )
        )
    # What is applied while the nodes are not Ready yet starts the moment they are; first what takes longest to start.
    if flux := fresh or not seen.flux.ready:
        actions.append(Step(StepKind.INSTALL_FLUX, "install Flux", "flux install"))
    if git := fresh or restoring or not seen.git_serves:
        actions.append(Step(StepKind.SERVE_GIT, "serve Git in the cluster"))
    if fresh or not seen.nodes_ready:
        actions.append(Step(StepKind.WAIT_FOR_NODES, "wait until every node is Ready"))
    if git or flux:  # Flux may go on starting while the commit is pushed
        actions.append(Step(StepKind.WAIT_FOR_GIT, "wait until the Git server serves"))
    if restoring:  # before Flux is sent there: the branch that it follows has to be what it was
        named = f" ({', '.join(backed_up)})" if backed_up else ""
        actions.append(Step(StepKind.RESTORE_GIT, f"put back what the Git server held{named}"))
    if git or not is_delivered(lab, seen):
        short = seen.head.sha[:7] if seen.head else "the commit"
        actions.append(
            Step(
                StepKind.DELIVER,
                f"push {short} and wait until Flux has applied it",
                f"git push … {lab.settings.gitops.branch}",
            )
        )
    if fresh or actions or seen.waiting:
        actions.append(Step(StepKind.WAIT_FOR_WORKLOADS, "wait until every workload is available (CoreDNS included)"))
    return tuple(actions)
