"""Wait for exactly one revision: until it is applied and all that it brings is ready, or until that cannot happen."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress

from threezone.clients.kubernetes.api import Api, Forbidden, Json
from threezone.clients.kubernetes.watch import Judge, Overdue, Paths, World, condition, wait_for
from threezone.cluster.lab import Lab
from threezone.core.errors import DeliveryError
from threezone.core.events import note, step
from threezone.delivery import progress, removed, repository, sync, tree
from threezone.delivery.final import (
    PUSH,
    NotHealing,
    Overtaken,
    advice,
    patient,
    require_carriers,
    require_curable,
    require_movable,
    with_event,
)
from threezone.delivery.repository import NO_HISTORY, History
from threezone.delivery.revision import is_revision, matches, short
from threezone.delivery.sync import Target
from threezone.flux import components, health, objects
from threezone.flux.components import DEPLOYMENTS, NAMESPACE
from threezone.flux.objects import Entry, artifact, attempted, inventory

# How go-git and its SSH library say that credentials or host keys are wrong; trying again does not heal that.
REFUSED = r"authenticat|authorization failed|knownhosts: |secret '?[^ ]+'? not found"
LOOK = 5.0  # seconds that a wait has at least, for one look
# Seconds for which Flux's words have not changed before they count. Conditions are written before the inventory is, by
# one request after the other, so that a new condition may stand beside the inventory of the last revision.
SETTLED = 1.5


def wait(lab: Lab, revision: str, kustomization: str = "", seconds: float = 0.0) -> str:
    """Ask Flux to reconcile and wait until exactly that revision is delivered, for `seconds` (0: as settings say).

    `revision` is a full or short SHA, `branch@sha1:SHA`, or a name that the project's repository knows (HEAD);
    `kustomization` is `name` or `namespace/name`, by default the lab's. Returns the revision as Flux spells it.
    Raises UsageError for an unknown revision, DeliveryError as soon as it cannot be delivered.
    """
    gitops = lab.settings.gitops
    wanted = revision if is_revision(revision) else repository.resolve(lab.root, revision)
    components.require(components.observe(lab.api))
    ours = sync.target_of(lab)
    namespace, _, name = (kustomization or f"{ours.namespace}/{ours.name}").rpartition("/")
    target = sync.target(lab.api, name, namespace or NAMESPACE)
    try:
        stamp = sync.request(lab.api, target)
    except Forbidden as refusal:  # a CI job may only read: whoever may change Flux's objects can have it apply anything
        stamp = ""
        note(f"{refusal.message}: Flux looks by itself, at its own interval")
    history = repository.history(lab.root, wanted)
    return wait_delivered(lab.api, target, wanted, stamp, seconds or gitops.timeout, history=history)


def wait_delivered(
    api: Api, target: Target, revision: str, stamp: str, seconds: float, *, history: History = NO_HISTORY
) -> str:
    """Watch until Flux has applied exactly `revision`, and all that it brings is at its revision, ready and healthy.

    What the revision removes is gone then. Returns the revision as Flux spells it. Raises DeliveryError as soon as that
    cannot happen, or after `seconds`; Overtaken when Flux delivers a newer commit.
    """
    end = time.monotonic() + seconds
    before = _entries_before(api, target)
    settled = _settling(target)
    with step(f"wait until {short(revision)} is applied"):
        world = _watch(
            api,
            target,
            lambda world: missing(world, target, revision, stamp, history, settled=settled(world)),
            lambda world: followed(world, target),
            seconds=seconds,
            overdue=f"{short(revision)} was not applied within {seconds:.0f} s",
            history=history,
        )
    root = target.find(world)[1] or {}
    wait_for_tree(api, target, max(LOOK, end - time.monotonic()), history)
    _wait_removed(api, target, before, end, history)
    return objects.applied(root) if matches(objects.applied(root), revision) else attempted(root)


def _entries_before(api: Api, target: Target) -> list[Entry]:
    """What has been delivered so far. Flux is asked to try again what failed, so that old failures do not count."""
    source, root = (api.get(path) for path in target.paths)
    if not source or not root:
        return []
    world = tree.gather(api, root, {})[0]
    _request(api, [trouble for trouble in tree.troubles(source, root, world) if trouble.final])
    return tree.entries(root, world)


def _request(api: Api, troubles: Iterable[tree.Trouble]) -> None:
    stamp = ""
    for path in filter(None, (trouble.path for trouble in troubles)):
        with suppress(Forbidden):  # it is waited for all the same
            stamp = objects.request(api, [path], stamp=stamp)


def _settling(target: Target) -> Callable[[World], bool]:
    """Whether the Kustomization's status has stayed as it is for `SETTLED` seconds."""
    status: Json | None = None
    since = time.monotonic()

    def settled(world: World) -> bool:
        nonlocal status, since
        root = target.find(world)[1]
        if root is None or root.get("status") != status:
            status, since = (root or {}).get("status"), time.monotonic()
        return time.monotonic() - since >= SETTLED

    return settled


