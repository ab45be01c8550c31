"""The lab's plan carried out. Every step may be run again: it looks before it changes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

from threezone.cluster.settling import ALL_PODS
from threezone.events import note, step
from threezone.gitops import flux_installation
from threezone.kube import pods
from threezone.kube.waiting import World, condition, wait_for
from threezone.lab import connection, creation, deliver, flux_install, git_server, rescue, restart, standing
from threezone.lab.observe import ALL_DEPLOYMENTS
from threezone.lab.session import GENTLE_SECONDS, Session
from threezone.plan import Action


def unsettled(world: World) -> list[str]:
    """The judge of a settled lab: every Deployment available; a pod that never can be ends the wait. Pure."""
    broken = pods.missing(world[ALL_PODS].values())
    lines = [
        f"deployment {key}"
        for key, item in world[ALL_DEPLOYMENTS].items()
        if condition(item, "Available").get("status") != "True"
    ]
    return lines + [line for line in broken if "kube-system/" in line] if lines or broken else []


def settle(session: Session) -> None:
    """One true wait at the end: every workload of the cluster, CoreDNS included."""
    with step("wait until every workload is available"):
        wait_for(session.api, [ALL_DEPLOYMENTS, ALL_PODS], unsettled, seconds=GENTLE_SECONDS, what="the lab")


STEPS: dict[str, Callable[[Session], object]] = {
    "tools": lambda session: session.tools,
    "images": creation.get_images,
    "delete": creation.delete,
    "labels": standing.relabel,
    "rescue": rescue.take,
    "recreate": creation.recreate,
    "create": creation.create,
    "start": restart.start,
    "revive": restart.revive,
    "connect": connection.connect_lab,
    "git": git_server.start,
    "flux": flux_install.install,
    "serve": git_server.wait,
    "restore": rescue.put_back,
    "deliver": deliver.deliver_to_new,
    "settle": settle,
}


def apply(session: Session, actions: Sequence[Action]) -> None:
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
                beside.submit(
                    flux_install.objects, session.tools["flux"], flux_installation.choose((), session.channel, None)
                )
            if fresh and action.key == "flux":
                started["git"] = beside.submit(STEPS["git"], session)
            if action.key in started:
                started[action.key].result()
            elif action.key == "ready":
                complete = creation.nodes_ready(session)
                started["mark"] = beside.submit(creation.mark, session)
                if not complete:
                    raise creation.no_pod_network(session)
            elif action.key in STEPS:
                STEPS[action.key](session)
            else:
                note(action.sentence)
        for each in started.values():
            each.result()
