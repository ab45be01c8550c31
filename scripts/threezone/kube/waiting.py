"""Waiting is watching: collections of the API are followed until a pure judge says that nothing is missing."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Mapping, Sequence

from threezone.errors import ClusterError
from threezone.events import note
from threezone.kube.client import Api, Json

# What is seen: API path → (namespace/name → object).
World = dict[str, dict[str, Json]]
# A judge names what is still missing (empty: done), or raises what waiting cannot heal.
Judge = Callable[[World], Sequence[str]]

NAMESPACES = "/api/v1/namespaces"
RETRY = 0.2  # seconds between tries while the API server is away


def key_of(item: Json) -> str:
    """`namespace/name` of an object (`/name` when it has no namespace)."""
    meta = item.get("metadata") or {}
    return f"{meta.get('namespace', '')}/{meta.get('name', '')}"


def look(api: Api, paths: Sequence[str]) -> World:
    """The collections as they are now; one that does not exist (a missing CRD) is empty."""
    world: World = {}
    for path in paths:
        listed = api.get(path) or {}
        world[path] = {key_of(item): item for item in listed.get("items") or []}
    return world


def _follow(api: Api, path: str, inbox: queue.Queue[tuple[str, dict[str, Json]]], stop: threading.Event) -> None:
    """Keep telling `inbox` the whole collection at `path`, after every change, until told to stop."""
    while not stop.is_set():
        try:
            listed = api.get(path)
            items = {key_of(item): item for item in (listed or {}).get("items") or []}
            inbox.put((path, dict(items)))
            if listed is None:  # its API does not exist yet
                stop.wait(RETRY)
                continue
            for event in api.watch(path, since=listed["metadata"]["resourceVersion"], seconds=60):
                if stop.is_set():
                    return
                if event["type"] == "ERROR":  # the version is too old (410 Gone): list again
                    break
                if event["type"] == "DELETED":
                    items.pop(key_of(event["object"]), None)
                else:
                    items[key_of(event["object"])] = event["object"]
                inbox.put((path, dict(items)))
        except (ClusterError, OSError):
            stop.wait(RETRY)
        except Exception as error:  # noqa: BLE001  a watch cut off by a restart fails in many ways; all mean: again
            if stop.is_set():
                return
            note(f"watching {path} again after: {error}"[:120])
            stop.wait(RETRY)


def wait_for(api: Api, paths: Sequence[str], judge: Judge, *, seconds: float, what: str) -> World:
    """Watch `paths` until `judge` finds nothing missing. Returns what was seen then.

    Raises ClusterError when `seconds` are over (with what was still missing), or whatever the judge raises.
    """
    inbox: queue.Queue[tuple[str, dict[str, Json]]] = queue.Queue()
    stop = threading.Event()
    for path in paths:
        threading.Thread(target=_follow, args=(api, path, inbox, stop), daemon=True).start()
    deadline = time.monotonic() + seconds
    world: World = {}
    missing: Sequence[str] = ["no answer from the API server yet"]
    said = ""
    try:
        while True:
            left = deadline - time.monotonic()
            try:
                path, items = inbox.get(timeout=max(0.0, left))
            except queue.Empty:
                raise ClusterError(
                    f"{what}: not ready within {seconds:.0f} s", evidence="\n".join(missing), fix="./run invoke status"
                ) from None
            world[path] = items
            if len(world) < len(paths):
                continue
            missing = judge(world)
            if not missing:
                return world
            first = f"waiting for {missing[0]}" + (f" and {len(missing) - 1} more" if len(missing) > 1 else "")
            if first != said:
                note(first)
                said = first
    finally:
        stop.set()


def condition(item: Mapping[str, object], kind: str) -> Mapping[str, str]:
    """The condition `kind` of an object's status, or an empty mapping."""
    status = item.get("status")
    conditions = status.get("conditions") if isinstance(status, dict) else None
    return next((c for c in conditions or [] if c.get("type") == kind), {})


def namespace_usable(api: Api, name: str, *, seconds: float = 120.0) -> None:
    """Wait until a namespace that is being deleted is gone: nothing can be created in it before (it answers 403)."""
    seen = api.get(f"{NAMESPACES}/{name}")
    if seen and seen["metadata"].get("deletionTimestamp"):
        wait_for(
            api,
            [NAMESPACES],
            lambda world: [f"the deletion of the namespace {name}"] if _terminating(world, name) else [],
            seconds=seconds,
            what=f"the namespace {name}",
        )


def _terminating(world: World, name: str) -> bool:
    return "deletionTimestamp" in world[NAMESPACES].get(f"/{name}", {"metadata": {}})["metadata"]
