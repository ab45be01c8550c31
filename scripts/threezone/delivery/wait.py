"""Wait for exactly one revision: until it is applied and all that it brings is ready, or until that cannot happen."""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress

from threezone.clients.kubernetes.api import Api, Forbidden, Json
from threezone.clients.kubernetes.watch import Judge, Overdue, Paths, World, condition, wait_for
from threezone.cluster.lab import Lab
from threezone.core.errors import ClusterError, DeliveryError
from threezone.core.events import note, step
from threezone.delivery import repository, sync, tree
from threezone.delivery.revision import is_revision, matches, short
from threezone.delivery.sync import Target
from threezone.flux import components, health, objects
from threezone.flux.components import DEPLOYMENTS, NAMESPACE
from threezone.flux.objects import artifact, attempted, inventory

# Controllers that a commit needs, and what each of them does with it.
CARRIERS = {"source-controller": "fetches", "kustomize-controller": "applies"}
# Reasons with which kustomize-controller says that this revision cannot be applied (its api/v1, condition reasons).
# ReconciliationFailed covers what the API server refuses; HealthCheckFailed comes after spec.timeout.
FINAL = {"BuildFailed", "ReconciliationFailed", "HealthCheckFailed", "PruneFailed"}
# How go-git and its SSH library say that credentials or host keys are wrong; trying again does not heal that.
REFUSED = r"authenticat|authorization failed|knownhosts: |secret '?[^ ]+'? not found"
PUSH = "./run invoke gitops.push"


class Unhealthy(DeliveryError):
    """An applied object that cannot become healthy, and the pod (namespace/name) that holds it back."""

    def __init__(self, revision: str, stuck: health.Stuck) -> None:
        super().__init__(
            f"{stuck.item} of {short(revision)} cannot become healthy",
            evidence=stuck.words,
            fix=f"kubectl -n {stuck.item.namespace} describe {stuck.item.kind.lower()} {stuck.item.name}",
        )
        self.pod = stuck.pod


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
    return wait_delivered(lab.api, target, wanted, stamp, seconds or gitops.timeout)


def wait_delivered(api: Api, target: Target, revision: str, stamp: str, seconds: float) -> str:
    """Watch until Flux has applied exactly `revision`, and all that it brings is at its revision, ready and healthy.

    Returns the revision as Flux spells it. Raises DeliveryError as soon as that cannot happen, or after `seconds`.
    """
    began = time.monotonic()
    with step(f"wait until {short(revision)} is applied"):
        world = _watch(
            api,
            target,
            lambda world: missing(world, target, revision, stamp),
            lambda world: followed(world, target),
            seconds=seconds,
            overdue=f"{short(revision)} was not applied within {seconds:.0f} s",
        )
    root = target.find(world)[1] or {}
    wait_for_tree(api, target, max(5.0, began + seconds - time.monotonic()))  # time for one look at least
    return objects.applied(root) if matches(objects.applied(root), revision) else attempted(root)


def wait_for_tree(api: Api, target: Target, seconds: float) -> None:
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
    stamp = ""
    for path in filter(None, (trouble.path for trouble in troubles)):
        with suppress(Forbidden):  # it is waited for all the same
            stamp = objects.request(api, [path], stamp=stamp)
    with step("wait until all that was delivered is ready"):
        _watch(
            api,
            target,
            lambda world: _missing_of_tree(world, target, forbidden, stamp),
            lambda world: set(_followed_of_tree(world, target)) - forbidden,
            seconds=seconds,
            overdue="not all that was delivered became ready in time",
        )


def _watch(api: Api, target: Target, judge: Judge, more: Paths, *, seconds: float, overdue: str) -> World:
    """Watch until `judge` finds nothing missing; `overdue` is the message of the error after `seconds`."""
    try:
        return wait_for(
            api,
            [target.sources, target.kustomizations, DEPLOYMENTS],
            judge,
            seconds=seconds,
            what="the delivery",
            more=more,
            fresh=True,  # the objects may be seen later than what Flux says of them
        )
    except Unhealthy as unhealthy:
        raise with_event(api, unhealthy) from None
    except Overdue as late:
        raise DeliveryError(overdue, evidence=late.evidence, fix="./run invoke flux.status") from None


