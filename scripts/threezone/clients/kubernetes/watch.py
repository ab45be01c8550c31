"""Wait by watching: follow collections of the API until a pure function, the judge, reports nothing missing."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Self

from threezone.clients.kubernetes.api import RETRY, STARTING, Api, Forbidden, Json
from threezone.core.errors import ClusterError, ThreezoneError
from threezone.core.events import note

# API path → (namespace/name → object).
World = dict[str, dict[str, Json]]
# Returns what is still missing, or raises if waiting does not help.
Judge = Callable[[World], Sequence[str]]
# Returns further collections to follow.
Paths = Callable[[World], Iterable[str]]

NAMESPACES = "/api/v1/namespaces"


def key_of(item: Json) -> str:
    """`namespace/name` of an object; `/name` without a namespace."""
    meta = item.get("metadata") or {}
    return f"{meta.get('namespace', '')}/{meta.get('name', '')}"


def look(api: Api, paths: Sequence[str], *, unless_forbidden: Collection[str] = ()) -> World:
    """The current collections. Missing ones (without a CRD) are empty, as are forbidden ones of `unless_forbidden`."""
    world: World = {}
    for path in paths:
        try:
            listed = api.get(path) or {}
        except Forbidden:
            if path not in unless_forbidden:
                raise
            listed = {}
        world[path] = {key_of(item): item for item in listed.get("items") or []}
    return world


AGAIN = 1.0  # seconds until a judge is asked again without a change: some also judge by time
TOGETHER = 0.2  # seconds between changes that belong together
_Updates = queue.Queue[tuple[str, dict[str, Json] | Forbidden]]


def _follow(api: Api, path: str, inbox: _Updates, stop: threading.Event) -> None:
    """Put the collection at `path` into `inbox` after every change, or the Forbidden error, until `stop` is set."""
    since = 0.0  # the time of the first 403 after the last successful answer
    while not stop.is_set():
        try:
            listed = api.get(path)
            items = {key_of(item): item for item in (listed or {}).get("items") or []}
            inbox.put((path, dict(items)))
            since = 0.0
            if listed is None:  # its API does not exist yet
                stop.wait(RETRY)
                continue
            for event in api.watch(path, since=listed["metadata"]["resourceVersion"], seconds=60):
                if stop.is_set() or not _changed(items, event):
                    break
                inbox.put((path, dict(items)))
        except Forbidden as error:
            since = since or time.monotonic()
            if time.monotonic() - since >= STARTING:
                inbox.put((path, error))
                return
            stop.wait(RETRY)
        except (ClusterError, OSError):
            stop.wait(RETRY)
        except Exception as error:  # noqa: BLE001  a restart of the server breaks a watch in many ways
            if stop.is_set():
                return
            note(f"watching {path} again after: {error}"[:120])
            stop.wait(RETRY)


def _changed(items: dict[str, Json], event: Json) -> bool:
    """Apply an event of a watch. Returns False when the list must be read again (410 Gone)."""
    if event["type"] == "ERROR":
        return False
    if event["type"] == "DELETED":
        items.pop(key_of(event["object"]), None)
    else:
        items[key_of(event["object"])] = event["object"]
    return True


class Overdue(ClusterError):
    """A wait took too long; the evidence says what is missing."""


def _first(missing: Sequence[str]) -> str:
    return f"waiting for {missing[0]}" + (f" and {len(missing) - 1} more" if len(missing) > 1 else "")


class Watching:
    """Collections that are followed while a block runs; `until` waits for a judge.

    Each is followed by itself, so one may be older than another, or than our last change. With `fresh=True` the
    judge must come to the same result, good or bad, for new lists.
    """

    def __init__(self, api: Api, paths: Sequence[str]) -> None:
        self._api = api
        self._inbox: _Updates = queue.Queue()
        self._stop = threading.Event()
        self._followed: set[str] = set()
        self._first = frozenset(paths)
        self._world: World = {}
        for path in paths:
            self.follow(path)

    def follow(self, path: str) -> None:
        """Follow another collection. Judges do not wait for its list."""
        if path not in self._followed:
            self._followed.add(path)
            threading.Thread(target=_follow, args=(self._api, path, self._inbox, self._stop), daemon=True).start()

    def until(
        self,
        judge: Judge,
        *,
        seconds: float,
        what: str,
        more: Paths | None = None,
        fresh: bool = False,
        steady: float = 0.0,
    ) -> World:
        """Wait until `judge` has found nothing missing for `steady` seconds. Returns the collections.

        `more` returns further collections to follow; forbidden ones are ignored. Raises Overdue after `seconds`, what
        the judge raises, and Forbidden for one of the first collections.
        """
        deadline = time.monotonic() + seconds
        missing: Sequence[str] = ["no answer from the API server yet"]
        reported = ""
        complete_since: float | None = None
        while True:
            if self._first <= self._world.keys():
                for path in more(self._world) if more else ():
                    self.follow(path)
                missing = self._judged(judge, fresh=fresh)
                complete_since = None if missing else complete_since or time.monotonic()
                if complete_since and time.monotonic() >= complete_since + steady:
                    return self._world
                if missing and (first := _first(missing)) != reported:
                    note(first)
                    reported = first
            try:
                end = complete_since + steady if complete_since else min(deadline, time.monotonic() + AGAIN)
                path, items = self._inbox.get(timeout=max(0.0, end - time.monotonic()))
            except queue.Empty:
                if complete_since or time.monotonic() < deadline:
                    continue
                raise Overdue(
                    f"{what}: not ready within {seconds:.0f} s", evidence="\n".join(missing), fix="./run invoke status"
                ) from None
            if not isinstance(items, Forbidden):
                self._world[path] = items
            elif path in self._first:
                raise items
            else:
                note(f"not watched: {items.message}")

    def next_change(self, seconds: float) -> bool:
        """Wait at most `seconds` for a change, and for those that come with it. Returns whether there was one."""
        try:
            self._inbox.get(timeout=seconds)
        except queue.Empty:
            return False
        deadline = time.monotonic() + AGAIN
        with suppress(queue.Empty):
            while time.monotonic() < deadline:
                self._inbox.get(timeout=TOGETHER)
        return True

    def _judged(self, judge: Judge, *, fresh: bool) -> Sequence[str]:
        try:
            missing = judge(self._world)
        except ThreezoneError:
            if not fresh:
                raise
            missing = ()
        return self._judge_new_lists(judge) if fresh and not missing else missing

    def _judge_new_lists(self, judge: Judge) -> Sequence[str]:
        try:
            world = look(self._api, sorted(self._followed), unless_forbidden=self._followed - self._first)
        except ClusterError as error:  # the next event of a watch tries again
            return [str(error)]
        return judge(world)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()


def wait_for(
    api: Api,
    paths: Sequence[str],
    judge: Judge,
    *,
    seconds: float,
    what: str,
    more: Paths | None = None,
    fresh: bool = False,
) -> World:
    """Watch `paths` until `judge` finds nothing missing: `Watching` for a single wait."""
    with Watching(api, paths) as watching:
        return watching.until(judge, seconds=seconds, what=what, more=more, fresh=fresh)


def condition(item: Mapping[str, object], kind: str) -> Mapping[str, str]:
    """The condition `kind` of an object's status, or an empty mapping."""
    status = item.get("status")
    conditions = status.get("conditions") if isinstance(status, dict) else None
    return next((c for c in conditions or [] if c.get("type") == kind), {})


def wait_for_namespace_deletion(api: Api, name: str, *, seconds: float = 120.0) -> None:
    """Wait for the end of a namespace's deletion. Until then the API refuses new objects in it with 403."""
    namespace = api.get(f"{NAMESPACES}/{name}")
    if namespace and namespace["metadata"].get("deletionTimestamp"):
        wait_for(
            api,
            [NAMESPACES],
            lambda world: [f"the deletion of the namespace {name}"] if _terminating(world, name) else [],
            seconds=seconds,
            what=f"the namespace {name}",
        )


def _terminating(world: World, name: str) -> bool:
    return "deletionTimestamp" in world[NAMESPACES].get(f"/{name}", {"metadata": {}})["metadata"]
