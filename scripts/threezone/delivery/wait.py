"""The wait for exactly one revision: what it lacks, and whether it can still arrive."""

from __future__ import annotations

import re
from collections.abc import Sequence

from threezone.clients.kubernetes.api import Api, Json
from threezone.clients.kubernetes.watch import Overdue, World, condition, wait_for
from threezone.core.errors import ClusterError, DeliveryError
from threezone.core.events import step
from threezone.delivery import sync
from threezone.delivery.revision import matches, short
from threezone.delivery.sync import Target
from threezone.flux import health, objects
from threezone.flux.components import DEPLOYMENTS, NAMESPACE

# Who carries a commit, and what stands still without it.
CARRIERS = {"source-controller": "fetches", "kustomize-controller": "applies"}
# Reasons with which kustomize-controller says that this revision cannot be applied (its api/v1, condition reasons).
# ReconciliationFailed covers what the API server refuses; HealthCheckFailed comes after spec.timeout.
FINAL = {"BuildFailed", "ReconciliationFailed", "HealthCheckFailed", "PruneFailed"}
# How go-git and the SSH library below it say that credentials or host keys are wrong; trying again does not heal that.
REFUSED = r"authenticat|authorization failed|knownhosts: |secret '?[^ ]+'? not found"


class Unhealthy(DeliveryError):
    """A delivered object that cannot become healthy, and the pod (namespace/name) that holds it back."""

    def __init__(self, revision: str, trouble: health.Stuck) -> None:
        super().__init__(
            f"{trouble.item} of {short(revision)} cannot become healthy",
            evidence=trouble.words,
            fix=f"kubectl -n {trouble.item.namespace} describe {trouble.item.kind.lower()} {trouble.item.name}",
        )
        self.pod = trouble.pod


def missing(world: World, at: Target, revision: str, stamp: str = "") -> list[str]:
    """The judge of a delivered revision. Pure. Raises DeliveryError as soon as it cannot be delivered.

    `revision` is a full one or what `matches` takes for it. With the `stamp` of a request, what Flux said before it
    does not count: a revision that failed then may have healed. Without one every word about that revision counts.
    """
    source, kustomization = at.find(world)
    if source is None or kustomization is None:
        return [f"Flux's {at.source_kind} {at.source or at.name} and Kustomization {at.name}"]
    status, here = kustomization.get("status") or {}, matches(objects.artifact(source), revision)
    # Both: Ready is written before lastAppliedRevision is, so that it may be said of the revision in between.
    both = all(matches(status.get(f"last{each}Revision", ""), revision) for each in ("Attempted", "Applied"))
    if here and both and objects.is_ready(kustomization):
        return []
    carried(world)
    if not here:
        return _unfetched(source, at, revision, stamp)
    _movable(kustomization, "Kustomization")
    ready = condition(kustomization, "Ready")
    items = objects.inventory(kustomization)
    if not matches(status.get("lastAttemptedRevision", ""), revision):
        return [f"Flux to apply {short(revision)} ({_progress(kustomization)})"]
    if (words := failure(kustomization, revision)) and (not stamp or objects.handled(kustomization) == stamp):
        raise DeliveryError(
            f"Flux could not apply {short(revision)}: {ready.get('reason')}",
            evidence="\n".join([words, *health.troubles(world, items)]),
            fix="correct the manifests, commit, and ./run invoke gitops.push",
        )
    if applied(kustomization, revision):
        if trouble := health.stuck(world, items):
            raise Unhealthy(revision, trouble)
        # Flux looks every 5 s, and will say the same. It checks nothing where it has applied nothing: an inventory that
        # is empty is the one before, because it is written after the condition.
        if items and sync.checking(kustomization, status["lastAttemptedRevision"]) and health.runs(world, items):
            return []
    return [f"Flux to apply {short(revision)} ({_progress(kustomization)})", *health.troubles(world, items)]


def wait_applied(api: Api, at: Target, revision: str, stamp: str, seconds: float) -> str:
    """Watch until Flux has fetched and applied exactly `revision` and all its objects are healthy.

    Returns the revision as Flux spells it. Raises DeliveryError as soon as that cannot happen, or after `seconds`.
    """
    with step(f"wait until {short(revision)} is applied"):
        try:
            world = wait_for(
                api,
                [at.sources, at.kustomizations, DEPLOYMENTS],
                lambda world: missing(world, at, revision, stamp),
                seconds=seconds,
                what=f"the revision {short(revision)}",
                more=lambda world: followed(world, at),
                fresh=True,  # the objects may be seen later than what Flux says of them
            )
        except Unhealthy as trouble:
            raise told(api, trouble) from None
        except Overdue as overdue:
            raise DeliveryError(
                f"{short(revision)} was not applied within {seconds:.0f} s",
                evidence=overdue.evidence,
                fix="./run invoke flux.status",
            ) from None
    _, kustomization = at.find(world)
    status = (kustomization or {})["status"]
    last = str(status.get("lastAppliedRevision", ""))
    return last if matches(last, revision) else str(status["lastAttemptedRevision"])


