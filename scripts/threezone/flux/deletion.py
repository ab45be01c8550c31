"""Delete objects and wait until they are gone; say what holds those that stay."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from http import HTTPStatus

from threezone.clients.kubernetes.api import Api, Json, Refused
from threezone.clients.kubernetes.watch import World, wait_for

FINALIZER = ".fluxcd.io"  # part of the names of Flux's finalizers (finalizers.fluxcd.io)
# Conditions by which the API server tells why a namespace or a resource definition stays.
_HOLDING = (
    "NamespaceContentRemaining",
    "NamespaceFinalizersRemaining",
    "NamespaceDeletionContentFailure",
    "Terminating",
)


def delete(api: Api, path: str) -> None:
    """Delete one object; a missing one is ignored."""
    try:
        api.send("DELETE", path, {"kind": "DeleteOptions", "apiVersion": "v1", "propagationPolicy": "Background"})
    except Refused as refused:
        if refused.status != HTTPStatus.NOT_FOUND:
            raise


def wait_gone(api: Api, wanted: Mapping[str, Iterable[str]], seconds: float, what: str) -> None:
    """Watch until the objects are gone: `wanted` names the collection's path and `namespace/name` in it.

    Raises Overdue after `seconds`, with the finalizers that hold what remains.
    """
    if any(wanted.values()):
        wait_for(api, list(wanted), lambda world: remaining(world, wanted), seconds=seconds, what=what)


def remaining(world: World, wanted: Mapping[str, Iterable[str]]) -> list[str]:
    """A line for each wanted object that still exists, with the finalizers that hold it. Pure."""
    lines = []
    for path, keys in wanted.items():
        for key in sorted(set(keys) & set(world[path])):
            item = world[path][key]
            holders = item["metadata"].get("finalizers") or (item.get("spec") or {}).get("finalizers") or []
            held = f" (held by {', '.join(holders)}{_why_held(item)})" if holders else ""
            lines.append(f"{path.rpartition('/')[2]} {key.lstrip('/')} to be gone{held}")
    return lines


def _why_held(item: Json) -> str:
    """What the API server says of the deletion of a namespace or a resource definition, such as what remains in it."""
    for condition in (item.get("status") or {}).get("conditions") or []:
        if condition.get("status") == "True" and condition.get("type") in _HOLDING:
            return f": {condition.get('message', '')}"
    return ""


def release(api: Api, path: str) -> bool:
    """Remove Flux's finalizers from an object whose controller does not; others stay. False without one."""
    item = api.get(path)
    finalizers = item["metadata"].get("finalizers") or [] if item else []
    others = [name for name in finalizers if FINALIZER not in name]
    if len(others) == len(finalizers):
        return False
    try:
        api.merge(path, {"metadata": {"finalizers": others or None}})
    except Refused as refused:
        if refused.status != HTTPStatus.NOT_FOUND:
            raise
    return True