def missing(world: World, target: Target, revision: str, stamp: str = "") -> list[str]:
    """What is missing until the revision is applied and healthy. Pure. Raises DeliveryError if that cannot happen.

    `revision` is a full one or what `matches` takes for it. With the `stamp` of a request, what Flux said before it
    does not count: a revision that failed then may have healed. Without one every word about that revision counts.
    """
    source, root = target.find(world)
    if source is None or root is None:
        return [f"Flux's {target.source_kind} {target.source or target.name} and Kustomization {target.name}"]
    fetched = matches(artifact(source), revision)
    # Both: Ready is written before lastAppliedRevision is, so that it may be said of the revision in between.
    both = matches(attempted(root), revision) and matches(objects.applied(root), revision)
    if fetched and both and objects.is_ready(root):
        return []
    carried(world)
    if not fetched:
        return _unfetched(source, target, revision, stamp)
    _require_movable(root, "Kustomization")
    entries, progress = inventory(root), f"Flux to apply {short(revision)} ({_progress(root)})"
    if not matches(attempted(root), revision):
        return [progress]
    if (words := failure(root, revision)) and (not stamp or objects.handled(root) == stamp):
        raise DeliveryError(
            f"Flux could not apply {short(revision)}: {condition(root, 'Ready').get('reason')}",
            evidence="\n".join([words, *health.troubles(world, entries)]),
            fix=f"correct the manifests, commit, and {PUSH}",
        )
    if applied(root, revision):
        if stuck := health.stuck(world, entries):
            raise Unhealthy(revision, stuck)
        # Flux looks every 5 s, and will say the same. It checks nothing where it has applied nothing: an inventory that
        # is empty is the one before, because it is written after the condition.
        if entries and is_checking(root) and health.runs(world, entries):
            return []
    return [progress, *health.troubles(world, entries)]


def _missing_of_tree(world: World, target: Target, forbidden: frozenset[str], stamp: str) -> list[str]:
    source, root = target.find(world)
    if source is None or root is None:
        return ["Flux's objects"]
    unlisted = sorted(tree.paths(root, world) - world.keys() - forbidden)
    troubles = tree.troubles(source, root, world, stamp)
    if troubles:
        carried(world)
    if final := next((trouble for trouble in troubles if trouble.final), None):
        raise DeliveryError(
            f"{final.what} is not ready",
            evidence="\n".join(map(str, troubles)),
            fix=f"correct what it names, commit, and {PUSH}",
        )
    if stuck := health.stuck(world, [entry for entry, _ in tree.members(root, world)]):
        raise Unhealthy(artifact(source), stuck)
    return [*map(str, troubles), *(f"the list of {path}" for path in unlisted)]


