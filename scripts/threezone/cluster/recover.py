"""Bring a stopped or restarted cluster back: nodes, a proved route, and pods that are Ready since the restart."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from datetime import datetime

from threezone.clients import kind
from threezone.clients.kubernetes.watch import Watching, World, key_of, look
from threezone.cluster import create, lease, lifecycle, pod_recovery
from threezone.cluster import start as starting
from threezone.cluster.containers import started
from threezone.cluster.lab import Lab
from threezone.cluster.lifecycle import NODES
from threezone.cluster.pod_recovery import ALL_PODS, Recovery
from threezone.core.errors import ClusterError
from threezone.core.events import note, step

SECONDS = 180.0  # for the pods, after the API server answers
# A starting kubelet reports a running container as Ready, then as not ready, then after its probe as Ready.
STEADY = 2.0
PATIENCE = 30.0  # a starting API server may stop answering once more


def start(lab: Lab) -> dict[str, datetime]:
    """Start the cluster's stopped or stopping nodes. Returns when the engine started each node."""
    nodes = kind.nodes(lab.name)
    if not nodes:
        raise ClusterError(f"there is no cluster named {lab.name}", fix="./run invoke up")
    starting.start(nodes)
    return started(kind.nodes(lab.name))  # now, before the API server is up


def bring_back(lab: Lab, is_whole: Callable[[], bool]) -> tuple[str, ...] | None:
    """Start the cluster and wait for nodes, route and pods. Returns what `revive` returns, or None if nothing was done.

    Raises ClusterError for a cluster that is absent, not ours, or was never complete.
    """
    observed = lifecycle.observe(lab.name)
    if observed.state == "absent":
        raise ClusterError(f"there is no cluster named {lab.name}", fix="./run invoke up")
    if observed.lease is not None:
        raise lease.busy(lab.name, observed.lease)
    if observed.state == "interrupted":
        raise ClusterError(f"the cluster {lab.name} was never created completely", fix="./run invoke up")
    planned = lifecycle.plan(observed, lab.declared, (), "")  # raises for a foreign cluster
    if not planned and is_whole():
        return None
    since = start(lab)
    create.connect(lab)
    return revive(lab, since)


def revive(lab: Lab, since: Mapping[str, datetime] | None = None) -> tuple[str, ...]:
    """Wait until every pod is Ready again, and end the delays that only the restart causes.

    Returns a line for each pod that crashes by itself, cannot be scheduled or has no image: a restart does not repair
    that, and the cluster is usable. Raises Overdue when something else does not recover in time.
    """
    since = since or started(kind.nodes(lab.name))
    with step("wait until every pod is Ready again") as running:
        end = time.monotonic() + PATIENCE
        api = lab.api.retrying(lambda: end)
        world = look(api, [NODES, ALL_PODS])
        if since and (
            released := starting.release_leases(
                api, world[ALL_PODS].values(), world[NODES].values(), min(since.values())
            )
        ):
            note(f"released the leases of ended leaders: {', '.join(released)}")
        stuck = _wait(lab, since).stuck
        running.result = f"{len(stuck)} are not: no restart repairs them" if stuck else ""
    return stuck


def _wait(lab: Lab, since: Mapping[str, datetime]) -> Recovery:
    restarts: dict[str, int] | None = None  # of the pods in back-off, at the time when the kubelets were restarted
    end = time.monotonic() + SECONDS

    def judge(world: World) -> Recovery:
        return pod_recovery.judge(world, since, restarts, pod_network=lab.declared.pod_network)

    def missing(world: World) -> list[str]:
        # Pods in back-off count only after the kubelets were restarted; before, they are what ends the wait.
        back_off = [] if restarts is None else [f"pod {key_of(pod)}, in back-off" for pod in judge(world).back_off]
        return [*judge(world).waiting, *back_off]

    with Watching(lab.api, [NODES, ALL_PODS]) as watching:
        while True:
            seconds = max(1.0, end - time.monotonic())
            world = watching.until(missing, seconds=seconds, what="the restarted cluster", fresh=True, steady=STEADY)
            recovery = judge(world)
            if not recovery.back_off:
                return recovery
            nodes = sorted({pod["spec"]["nodeName"] for pod in recovery.back_off})
            pods = ", ".join(map(key_of, recovery.back_off))
            note(f"in back-off after a crash: {pods}; restarting the kubelet ends it")
            restarts = {key_of(pod): pod_recovery.restarts(pod) for pod in recovery.back_off}
            pod_recovery.restart_kubelets(nodes)
