"""The state of Flux's objects, in Flux's words: as data, and as a table for people."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime

from threezone.clients.kubernetes.api import Api, Json
from threezone.clients.kubernetes.watch import Overdue, World, condition, look, wait_for
from threezone.core.errors import DeliveryError
from threezone.core.labels import PREVIEW
from threezone.flux import objects
from threezone.flux.objects import FluxObject, is_ready, revision

# Seconds in which Flux gives its verdict on what is healthy. kustomize-controller looks at once, and then every 5 s.
VERDICT = 8.0
UNITS = {"d": 86400, "h": 3600, "m": 60}


@dataclass(frozen=True)
class State:
    """An object's state. `ready` is None for a static object; `since` is when the state began (RFC 3339).

    `preview` is true for an object of a preview, which is not the lab's own delivery.
    """

    kind: str
    namespace: str
    name: str
    ready: bool | None
    suspended: bool
    revision: str
    reason: str
    message: str
    since: str
    preview: bool = False

    @property
    def what(self) -> str:
        """How a sentence names it."""
        return f"{self.kind} {self.namespace}/{self.name}"

    @property
    def failing(self) -> bool:
        """Whether the lab needs attention: it is not ready, not suspended, and not of a preview."""
        return self.ready is False and not self.suspended and not self.preview


def observe(api: Api) -> tuple[FluxObject, ...]:
    """All objects of Flux's kinds. Where a run of Flux has just begun, its verdict is waited for, VERDICT at most.

    A wait of ours ends when everything is healthy, which Flux sees up to 5 s later.
    """
    found = objects.observe(api)
    paths = sorted({each.kind.path for each in found if is_at_work(each.item)})
    return objects.observe(api) if wait_for_verdicts(api, paths) else found


def wait_for_verdicts(api: Api, paths: Sequence[str]) -> bool:
    """Wait until no run is under way in these collections, VERDICT at most. Returns whether there was one."""

    def running(world: World) -> list[str]:
        return [key for items in world.values() for key, item in items.items() if is_at_work(item)]

    if not paths or not running(look(api, paths)):
        return False
    with suppress(Overdue):
        wait_for(api, paths, running, seconds=VERDICT, what="Flux's verdict")
    return True


def is_at_work(item: Json) -> bool:
    """Whether a run is under way of an object whose last one did not fail. Pure."""
    ready = condition(item, "Ready")
    began = (ready.get("status"), ready.get("reason")) == ("Unknown", "Progressing")
    failed = str(objects.latest(item).get("lastReconciledStatus", "")).endswith("Failed")
    return (
        began and not failed and not objects.is_suspended(item) and condition(item, "Healthy").get("status") != "False"
    )


def state(target: FluxObject) -> State:
    """An object's state. Pure."""
    ready = condition(target.item, "Ready")
    return State(
        kind=target.kind.kind,
        namespace=target.namespace,
        name=target.name,
        ready=None if target.static and not ready else is_ready(target.item),
        suspended=target.suspended,
        revision=revision(target.item),
        reason=str(ready.get("reason", "")),
        message=str(ready.get("message") or ("" if target.static else "not reconciled yet")),
        since=str(ready.get("lastTransitionTime", "")),
        preview=PREVIEW in (target.item["metadata"].get("labels") or {}),
    )


def age(since: str, now: datetime) -> str:
    """How long ago `since` (RFC 3339) was, as kubectl writes it: 45s, 12m, 3h, 2d. Empty for an empty one."""
    if not since:
        return ""
    seconds = max(0, int((now - datetime.fromisoformat(since)).total_seconds()))
    return next((f"{seconds // size}{unit}" for unit, size in UNITS.items() if seconds >= size), f"{seconds}s")


def short_revision(revision: str) -> str:
    """A revision with seven characters of its digest, as git shows it."""
    head, colon, digest = revision.partition(":")
    return f"{head}{colon}{digest[:7]}"


def rows(states: Sequence[State], now: datetime | None = None) -> list[list[str]]:
    """The states as a table for people."""
    lines = [["KIND", "OBJECT", "READY", "REVISION", "AGE", "MESSAGE"]]
    for one in states:
        ready = "suspended" if one.suspended else {True: "yes", False: "no", None: "-"}[one.ready]
        revision, shown = short_revision(one.revision), age(one.since, now or datetime.now(UTC))
        lines.append([one.kind, f"{one.namespace}/{one.name}", ready, revision, shown, one.message.replace("\n", " ")])
    return lines


def require(states: Sequence[State]) -> None:
    """Raise DeliveryError with Flux's words when an object that nobody suspended is not ready."""
    failing = [one for one in states if one.failing]
    if failing:
        first = failing[0]
        more = f", and {len(failing) - 1} more" if len(failing) > 1 else ""
        raise DeliveryError(
            f"{first.what} is not ready{f': {first.reason}' if first.reason else ''}{more}",
            evidence="\n".join(f"{one.what}: {one.message}" for one in failing),
            fix=f"./run invoke flux.reconcile --object {first.kind.lower()}/{first.name} "
            f"--namespace {first.namespace} --with-source",
        )
