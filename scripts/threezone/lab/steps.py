"""The lab's plan carried out. Every step may be run again: it looks before it changes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

from threezone.clients.kubernetes import pods
from threezone.clients.kubernetes.watch import World, condition, wait_for
from threezone.cluster import create, recover
from threezone.cluster.drift import report
from threezone.cluster.lab import GENTLE_SECONDS, Lab
from threezone.cluster.pod_recovery import ALL_PODS
from threezone.core.events import note, step
from threezone.core.plan import Action
from threezone.delivery import git_backup, push, serve
from threezone.flux import install, installation
from threezone.lab.observe import ALL_DEPLOYMENTS
from threezone.zones import connection


def unsettled(world: World) -> list[str]:
    """The judge of a settled lab: every Deployment available; a pod that never can be ends the wait. Pure."""
    broken = pods.missing(world[ALL_PODS].values())
    lines = [
        f"deployment {key}"
        for key, item in world[ALL_DEPLOYMENTS].items()
        if condition(item, "Available").get("status") != "True"
    ]
    return lines + [line for line in broken if "kube-system/" in line] if lines or broken else []


def settle(lab: Lab) -> None:
    """One true wait at the end: every workload of the cluster, CoreDNS included."""
    with step("wait until every workload is available"):
        wait_for(lab.api, [ALL_DEPLOYMENTS, ALL_PODS], unsettled, seconds=GENTLE_SECONDS, what="the lab")


STEPS: dict[str, Callable[[Lab], object]] = {
    "tools": lambda lab: lab.tools,
    "images": create.get_images,
    "delete": create.delete,
    "labels": report.relabel,
    "rescue": git_backup.take,
    "recreate": create.recreate,
    "create": create.create,
    "start": recover.start,
    "revive": recover.revive,
    "connect": connection.connect_lab,
    "git": serve.start,
    "flux": install.install,
    "serve": serve.wait,
    "restore": git_backup.put_back,
    "deliver": push.deliver_to_new,
    "settle": settle,
}


def apply(lab: Lab, actions: Sequence[Action]) -> None:
    """Carry out a plan in its order; what does not wait for another goes on beside it.

    Actions without a step of their own (announcements) are only said.
    """
    keys = {action.key for action in actions}
    fresh = {"create", "flux", "git"} <= keys  # with every image in its nodes
    started: dict[str, Future[object]] = {}
    with ThreadPoolExecutor(2) as beside:
        for action in actions:
            if fresh and action.key == "create":
                # It asks no cluster and takes a second: there is one to spare while kind works.
                beside.submit(install.objects, lab.tools["flux"], installation.choose((), lab.channel, None))
            if fresh and action.key == "flux":
                started["git"] = beside.submit(STEPS["git"], lab)
            if action.key in started:
                started[action.key].result()
            elif action.key == "ready":
                complete = create.nodes_ready(lab)
                started["mark"] = beside.submit(create.mark, lab)
                if not complete:
                    raise create.no_pod_network(lab)
            elif action.key in STEPS:
                STEPS[action.key](lab)
            else:
                note(action.sentence)
        for each in started.values():
            each.result()