def _unfetched(source: Json, at: Target, revision: str, stamp: str) -> list[str]:
    held, words = objects.artifact(source), str(condition(source, "Ready").get("message", ""))
    _movable(source, at.source_kind)
    if stamp and objects.handled(source) == stamp and objects.is_ready(source) and not _arriving(source, revision):
        raise DeliveryError(
            f"the source {source['metadata']['name']} does not hold {short(revision)}: it holds {short(held)}",
            evidence=words,
            fix="push that commit to the branch that Flux follows: ./run invoke gitops.push",
        )
    if stamp and objects.handled(source) == stamp and re.search(REFUSED, words):
        raise DeliveryError(
            f"Flux is not let into {source['spec']['url']}",
            evidence=words,
            fix="correct the credentials (threezone.gitops in invoke.yaml), and ./run invoke gitops.push",
        )
    return [f"Flux to fetch {short(revision)} (it has {short(held) or 'nothing'}: {_progress(source)})"]


def _arriving(source: Json, revision: str) -> bool:
    """Whether the revision is fetched, or something still is: conditions are written before the artifact is.

    fluxcd/pkg, runtime/patch: Helper.Patch sends the conditions first and the rest of the status in another request.
    """
    words = condition(source, "Ready").get("message", "")
    named = any(matches(found, revision) for found in re.findall(r"[^\s'\"]+:[0-9a-f]{40,64}", words))
    return named or condition(source, "Reconciling").get("status") == "True"


def _progress(item: Json) -> str:
    words = (condition(item, "Reconciling") or condition(item, "Ready")).get("message", "")
    return re.sub(r"([0-9a-f]{7})[0-9a-f]{33,}", r"\1", words) or "not begun"


def failure(kustomization: Json, revision: str) -> str:
    """What Flux says why it could not apply this revision; "" when it does not say so. Pure."""
    status, ready = kustomization.get("status") or {}, condition(kustomization, "Ready")
    if not matches(status.get("lastAttemptedRevision", ""), revision) or ready.get("status") != "False":
        return ""
    return str(ready.get("message", "")) if ready.get("reason") in FINAL else ""


def fetched(world: World, at: Target, revision: str) -> bool:
    """Whether Flux holds the revision's files. Pure."""
    source = at.find(world)[0]
    return source is not None and matches(objects.artifact(source), revision)


def applied(kustomization: Json, revision: str) -> bool:
    """Whether the API server has all objects of the revision; they need not be healthy yet. Pure.

    kustomize-controller checks health after it has applied and pruned, and says so in its condition Healthy.
    """
    status = kustomization.get("status") or {}
    if not matches(status.get("lastAttemptedRevision", ""), revision):
        return False
    attempted = status["lastAttemptedRevision"]
    return attempted == status.get("lastAppliedRevision") or sync.reached_checks(kustomization, attempted)


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


def _movable(item: Json, kind: str) -> None:
    """Raise DeliveryError when Flux will not look at the object again by itself: suspended, or stalled."""
    name, namespace = item["metadata"]["name"], item["metadata"]["namespace"]
    if item["spec"].get("suspend"):
        change = '{"spec":{"suspend":false}}'
        raise DeliveryError(
            f"the {kind} {name} is suspended: nothing moves",
            fix=f"kubectl -n {namespace} patch {kind.lower()} {name} --type=merge -p '{change}'",
        )
    stalled = condition(item, "Stalled")
    if stalled.get("status") == "True":
        raise DeliveryError(
            f"the {kind} {name} is stalled: {stalled.get('reason')}",
            evidence=str(stalled.get("message", "")),
            fix=f"kubectl -n {namespace} describe {kind.lower()} {name}",
        )


def followed(world: World, at: Target) -> Sequence[str]:
    """What is to be followed beside Flux's own objects: the pods behind what the Kustomization has applied. Pure."""
    kustomization = at.find(world)[1]
    return health.collections(objects.inventory(kustomization)) if kustomization else ()


def told(api: Api, trouble: Unhealthy) -> Unhealthy:
    """The same trouble with the last event of its pod in the evidence (one request; none when it is refused)."""
    namespace, _, name = trouble.pod.partition("/")
    try:
        listed = api.get(f"/api/v1/namespaces/{namespace}/events", fieldSelector=f"involvedObject.name={name}")
    except ClusterError:
        return trouble
    if name and (line := last_event((listed or {}).get("items") or [])):
        trouble.evidence = f"{trouble.evidence}\n{line}"
    return trouble


def last_event(events: Sequence[Json]) -> str:
    """The latest warning among events, else the latest event, as one line. Pure."""
    when = sorted(
        events, key=lambda e: (e.get("type") == "Warning", e.get("lastTimestamp") or e.get("eventTime") or "")
    )
    return f"event {when[-1].get('reason')}: {when[-1].get('message')}" if when else ""
