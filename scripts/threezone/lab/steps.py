"""Carry out the steps of a lab's plan. Each step may be run again: it changes only what is not done yet."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import datetime
from itertools import takewhile

from threezone.clients.kubernetes import pods
from threezone.clients.kubernetes.watch import World, wait_for
from threezone.cluster import create, lease, lifecycle, local_registry, recover
from threezone.cluster.create import Created
from threezone.cluster.drift import detect
from threezone.cluster.lab import WAIT_SECONDS, Lab
from threezone.cluster.pod_recovery import ALL_PODS
from threezone.core.errors import ClusterError, ThreezoneError
from threezone.core.events import note, step
from threezone.core.plan import Step, StepKind, has
from threezone.delivery import git_backup, git_server, push, serve
from threezone.flux import components, install, installation
from threezone.images import preload
from threezone.lab.observe import ALL_DEPLOYMENTS, is_waiting

ENGINE = frozenset((StepKind.INSTALL_ENGINE, StepKind.WRAP_RUNTIME, StepKind.START_ENGINE, StepKind.RELOAD_ENGINE))
# The steps for which the cluster's lease is needed, with the states of the cluster that they are planned for.
EXPECTED: Mapping[StepKind, tuple[lifecycle.State, ...]] = {
    StepKind.WAIT_FOR_LEASE: (),
    StepKind.DELETE_CLUSTER: ("interrupted",),
    StepKind.RECREATE_CLUSTER: ("interrupted", "stopped", "running"),
    StepKind.CREATE_CLUSTER: ("absent",),
    StepKind.START_NODES: ("stopped", "running"),
}
# The engine becomes visible, what another run did, then the cluster; a plan that goes on changing does not end.
REPLANS = 4


@dataclass
class Results:
    """What the steps have returned so far, for the steps after them."""

    created: Created | None = None
    started: Mapping[str, datetime] = field(default_factory=dict)
    reach: bool = False  # whether a Git server has just begun to serve, which Flux may not reach yet
    background: dict[StepKind, Future[object]] = field(default_factory=dict)  # steps that run beside the others

    @property
    def images(self) -> frozenset[str]:
        """The images that every node is known to have."""
        return self.created.images if self.created else frozenset()


def unsettled(world: World) -> list[str]:
    """What is not available yet: Deployments, and pods of the system that can never start. Pure."""
    broken = pods.missing(world[ALL_PODS].values())
    lines = [f"deployment {key}" for key, item in world[ALL_DEPLOYMENTS].items() if is_waiting(item)]
    return lines + [line for line in broken if "kube-system/" in line] if lines or broken else []


def settle(lab: Lab) -> None:
    """Wait until every workload of the cluster is available, CoreDNS included."""
    with step("wait until every workload is available"):
        wait_for(lab.api, [ALL_DEPLOYMENTS, ALL_PODS], unsettled, seconds=WAIT_SECONDS, what="the lab")


def apply(
    lab: Lab, steps: Sequence[Step], replan: Callable[[], Sequence[Step]] | None = None, *, retain: bool = False
) -> Results:
    """Carry out a plan in its order; independent steps run in the background.

    After a step that reveals more of the world, `replan` returns the remaining steps. `retain` keeps the nodes of a
    failed create. Returns the results of the steps.
    """
    results = Results()
    with ExitStack() as leases:
        for _ in range(REPLANS):
            now = list(takewhile(lambda each: not each.reveals, steps)) if replan else list(steps)
            now += steps[len(now) : len(now) + 1]
            if any(each.kind in EXPECTED for each in now):
                leases.enter_context(lease.hold(lab.name, lab.settings.cluster.lease_timeout))
            if _fits(lab, now):
                _run(lab, now, results, retain=retain)
                if replan is None or not (now and now[-1].reveals):
                    return results
            elif replan is None:
                raise ClusterError(f"the cluster {lab.name} has changed since it was planned", fix="run this again")
            steps = replan()
    raise ThreezoneError("the lab changes while it is planned: each plan was another one", fix="./run invoke up")


def _fits(lab: Lab, steps: Sequence[Step]) -> bool:
    """Whether the cluster still has the state that the first step which changes it was planned for."""
    first = next((each.kind for each in steps if each.kind in EXPECTED), StepKind.WAIT_FOR_LEASE)
    return first is StepKind.WAIT_FOR_LEASE or lifecycle.observe(lab.name).state in EXPECTED[first]


def _run(lab: Lab, steps: Sequence[Step], results: Results, *, retain: bool) -> None:
    fresh = all(has(steps, kind) for kind in (StepKind.CREATE_CLUSTER, StepKind.INSTALL_FLUX, StepKind.SERVE_GIT))
    results.background.clear()
    with ThreadPoolExecutor(2) as pool:
        if repairs := [each for each in steps if each.kind in ENGINE]:
            from threezone.engine import repair

            repair.apply(repairs)
        for each in steps:
            if fresh and each.kind is StepKind.CREATE_CLUSTER:
                # It asks no cluster and takes a second: there is one to spare while kind works.
                pool.submit(install.objects, lab.tools["flux"], installation.choose((), lab.channel, None))
            if fresh and each.kind is StepKind.INSTALL_FLUX:  # with every image in its nodes
                results.background[StepKind.SERVE_GIT] = pool.submit(serve.start, lab, present=results.images)
            if each.kind is StepKind.WAIT_FOR_NODES:
                complete = create.nodes_ready(lab)
                new = results.created is not None
                results.background[StepKind.WAIT_FOR_NODES] = pool.submit(create.mark, lab, new=new)
                local_registry.connect(lab)  # before the first pod whose image may come from there
                if not complete:
                    raise create.no_pod_network(lab)
            elif each.kind in results.background:
                results.background[each.kind].result()
            elif each.kind not in ENGINE:
                _step(lab, each, results, retain=retain)
        for future in results.background.values():
            future.result()


def _step(lab: Lab, each: Step, results: Results, *, retain: bool) -> None:  # noqa: C901, PLR0912  one line for each kind
    match each.kind:
        case StepKind.WAIT_FOR_LEASE:
            pass  # `apply` has the lease
        case StepKind.GET_TOOLS:
            _ = lab.tools
        case StepKind.GET_IMAGES:
            preload.ensure(lab.images, lab.channel)
        case StepKind.DELETE_CLUSTER:
            lifecycle.delete(lab)
        case StepKind.LABEL_NODES:
            detect.relabel(lab)
        case StepKind.BACK_UP_GIT:
            git_backup.create(lab)
        case StepKind.RECREATE_CLUSTER:
            create.recreate(lab)
        case StepKind.CREATE_CLUSTER:
            results.created = create.create(lab, retain=retain)
        case StepKind.START_NODES:
            results.started = recover.start(lab)
        case StepKind.WAIT_FOR_PODS:
            recover.revive(lab, results.started)
        case StepKind.CONNECT:
            create.connect(lab, results.created.kubeconfig if results.created else "")
        case StepKind.SERVE_GIT:
            serve.start(lab, present=results.images)
        case StepKind.INSTALL_FLUX:
            install.install(lab, results.images, agreed=each.sentence if each.asks else "")
        case StepKind.WAIT_FOR_FLUX:
            components.wait_ready(lab.api, components.observe(lab.api).names, WAIT_SECONDS)
        case StepKind.WAIT_FOR_GIT:
            git_server.wait_ready(lab.api, WAIT_SECONDS)
            results.reach = True
        case StepKind.RESTORE_GIT:
            git_backup.restore(lab)
        case StepKind.REPLACE_DELIVERY:
            pass  # DELIVER does it, as gitops.push and gitops.watch do
        case StepKind.DELIVER:
            push.deliver_to_new(lab, reach=results.reach)
        case StepKind.WAIT_FOR_WORKLOADS:
            settle(lab)
        case _:
            note(each.sentence)