def _wait_removed(api: Api, target: Target, before: Sequence[Entry], end: float, history: History) -> None:
    """Wait until what the revision removed is gone. What removes objects itself goes first, and so on."""
    root = api.get(target.paths[1])
    if not root or not before:
        return
    after = {(entry.group, entry.kind, entry.key) for entry in tree.entries(root, tree.gather(api, root, {})[0])}
    gone = [entry for entry in before if (entry.group, entry.kind, entry.key) not in after]
    while lasting := removed.terminating(api, gone):
        _wait_gone(api, target, lasting, max(LOOK, end - time.monotonic()), history)


def _wait_gone(api: Api, target: Target, lasting: Mapping[str, list[str]], seconds: float, history: History) -> None:
    with step("wait until what was removed is gone"):
        _watch(
            api,
            target,
            lambda world: removed.remaining(world, lasting),
            lambda _: lasting,
            seconds=seconds,
            overdue="the commit is applied, but what it removed is not gone",
            history=history,
            fix="see why the holder of the finalizer does not take it off",
        )


def wait_for_tree(api: Api, target: Target, seconds: float, history: History = NO_HISTORY) -> None:
    """Wait until everything that the applied Kustomization has brought is ready, after requesting what is not.

    Raises DeliveryError with the object's own words as soon as that cannot happen, or after `seconds`.
    """
    source, root = (api.get(path) for path in target.paths)
    if not source or not root:
        return
    world, forbidden = tree.gather(api, root, {})
    if forbidden:
        note(f"this login may not list {', '.join(sorted(forbidden))}: objects there are not waited for")
    troubles = tree.troubles(source, root, world)
    if not troubles:
        return
    _request(api, troubles)
    with step("wait until all that was delivered is ready"):
        _watch(
            api,
            target,
            lambda world: _missing_of_tree(world, target, forbidden),
            lambda world: set(followed(world, target)) - forbidden,
            seconds=seconds,
            overdue="not all that was delivered became ready in time",
            history=history,
        )


def _watch(
    api: Api,
    target: Target,
    judge: Judge,
    more: Paths,
    *,
    seconds: float,
    overdue: str,
    history: History,
    fix: str = "./run invoke flux.status",
) -> World:
    """Watch until `judge` finds nothing missing; `overdue` is the message of the error after `seconds`."""

    def wanted(world: World) -> Sequence[str]:
        if newer := history.newest():
            raise Overtaken(history.revision, newer)
        return judge(world)

    try:
        return wait_for(
            api,
            [target.sources, target.kustomizations, DEPLOYMENTS],
            patient(wanted),
            seconds=seconds,
            what="the delivery",
            more=more,
            fresh=True,  # the objects may be seen later than what Flux says of them
        )
    except NotHealing as error:
        raise with_event(api, error) from None
    except Overdue as late:
        raise DeliveryError(overdue, evidence=late.evidence, fix=fix) from None


