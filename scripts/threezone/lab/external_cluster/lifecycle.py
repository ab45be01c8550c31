"""up and down on an adopted cluster: what the lab adds to it, and removes again. The cluster itself stays."""

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
from threezone.lab.observe import LabState
from threezone.zones.export import tokens

# Steps that create or repair a cluster, or wait for workloads that are not ours.
OWN_CLUSTER_ONLY = (StepKind.CONNECT, StepKind.WAIT_FOR_NODES, StepKind.WAIT_FOR_WORKLOADS)


def plan_up(lab: Lab, state: LabState) -> Plan:
    """The steps for Flux, the Git server and the commit where missing. Each asks, because the cluster is not ours.

    Raises ClusterError when its API server does not answer, UsageError without a commit.
    """
    if state.head_error is not None:
        raise state.head_error
    return Plan(needed(lab, state), lab_plan.flux_notices(lab, state))


def needed(lab: Lab, state: LabState) -> tuple[Step, ...]:
    """The steps of `plan_up`. Pure."""
    if state.unreachable:
        raise ClusterError(
            f"the API server of {lab.context} does not answer",
            evidence=state.unreachable,
            fix="./run invoke kubeconfig.connect",
        )
    return tuple(
        replace(each, sentence=f"{each.sentence} (on {lab.context})", asks=True)
        for each in lab_plan.up(lab, state, ())
        if each.kind not in OWN_CLUSTER_ONLY
    )


def plan_down(lab: Lab) -> tuple[Step, ...]:
    """The removal of what is ours and nobody else needs, and the end of the adoption."""
    where = lab.context
    steps = list(serve.plan_remove(lab))
    installed = installation.observe(lab.api)
    if installed is not None and installed.ours:
        if others := _objects_of_others(lab):
            sentence = f"leave Flux on {where}: others have objects of it ({', '.join(others)})"
            steps.append(Step(StepKind.NOTE, sentence))
        else:
            sentence = f"remove Flux {installed.version}, which threezone installed on {where}"
            steps.append(Step(StepKind.REMOVE_FLUX, sentence, "flux uninstall", asks=True))
    if accounts := tokens.ours(lab.api):
        steps.append(Step(StepKind.END_TOKENS, f"end the tokens of {', '.join(accounts)} on {where}", asks=True))
    steps.append(Step(StepKind.RELEASE_CONTEXT, f"release the cluster of {where}; it is not changed any more"))
    return tuple(steps)


def _objects_of_others(lab: Lab) -> tuple[str, ...]:
    """Flux's objects that are not the lab's."""
    target = sync.target_of(lab)
    others = (one for one in objects.observe(lab.api) if (one.namespace, one.name) != (target.namespace, target.name))
    return tuple(one.what for one in others if not uninstall.derived(one))


def apply_down(lab: Lab, steps: Sequence[Step]) -> tuple[str, ...]:
    """Carry the plan out; returns sentences about the released cluster."""
    kinds = [each.kind for each in steps]
    if StepKind.REMOVE_GIT in kinds:
        serve.remove(lab)
    if StepKind.REMOVE_FLUX in kinds:
        flux = uninstall.observe(lab.api)
        planned = uninstall.plan(flux, prune=False, keep_namespace=False).steps
        uninstall.apply(lab.api, flux, planned, prune=False, seconds=lab.settings.gitops.timeout)
    if StepKind.END_TOKENS in kinds:
        with step("end the tokens"):
            token.remove(lab.api, lab)
    proxy.stop(lab.context)
    return adopt.release(lab.root) if record.context(lab.root) == lab.foreign else ()