def _unfetched(source: Json, target: Target, revision: str, stamp: str) -> list[str]:
    held, words = artifact(source), str(condition(source, "Ready").get("message", ""))
    _require_movable(source, target.source_kind)
    answered = stamp and objects.handled(source) == stamp
    if answered and objects.is_ready(source) and not _arriving(source, revision):
        raise DeliveryError(
            f"the source {source['metadata']['name']} does not hold {short(revision)}: it holds {short(held)}",
            evidence=words,
            fix=f"push that commit to the branch that Flux follows: {PUSH}",
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


def failure(kustomization: Json, revision: str) -> str:
    """Flux's words why it could not apply this revision; "" when it does not say so. Pure."""
    ready = condition(kustomization, "Ready")
    failed = ready.get("status") == "False" and ready.get("reason") in FINAL
    return str(ready.get("message", "")) if failed and matches(attempted(kustomization), revision) else ""


def fetched(world: World, target: Target, revision: str) -> bool:
    """Whether Flux holds the revision's files. Pure."""
    source = target.find(world)[0]
    return source is not None and matches(artifact(source), revision)


def applied(kustomization: Json, revision: str) -> bool:
    """Whether the API server has all objects of the revision; they need not be healthy yet. Pure.

    kustomize-controller checks health after it has applied and pruned, and says so in its condition Healthy.
    """
    if not matches(attempted(kustomization), revision):
        return False
    done = attempted(kustomization) == objects.applied(kustomization)
    return done or _checks(kustomization, "Healthy") or _checks(kustomization, "Reconciling")


def is_checking(kustomization: Json) -> bool:
    """Whether Flux has applied the last revision and checks the health of its objects at this moment. Pure.

    The message alone does not say so: it stays in the conditions after a check that failed, beside Ready=False.
    """
    return condition(kustomization, "Ready").get("status") == "Unknown" and _checks(kustomization, "Reconciling")


def _checks(kustomization: Json, kind: str) -> bool:
    """Whether a condition tells of the health checks of the last revision, for the present generation."""
    words, generation = condition(kustomization, kind), kustomization["metadata"].get("generation")
    current = words.get("observedGeneration", generation) == generation
    return current and f"health checks for revision {attempted(kustomization)} " in words.get("message", "")


def carried(world: World) -> None:
    """Raise DeliveryError when one of Flux's controllers that a commit needs is scaled to zero. Pure."""
    for name, work in CARRIERS.items():
        deployment = world.get(DEPLOYMENTS, {}).get(f"{NAMESPACE}/{name}")
        if deployment and deployment["spec"].get("replicas", 1) == 0:
            raise DeliveryError(
                f"{name} is scaled to zero: nobody {work} commits",
                evidence=f"deployment {NAMESPACE}/{name}: replicas 0",
                fix=f"kubectl -n {NAMESPACE} scale deployment {name} --replicas=1",
            )


def _require_movable(item: Json, kind: str) -> None:
    """Raise DeliveryError when Flux will not look at the object again by itself: suspended, or stalled."""
    name, namespace = item["metadata"]["name"], item["metadata"]["namespace"]
    if objects.is_suspended(item):
        change = '{"spec":{"suspend":false}}'
        raise DeliveryError(
            f"the {kind} {name} is suspended: nothing moves",
            fix=f"kubectl -n {namespace} patch {kind.lower()} {name} --type=merge -p '{change}'",
        )
    if objects.is_stalled(item):
        stalled = condition(item, "Stalled")
        raise DeliveryError(
            f"the {kind} {name} is stalled: {stalled.get('reason')}",
            evidence=str(stalled.get("message", "")),
            fix=f"kubectl -n {namespace} describe {kind.lower()} {name}",
        )


def followed(world: World, target: Target) -> Sequence[str]:
    """The collections of the workloads and pods behind what the Kustomization has applied. Pure."""
    root = target.find(world)[1]
    return health.collections(inventory(root)) if root else ()


def _followed_of_tree(world: World, target: Target) -> Iterable[str]:
    root = target.find(world)[1]
    if root is None:
        return ()
    return tree.paths(root, world) | set(health.collections(entry for entry, _ in tree.members(root, world)))


def with_event(api: Api, unhealthy: Unhealthy) -> Unhealthy:
    """The same error with the last event of its pod in the evidence (one request; none when it is refused)."""
    namespace, _, name = unhealthy.pod.partition("/")
    try:
        listed = api.get(f"/api/v1/namespaces/{namespace}/events", fieldSelector=f"involvedObject.name={name}")
    except ClusterError:
        return unhealthy
    if name and (line := last_event((listed or {}).get("items") or [])):
        unhealthy.evidence = f"{unhealthy.evidence}\n{line}"
    return unhealthy


def last_event(events: Sequence[Json]) -> str:
    """The latest warning among events, else the latest event, as one line. Pure."""
    when = sorted(
        events, key=lambda e: (e.get("type") == "Warning", e.get("lastTimestamp") or e.get("eventTime") or "")
    )
    return f"event {when[-1].get('reason')}: {when[-1].get('message')}" if when else ""
