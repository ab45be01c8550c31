"""The verdict on a delivery: whether all that a commit brings is at its revision, ready and healthy, or what is not."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress

from threezone.clients.kubernetes.api import Api, Json
from threezone.clients.kubernetes.watch import Overdue, World, condition, key_of, wait_for
from threezone.delivery import tree
from threezone.delivery.sync import Delivery, Target
from threezone.flux.objects import applied, artifact, inventory, is_suspended
from threezone.flux.status import VERDICT


def read(source: Json, root: Json, world: World) -> Delivery:
    """The delivery from Flux's objects and the workloads behind them. Pure.

    A run that has not ended is no verdict: the one before it may have failed without a trace (a failed build leaves
    neither a condition nor an entry in `status.history` once the next run has begun). Then the delivery is `busy`.
    """
    leaves, own = tree.troubles(source, root, world), tree.of_root(source, root)
    if condition(root, "Ready").get("reason") in {"HealthCheckFailed", "Progressing"}:
        words = [*leaves[:1], *own[:1]]  # the Kustomization waits for the leaf, which knows the cause
    else:
        words = [*own, *leaves][:1]
    return Delivery(
        url=str(source["spec"]["url"]),
        fetched=artifact(source),
        applied=applied(root),
        ready=not words,
        message="; ".join(map(str, words)) or str(condition(root, "Ready").get("message", "")),
        suspended=tree.suspended(source, root, world),
        busy=bool(own) and not leaves and not any(trouble.final for trouble in own) and _at_work(source, root),
    )


def _at_work(source: Json, root: Json) -> bool:
    """Whether Flux is about to give its verdict: a run is under way, and the one before it did not fail. Pure."""
    if condition(source, "Ready").get("status") == "False" or is_suspended(root):
        return False
    ready = condition(root, "Ready").get("status")
    if ready == "True":
        return condition(source, "Reconciling").get("status") == "True" or applied(root) != artifact(source)
    return ready == "Unknown" and not tree.last_failure(root)


def observe(
    api: Api, target: Target, deployments: Sequence[Json] | None = None, *, patient: bool = True
) -> Delivery | None:
    """The lab's delivery as Flux reports it, or None when it is not declared.

    With `patient` it waits a moment for a verdict that is about to come. `deployments` are those of the whole cluster,
    where the caller has them.
    """
    source, root = (api.get(path) for path in target.paths)
    if not source or not root:
        return None
    delivery = _with_tree(api, source, root, deployments)
    available = all(condition(item, "Available").get("status") == "True" for item in deployments or ())
    if not (delivery.busy and patient and available):
        return delivery

    def missing(world: World) -> list[str]:
        source, root = target.find(world)
        return ["Flux's verdict"] if source and root and read(source, root, {}).busy else []

    with suppress(Overdue):
        # What is read is the world in which the verdict was given: the next run may have begun already.
        world = wait_for(api, [target.sources, target.kustomizations], missing, seconds=VERDICT, what="Flux's verdict")
        source, root = target.find(world)
        return _with_tree(api, source, root, None) if source and root else None
    return delivery


def _with_tree(api: Api, source: Json, root: Json, deployments: Sequence[Json] | None) -> Delivery:
    listed: World = {}
    for entry in inventory(root) if deployments is not None else ():
        if (entry.group, entry.kind) == ("apps", "Deployment"):
            own = [item for item in deployments or () if item["metadata"]["namespace"] == entry.namespace]
            listed[tree.collection(entry)] = {key_of(item): item for item in own}
    return read(source, root, tree.gather(api, root, listed)[0])
