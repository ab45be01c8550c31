"""up and down on an adopted cluster: what the lab brings there, and takes away again. The cluster is left alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from threezone.cluster.lab import Lab
from threezone.core.errors import ClusterError
from threezone.core.events import step
from threezone.core.plan import Plan, Step, StepKind
from threezone.delivery import serve, sync
from threezone.extras.addons import proxy, token
from threezone.flux import installation, objects, uninstall
from threezone.lab import plan as lab_plan
from threezone.lab.external_cluster import adopt, record
from threezone.lab.observe import Seen
from threezone.zones.export import tokens

# Steps of a lab's plan that make or mend a cluster, or wait for workloads that are not ours.
NOT_OURS = (StepKind.CONNECT, StepKind.WAIT_FOR_NODES, StepKind.WAIT_FOR_WORKLOADS)


def plan_up(lab: Lab, seen: Seen) -> Plan:
    """Flux, the Git server and the commit, as far as they are missing; each needs a yes, for the cluster is not ours.

    Raises ClusterError when its API server does not answer, UsageError without a commit.
    """
    if seen.head_trouble is not None:
        raise seen.head_trouble
    return Plan(needed(lab, seen))


def needed(lab: Lab, seen: Seen) -> tuple[Step, ...]:
    """The same, from what was seen. Pure."""
    if seen.unreachable:
        raise ClusterError(
            f"the API server of {lab.context} does not answer",
            evidence=seen.unreachable,
            fix="./run invoke kubeconfig.connect",
        )
    where = f"(on {lab.context})"
    return tuple(
        replace(each, sentence=f"{each.sentence} {where}", asks=True)
        for each in lab_plan.up(lab, seen, ())
        if each.kind not in NOT_OURS
    )


def plan_down(lab: Lab) -> tuple[Step, ...]:
    """What of ours is there, as far as nobody else needs it, and the end of the adoption."""
    where = lab.context
    actions = list(serve.plan_remove(lab))
    installed = installation.observe(lab.api)
    if installed is not None and installed.ours:
        if others := _of_others(lab):
            sentence = f"leave Flux on {where}: others have objects of it ({', '.join(others)})"
            actions.append(Step(StepKind.NOTE, sentence))
        else:
            sentence = f"remove Flux {installed.version}, which threezone has installed on {where}"
            actions.append(Step(StepKind.REMOVE_FLUX, sentence, "flux uninstall", asks=True))
    if accounts := tokens.ours(lab.api):
        actions.append(Step(StepKind.END_TOKENS, f"end the tokens of {', '.join(accounts)} on {where}", asks=True))
    actions.append(Step(StepKind.RELEASE_CONTEXT, f"give the cluster of {where} back; it is not changed any more"))
    return tuple(actions)


def _of_others(lab: Lab) -> tuple[str, ...]:
    """Flux's objects that are not the lab's."""
    target = sync.target_of(lab)
    others = (one for one in objects.observe(lab.api) if (one.namespace, one.name) != (target.namespace, target.name))
    return tuple(one.what for one in others if not uninstall.derived(one))


def apply_down(lab: Lab, actions: Sequence[Step]) -> tuple[str, ...]:
    """Carry it out; returns what to tell of the cluster that is given back."""
    kinds = [action.kind for action in actions]
    if StepKind.REMOVE_GIT in kinds:
        serve.remove(lab)
    if StepKind.REMOVE_FLUX in kinds:
        seen = uninstall.observe(lab.api)
        planned = uninstall.plan(seen, prune=False, keep_namespace=False).steps
        uninstall.apply(lab.api, seen, planned, prune=False, seconds=lab.settings.gitops.timeout)
    if StepKind.END_TOKENS in kinds:
        with step("end the tokens"):
            token.remove(lab.api, lab)
    proxy.stop(lab.context)
    return adopt.release(lab.root) if record.context(lab.root) == lab.foreign else ()