def missing(
    world: World, target: Target, revision: str, stamp: str = "", history: History = NO_HISTORY, *, settled: bool = True
) -> list[str]:
    """What is missing until the revision is applied and healthy. Pure. Raises DeliveryError if that cannot happen.

    `revision` is a full one or what `matches` takes for it. With the `stamp` of a request, what Flux said before it
    does not count: a revision that failed then may have healed. Without one every word about that revision counts.
    Unless Flux's words are `settled`, its inventory may be that of the revision before.
    """
    source, root = target.find(world)
    if source is None or root is None:
        return [f"Flux's {target.source_kind} {target.source or target.name} and Kustomization {target.name}"]
    fetched = matches(artifact(source), revision)
    # Both: Ready is written before lastAppliedRevision is, so that it may be said of the revision in between.
    both = matches(attempted(root), revision) and matches(objects.applied(root), revision)
    if fetched and both and objects.is_ready(root):
        return []
    require_carriers(world)
    if not fetched:
        return _unfetched(source, target, revision, stamp, history)
    require_movable(root, "Kustomization")
    applying = f"Flux to apply {short(revision)} ({_progress(root)})"
    lines = tree.voices(source, root, world) if matches(attempted(root), revision) else []
    if words := progress.failure(root, revision, stamp):
        raise DeliveryError(
            f"Flux could not apply {short(revision)}: {condition(root, 'Ready').get('reason')}",
            evidence="\n".join([words, *lines]),
            fix=advice(words),
        )
    if progress.is_applied(root, revision) and settled:
        require_curable(world, source, root)
        # Flux looks every 5 s, and will say the same. It checks nothing where it has applied nothing: an inventory that
        # is empty is the one before.
        entries = inventory(root)
        if entries and progress.is_checking(root) and health.are_healthy(world, entries):
            return []
    return [*lines, applying]  # a cause tells more than progress


def _missing_of_tree(world: World, target: Target, forbidden: frozenset[str]) -> list[str]:
    source, root = target.find(world)
    if source is None or root is None:
        return ["Flux's objects"]
    unlisted = sorted(tree.paths(root, world) - world.keys() - forbidden)
    troubles = tree.troubles(source, root, world)
    if troubles:
        require_carriers(world)
    require_curable(world, source, root)
    return [*(tree.voices(source, root, world) if troubles else ()), *(f"the list of {path}" for path in unlisted)]


def _unfetched(source: Json, target: Target, revision: str, stamp: str, history: History) -> list[str]:
    held, words = artifact(source), str(condition(source, "Ready").get("message", ""))
    require_movable(source, target.source_kind)
    answered = stamp and objects.answered(source, stamp)
    if answered and objects.is_ready(source) and not _arriving(source, revision):
        follows = history.follows(held.rpartition(":")[2]) if held else False
        if follows:  # before the answer it may be what a rollback takes away
            raise Overtaken(revision, held)
        raise DeliveryError(
            f"the source {source['metadata']['name']} does not hold {short(revision)}: it holds {short(held)}",
            evidence=words,
            fix=f"push that commit to the branch that Flux follows: {PUSH}"
            if follows is False
            else "somebody else has pushed: fetch that commit, and put yours on top of it",
        )
    if answered and re.search(REFUSED, words):
        raise DeliveryError(
            f"{source['spec']['url']} refuses Flux's credentials",
            evidence=words,
            fix=f"correct the credentials (threezone.gitops in invoke.yaml), and {PUSH}",
        )
    return [f"Flux to fetch {short(revision)} (it has {short(held) or 'nothing'}: {_progress(source)})"]


def _arriving(source: Json, revision: str) -> bool:
    """Whether the revision is fetched, or something still is: conditions are written before the artifact is.

    fluxcd/pkg, runtime/patch: Helper.Patch sends the conditions first and the rest of the status in another request.
    """
    words = condition(source, "Ready").get("message", "")
    named = any(matches(text, revision) for text in re.findall(r"[^\s'\"]+:[0-9a-f]{40,64}", words))
    return named or condition(source, "Reconciling").get("status") == "True"


def _progress(item: Json) -> str:
    words = (condition(item, "Reconciling") or condition(item, "Ready")).get("message", "")
    return re.sub(r"([0-9a-f]{7})[0-9a-f]{33,}", r"\1", words) or "not begun"


def followed(world: World, target: Target) -> Iterable[str]:
    """The collections of all that the Kustomization has brought, and of the pods behind it. Pure."""
    root = target.find(world)[1]
    return tree.followed(root, world) if root else ()
