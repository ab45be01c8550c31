"""A stopped or restarted cluster brought back: nodes, a proved route, and pods that are Ready, not only called so."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from datetime import datetime

from threezone.clients import kind
from threezone.clients.kubernetes.watch import Watching, World, key_of, look
from threezone.cluster import create, lifecycle, pod_recovery
from threezone.cluster import start as starting
from threezone.cluster.containers import started
from threezone.cluster.lab import Lab
from threezone.cluster.lifecycle import NODES
from threezone.cluster.pod_recovery import ALL_PODS, Back
from threezone.core.errors import ClusterError
from threezone.core.events import note, step

SECONDS = 180.0  # for the pods, after the API server answers
# A kubelet that has just begun to probe calls what runs Ready, then not, and Ready again when it has an answer.
STEADY = 2.0
PATIENCE = 30.0  # a server that is just coming up may be away once more


def start(lab: Lab) -> dict[str, datetime]:
    """Start the cluster's nodes: what is stopped, and what was about to stop. Returns when the engine started each."""
    nodes = kind.nodes(lab.name)
    if not nodes:
        raise ClusterError(f"there is no cluster named {lab.name}", fix="./run invoke up")
    starting.start(nodes)
    return started(kind.nodes(lab.name))  # now, while the API server has yet to come up


def bring_back(lab: Lab, is_whole: Callable[[], bool]) -> tuple[str, ...] | None:
    """Start the cluster and wait until it is whole: nodes, route, pods. None: there was nothing to do.

    Returns what `revive` returns. Raises ClusterError for a cluster that is not there, not ours, or never was whole.
    """
    name = lab.name
    seen = lifecycle.observe(name)
    if seen.state == "absent":
        raise ClusterError(f"there is no cluster named {name}", fix="./run invoke up")
    if seen.state == "interrupted":
        raise ClusterError(f"the cluster {name} was never created to the end", fix="./run invoke up")
    planned = lifecycle.plan(seen, lab.declared, (), "")  # refuses a foreign one
    if not planned and is_whole():
        return None
    since = start(lab)
    create.connect(lab)
    return revive(lab, since)


def revive(lab: Lab, since: Mapping[str, datetime] | None = None) -> tuple[str, ...]:
    """Wait until every pod is Ready again, and help those that are held back by the restart alone.

    Returns a line for each pod that crashes by itself, cannot be scheduled or has no image: a restart mends none of it,
    and the cluster is there all the same. Raises Overdue when something else is not back in time.
    """
    since = since or started(kind.nodes(lab.name))
    with step("wait until every pod is Ready again") as running:
        end = time.monotonic() + PATIENCE
        patient = lab.api.patient(lambda: end)
        seen = look(patient, [NODES, ALL_PODS])
        if since and (
            freed := starting.hand_back(patient, seen[ALL_PODS].values(), seen[NODES].values(), min(since.values()))
        ):
            note(f"handed back for leaders that have ended: {', '.join(freed)}")
        back = _watch(lab, since)
        running.result = f"{len(back.stuck)} are not: no restart mends them" if back.stuck else ""
    return back.stuck


def _watch(lab: Lab, since: Mapping[str, datetime]) -> Back:
    nudged: dict[str, int] | None = None
    end = time.monotonic() + SECONDS

    def missing(world: World) -> list[str]:
        seen = pod_recovery.judge(world, since, nudged, pod_network=lab.declared.pod_network)
        # Held back pods are waited for only after the nudge; before, they are what the wait ends with.
        return [*seen.waiting, *((f"pod {key_of(pod)}, held back" for pod in seen.held) if nudged is not None else ())]

    with Watching(lab.api, [NODES, ALL_PODS]) as watching:
        while True:
            left = max(1.0, end - time.monotonic())
            world = watching.until(missing, seconds=left, what="the restarted cluster", fresh=True, steady=STEADY)
            seen = pod_recovery.judge(world, since, nudged, pod_network=lab.declared.pod_network)
            if not seen.held:
                return seen
            nodes = sorted({pod["spec"]["nodeName"] for pod in seen.held})
            note(f"held back after a crash: {', '.join(map(key_of, seen.held))}; the kubelet forgets that now")
            nudged = {key_of(pod): pod_recovery.restarts(pod) for pod in seen.held}
            pod_recovery.nudge(nodes)
