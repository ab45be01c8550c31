"""Asking Flux to reconcile, and watching until it has answered exactly that request; suspending and resuming."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from threezone.clients.kubernetes.api import Api, Json
from threezone.clients.kubernetes.watch import World, condition, wait_for
from threezone.core.errors import DeliveryError
from threezone.core.events import step
from threezone.flux.installation import Installation
from threezone.flux.objects import Found, Kind, is_ready, state

REQUESTED = "reconcile.fluxcd.io/requestedAt"  # fluxcd/pkg, apis/meta: ReconcileRequestAnnotation
# Reasons of Ready=False that the controllers themselves go on waiting in (kustomize- and helm-controller).
PASSING = {"DependencyNotReady", "SourceNotReady", "Progressing", "ProgressingWithRetry"}


def require_controllers(seen: Installation | None, kinds: Sequence[Kind]) -> None:
    """Raise DeliveryError when a controller that these kinds need does not serve: nobody would answer."""
    if seen is None or not seen.components:
        raise DeliveryError("Flux is not installed in this cluster", fix="./run invoke flux.install")
    needed = sorted({kind.controller for kind in kinds} - {""})
    if absent := [name for name in needed if name not in seen.names or name in seen.down]:
        raise DeliveryError(
            f"{', '.join(absent)} does not serve, so nothing would be reconciled", fix="./run invoke flux.check"
        )


def reconcile(api: Api, targets: Sequence[Found], seconds: float) -> tuple[Found, ...]:
    """Ask for each of `targets`, one kind after the other in their order, and watch until each is handled and ready.

    `seconds` is the time for one kind. Returns the objects as they are then. Raises DeliveryError in Flux's words,
    ClusterError when the time is over.
    """
    done: list[Found] = []
    for kind in dict.fromkeys(each.kind for each in targets):
        done.extend(_stage(api, [each for each in targets if each.kind == kind], {}, seconds))
    return tuple(done)


def suspend(api: Api, targets: Sequence[Found]) -> None:
    """Suspend `targets`: Flux leaves them and what they applied alone until they are resumed."""
    for each in targets:
        api.merge(each.path, {"spec": {"suspend": True}})


def resume(api: Api, targets: Sequence[Found], seconds: float) -> tuple[Found, ...]:
    """Resume `targets`, and reconcile them as `reconcile` does; the field is removed, as if it had never been set."""
    done: list[Found] = []
    for kind in dict.fromkeys(each.kind for each in targets):
        done.extend(_stage(api, [each for each in targets if each.kind == kind], {"spec": {"suspend": None}}, seconds))
    return tuple(done)


def _stage(api: Api, targets: Sequence[Found], change: Json, seconds: float) -> list[Found]:
    """Objects of one kind: changed, asked for, and awaited together."""
    kind = targets[0].kind
    names = ", ".join(f"{each.namespace}/{each.name}" for each in targets)
    with step(f"reconcile {kind.kind} {names}") as running:
        stamp = datetime.now(UTC).isoformat()
        for each in targets:
            api.merge(each.path, {**change, "metadata": {"annotations": {REQUESTED: stamp}}})
        awaited = [each for each in targets if not each.static]
        if not awaited:
            return list(targets)
        keys = [f"{each.namespace}/{each.name}" for each in awaited]
        world = wait_for(
            api,
            [kind.path],
            lambda seen: missing(seen, kind, keys, stamp),
            seconds=seconds,
            what=f"{kind.kind} {names}",
        )
        handled = [Found(kind, world[kind.path][key]) for key in keys]
        running.result = "; ".join(state(each).message for each in handled)
    return handled


def missing(world: World, kind: Kind, keys: Sequence[str], stamp: str) -> list[str]:
    """The judge of handled requests. Pure. Raises DeliveryError for an object that failed, in Flux's words.

    Only what is said after our request (`stamp`) counts: an older failure may have healed, an older success gone.
    """
    lines, failed = [], []
    for key in keys:
        item = world[kind.path].get(key)
        if item is None:
            raise DeliveryError(f"{kind.kind} {key} was deleted meanwhile", fix="./run invoke flux.status")
        ready = condition(item, "Ready")
        words = "" if is_ready(item) else f"{ready.get('reason', '')}: {ready.get('message', '')}".strip(": ")
        if (item.get("status") or {}).get("lastHandledReconcileAt") != stamp:
            lines.append(f"{kind.kind} {key} to be reconciled" + (f" ({words})" if words else ""))
        elif final(kind.kind, ready.get("status", ""), ready.get("reason", ""), ready.get("message", "")):
            failed.append((key, ready.get("reason", ""), ready.get("message", "")))
        elif not is_ready(item):
            lines.append(f"{kind.kind} {key} to become ready" + (f" ({words})" if words else ""))
    if failed:
        key, reason, _ = failed[0]
        raise DeliveryError(
            f"{kind.kind} {key} failed: {reason}" + (f", and {len(failed) - 1} more" if len(failed) > 1 else ""),
            evidence="\n".join(f"{each}: {message}" for each, _, message in failed),
            fix="correct what it names, commit, and ./run invoke gitops.push",
        )
    return lines


def final(kind: str, status: str, reason: str, message: str) -> bool:
    """Whether a Ready condition is a failure that its controller does not itself wait out. Pure.

    ArtifactFailed passes where the controller says that it tries again, and in a HelmRelease, which looks for its
    HelmChart a moment after it has made it.
    """
    if status != "False" or reason in PASSING:
        return False
    return reason != "ArtifactFailed" or not (kind == "HelmRelease" or "retrying in" in message.lower())
