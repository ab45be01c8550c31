"""Reconcile, suspend and resume objects: select them, request it from Flux, and wait for the result."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from threezone.clients.kubernetes.api import Api, Json
from threezone.clients.kubernetes.watch import World, condition, wait_for
from threezone.core.errors import DeliveryError, UsageError
from threezone.core.events import step
from threezone.flux import objects
from threezone.flux.installation import Installation
from threezone.flux.objects import FluxObject, Kind
from threezone.flux.status import state


def require_controllers(installation: Installation | None, kinds: Sequence[Kind]) -> None:
    """Raise DeliveryError when a controller that these kinds need does not serve: nobody would answer."""
    if installation is None or not installation.components:
        raise DeliveryError("Flux is not installed in this cluster", fix="./run invoke flux.install")
    if absent := installation.unserved(kind.controller for kind in kinds if kind.controller):
        raise DeliveryError(
            f"{', '.join(absent)} does not serve, so nothing would be reconciled", fix="./run invoke flux.check"
        )


def select(
    existing: Sequence[FluxObject], served: Sequence[Kind], asked: Sequence[str], namespace: str
) -> tuple[FluxObject, ...]:
    """The objects asked for as `kind/name`, in any of kubectl's spellings of a kind. Pure. Raises UsageError."""
    chosen: list[FluxObject] = []
    for spelling in asked:
        kind_name, _, name = spelling.partition("/")
        kind = next((one for one in served if kind_name.lower() in one.names), None)
        if not name:
            raise UsageError(f"{spelling!r} names no object", fix="write KIND/NAME, such as kustomization/lab")
        if kind is None:
            shown = ", ".join(one.kind.lower() for one in served) or "none: Flux is not installed"
            raise UsageError(f"Flux serves no kind {kind_name!r} here", fix=f"kinds: {shown}")
        of_kind = [one for one in existing if one.kind == kind]
        match = next((one for one in of_kind if (one.namespace, one.name) == (namespace, name)), None)
        if match is None:
            elsewhere = ", ".join(one.namespace for one in of_kind if one.name == name)
            listed = ", ".join(sorted(f"{one.namespace}/{one.name}" for one in of_kind)) or "none"
            raise UsageError(
                f"there is no {kind.kind} {namespace}/{name}",
                evidence=f"there are: {listed}",
                fix=f"--namespace {elsewhere}" if elsewhere else "./run invoke flux.status",
            )
        if match not in chosen:
            chosen.append(match)
    return tuple(sorted(chosen, key=lambda one: objects.order(one.kind)))


def sources_of(existing: Sequence[FluxObject], target: FluxObject) -> tuple[FluxObject, ...]:
    """The objects that a Kustomization or HelmRelease takes its content from, outermost first. Pure."""
    spec = target.item.get("spec") or {}
    chart = ((spec.get("chart") or {}).get("spec") or {}).get("sourceRef")
    reference = spec.get("sourceRef") or spec.get("chartRef") or chart
    origins = _referred(existing, reference, target.namespace)
    for origin in origins:  # a chart has a source of its own
        origins = (*sources_of(existing, origin), *origins)
    namespace, _, name = str((target.item.get("status") or {}).get("helmChart", "")).partition("/")
    between = _referred(existing, {"kind": "HelmChart", "name": name, "namespace": namespace}, "") if name else ()
    return (*origins, *between)


def _referred(
    existing: Sequence[FluxObject], reference: Mapping[str, str] | None, namespace: str
) -> tuple[FluxObject, ...]:
    if not reference:
        return ()
    wanted = (reference.get("kind"), reference.get("namespace") or namespace, reference.get("name"))
    return tuple(one for one in existing if (one.kind.kind, one.namespace, one.name) == wanted)


def suspend(api: Api, targets: Sequence[FluxObject]) -> None:
    """Suspend `targets`: Flux does not touch them or what they applied until they are resumed."""
    for target in targets:
        api.merge(target.path, {"spec": {"suspend": True}})


def resume(api: Api, targets: Sequence[FluxObject], seconds: float) -> tuple[FluxObject, ...]:
    """Resume `targets`, and reconcile them as `reconcile` does; the field is removed, as if it had never been set."""
    return reconcile(api, targets, seconds, {"spec": {"suspend": None}})


def reconcile(
    api: Api, targets: Sequence[FluxObject], seconds: float, change: Json | None = None
) -> tuple[FluxObject, ...]:
    """Ask for each of `targets`, one kind after the other in their order, and watch until each is handled and ready.

    `seconds` is the time for one kind, `change` what is patched with the request. Returns the objects as they are then.
    Raises DeliveryError in Flux's words, ClusterError when the time is over.
    """
    done: list[FluxObject] = []
    for kind in dict.fromkeys(target.kind for target in targets):
        done.extend(_stage(api, kind, [target for target in targets if target.kind == kind], change, seconds))
    return tuple(done)


def _stage(
    api: Api, kind: Kind, targets: Sequence[FluxObject], change: Json | None, seconds: float
) -> Sequence[FluxObject]:
    """Request objects of one kind, and wait for them together."""
    names = ", ".join(f"{target.namespace}/{target.name}" for target in targets)
    with step(f"reconcile {kind.kind} {names}") as running:
        stamp = objects.request(api, [target.path for target in targets], change)
        keys = [f"{target.namespace}/{target.name}" for target in targets if not target.static]
        if not keys:
            return targets
        world = wait_for(
            api,
            [kind.path],
            lambda world: missing(world, kind, keys, stamp),
            seconds=seconds,
            what=f"{kind.kind} {names}",
        )
        handled = [FluxObject(kind, world[kind.path][key]) for key in keys]
        running.result = "; ".join(state(target).message for target in handled)
    return handled


def missing(world: World, kind: Kind, keys: Sequence[str], stamp: str) -> list[str]:
    """A line for each request that is not handled yet. Pure. Raises DeliveryError for an object that failed.

    Only states after our request (`stamp`) count: an older failure or success may be over.
    """
    lines, failed = [], []
    for key in keys:
        item = world[kind.path].get(key)
        if item is None:
            raise DeliveryError(f"{kind.kind} {key} was deleted meanwhile", fix="./run invoke flux.status")
        ready = condition(item, "Ready")
        words = "" if objects.is_ready(item) else objects.condition_text(ready)
        shown = f" ({words})" if words else ""
        if objects.handled(item) != stamp:
            lines.append(f"{kind.kind} {key} to be reconciled{shown}")
        elif objects.has_failed(kind.kind, item):
            failed.append((key, ready))
        elif not objects.is_ready(item):
            lines.append(f"{kind.kind} {key} to become ready{shown}")
    if failed:
        key, ready = failed[0]
        more = f", and {len(failed) - 1} more" if len(failed) > 1 else ""
        raise DeliveryError(
            f"{kind.kind} {key} failed: {ready.get('reason', '')}{more}",
            evidence="\n".join(f"{key}: {ready.get('message', '')}" for key, ready in failed),
            fix="correct its URL or credentials, or what the cluster cannot reach; then request it again"
            if kind.kind in objects.SOURCES
            else "correct what it names, commit, and ./run invoke gitops.push",
        )
    return lines
