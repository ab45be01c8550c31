"""A revision on its way: Flux's source and Kustomization, and the wait for exactly one commit."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from threezone.errors import ClusterError, DeliveryError, UsageError
from threezone.events import step
from threezone.gitops import workload
from threezone.gitops.flux import DEPLOYMENTS, NAMESPACE
from threezone.kube.client import Api, Json
from threezone.kube.waiting import Overdue, World, condition, key_of, wait_for

SOURCE = "/apis/source.toolkit.fluxcd.io/v1/namespaces/{namespace}/{plural}"
KUSTOMIZATION = "/apis/kustomize.toolkit.fluxcd.io/v1/namespaces/{namespace}/kustomizations"
SOURCES = SOURCE.format(namespace=NAMESPACE, plural="gitrepositories")
KUSTOMIZATIONS = KUSTOMIZATION.format(namespace=NAMESPACE)
REQUESTED = "reconcile.fluxcd.io/requestedAt"  # fluxcd/pkg, apis/meta: ReconcileRequestAnnotation
# Who carries a commit, and what stands still without it.
CARRIERS = {"source-controller": "fetches", "kustomize-controller": "applies"}


@dataclass(frozen=True)
class Target:
    """A Kustomization of Flux and the source that it applies; by default both have one name and stand in one place."""

    name: str
    namespace: str = NAMESPACE
    source: str = ""
    source_namespace: str = ""
    source_kind: str = "GitRepository"

    @property
    def kustomizations(self) -> str:
        """The collection that holds the Kustomization."""
        return KUSTOMIZATION.format(namespace=self.namespace)

    @property
    def sources(self) -> str:
        """The collection that holds the source."""
        plural = {"GitRepository": "gitrepositories", "OCIRepository": "ocirepositories", "Bucket": "buckets"}
        return SOURCE.format(namespace=self.source_namespace or self.namespace, plural=plural[self.source_kind])

    @property
    def paths(self) -> tuple[str, str]:
        """The API paths of the two objects: the source's, the Kustomization's."""
        return f"{self.sources}/{self.source or self.name}", f"{self.kustomizations}/{self.name}"

    def find(self, world: World) -> tuple[Json | None, Json | None]:
        """The source and the Kustomization in what is seen."""
        source = f"{self.source_namespace or self.namespace}/{self.source or self.name}"
        return world.get(self.sources, {}).get(source), world.get(self.kustomizations, {}).get(
            f"{self.namespace}/{self.name}"
        )


def target(api: Api, name: str, namespace: str = NAMESPACE) -> Target:
    """The Kustomization of that name with the source that it names. Raises DeliveryError when it is not there."""
    found = api.get(f"{KUSTOMIZATION.format(namespace=namespace)}/{name}")
    if found is None:
        raise DeliveryError(
            f"there is no Kustomization {name} in the namespace {namespace}",
            fix="kubectl get kustomizations --all-namespaces",
        )
    of = found["spec"]["sourceRef"]
    if of["kind"] not in ("GitRepository", "OCIRepository", "Bucket"):
        raise UsageError(f"the Kustomization {name} applies a {of['kind']}, whose revisions cannot be waited for here")
    return Target(name, namespace, of["name"], of.get("namespace", ""), of["kind"])


@dataclass(frozen=True)
class Delivery:
    """What Flux says of the lab's source and of what it applied. Revisions are spelled `branch@sha1:commit`.

    `checking` is the revision that it has applied and whose health it has not seen yet, or looks at once more; "" when
    there is none.
    """

    url: str
    fetched: str
    applied: str
    ready: bool
    message: str
    checking: str = ""


def declare(
    api: Api,
    *,
    name: str,
    url: str,
    branch: str,
    path: str,
    namespace: str = NAMESPACE,
    interval: str = "1m0s",
    wait: bool = True,
    secret: str = "",
) -> None:
    """Tell Flux what to reconcile (server-side apply; nothing changes when it is declared already).

    With `wait` Flux calls a revision ready when all its objects are healthy, else when they are applied. `secret` is
    the name of the Secret that it reads the source with.
    """  # fmt: skip
    source, kustomization = Target(name, namespace).paths
    api.apply(
        source,
        {
            "apiVersion": "source.toolkit.fluxcd.io/v1",
            "kind": "GitRepository",
            "metadata": {"name": name, "namespace": namespace},
            "spec": {"url": url, "ref": {"branch": branch}, "interval": interval, "timeout": "60s"}
            | ({"secretRef": {"name": secret}} if secret else {}),
        },
    )
    api.apply(
        kustomization,
        {
            "apiVersion": "kustomize.toolkit.fluxcd.io/v1",
            "kind": "Kustomization",
            "metadata": {"name": name, "namespace": namespace},
            "spec": {
                "sourceRef": {"kind": "GitRepository", "name": name},
                "path": f"./{path}",
                "prune": True,
                "wait": wait,
                "interval": "10m0s",
                "retryInterval": "15s",
                "timeout": "2m0s",
            },
        },
    )


def forget(api: Api, at: Target, seconds: float) -> None:
    """Take back what `declare` told Flux: the Kustomization, with what it applied, and then its source."""
    source, kustomization = at.paths
    _delete(api, at.kustomizations, kustomization, seconds)
    _delete(api, at.sources, source, seconds)


def _delete(api: Api, collection: str, path: str, seconds: float) -> None:
    """Delete an object and wait until its finalizers are done."""
    found = api.get(path)
    if found is None:
        return
    api.send("DELETE", path)
    what = f"the end of {found['kind']} {key_of(found)}"
    wait_for(
        api,
        [collection],
        lambda world: [what] if key_of(found) in world[collection] else [],
        seconds=seconds,
        what=what,
    )


def observe(api: Api, at: Target) -> Delivery | None:
    """The lab's delivery as Flux reports it, or None when it is not declared."""
    source, applied = (api.get(path) for path in at.paths)
    return read(source, applied) if source and applied else None


def read(source: Json, kustomization: Json) -> Delivery:
    """The delivery from Flux's two objects. Pure."""
    unready = next((item for item in (source, kustomization) if not _ready(item)), None)
    attempted = str((kustomization.get("status") or {}).get("lastAttemptedRevision", ""))
    held = unready is kustomization and (_checking(kustomization, attempted) or _once_more(kustomization))
    return Delivery(
        url=str(source["spec"]["url"]),
        fetched=_fetched(source),
        applied=str((kustomization.get("status") or {}).get("lastAppliedRevision", "")),
        ready=unready is None,
        message=str(condition(unready or kustomization, "Ready").get("message", "")),
        checking=attempted if held else "",
    )


def _ready(item: Json) -> bool:
    """Ready, and said of the present generation: a condition may be older than the spec."""
    status = item.get("status") or {}
    return condition(item, "Ready").get("status") == "True" and (
        status.get("observedGeneration", -1) == item["metadata"].get("generation")
    )


def _fetched(source: Json) -> str:
    return str(((source.get("status") or {}).get("artifact") or {}).get("revision", ""))


def request(api: Api, at: Target, *, source_only: bool = False) -> str:
    """Ask Flux to fetch and apply now, by its own annotation. Returns the request's stamp, for `missing`.

    A new revision is applied without being asked for: for that, asking for the source is enough.
    """
    stamp = datetime.now(UTC).isoformat()
    for path in at.paths[:1] if source_only else at.paths:
        api.merge(path, {"metadata": {"annotations": {REQUESTED: stamp}}})
    return stamp


def handled(item: Json) -> str:
    """The stamp of the last request that Flux has answered for a source or Kustomization."""
    return str((item.get("status") or {}).get("lastHandledReconcileAt", ""))


# Reasons with which kustomize-controller says that this revision cannot be applied (its api/v1, condition reasons).
# ReconciliationFailed covers what the API server refuses; HealthCheckFailed comes after spec.timeout.
FINAL = {"BuildFailed", "ReconciliationFailed", "HealthCheckFailed", "PruneFailed"}


# How go-git and the SSH library below it say that credentials or host keys are wrong; trying again does not heal that.
REFUSED = r"authenticat|authorization failed|knownhosts: |secret '?[^ ]+'? not found"


class Unhealthy(DeliveryError):
    """A delivered object that cannot become healthy, and the pod (namespace/name) that holds it back."""

    def __init__(self, revision: str, trouble: workload.Stuck) -> None:
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
    status, here = kustomization.get("status") or {}, matches(_fetched(source), revision)
    if here and matches(status.get("lastAppliedRevision", ""), revision) and _ready(kustomization):
        return []
    carried(world)
    if not here:
        return _unfetched(source, at, revision, stamp)
    _movable(kustomization, "Kustomization")
    ready = condition(kustomization, "Ready")
    items = workload.inventory(kustomization)
    if not matches(status.get("lastAttemptedRevision", ""), revision):
        return [f"Flux to apply {short(revision)} ({_progress(kustomization)})"]
    if (words := failure(kustomization, revision)) and (not stamp or handled(kustomization) == stamp):
        raise DeliveryError(
            f"Flux could not apply {short(revision)}: {ready.get('reason')}",
            evidence="\n".join([words, *workload.troubles(world, items)]),
            fix="correct the manifests, commit, and ./run invoke gitops.push",
        )
    if applied(kustomization, revision):
        if trouble := workload.stuck(world, items):
            raise Unhealthy(revision, trouble)
        # Flux looks every 5 s, and will say the same.
        if _checking(kustomization, status["lastAttemptedRevision"]) and workload.runs(world, items):
            return []
    return [f"Flux to apply {short(revision)} ({_progress(kustomization)})", *workload.troubles(world, items)]


def _unfetched(source: Json, at: Target, revision: str, stamp: str) -> list[str]:
    held, words = _fetched(source), str(condition(source, "Ready").get("message", ""))
    _movable(source, at.source_kind)
    if stamp and handled(source) == stamp and _ready(source) and not _arriving(source, revision):
        raise DeliveryError(
            f"the source {source['metadata']['name']} does not hold {short(revision)}: it holds {short(held)}",
            evidence=words,
            fix="push that commit to the branch that Flux follows: ./run invoke gitops.push",
        )
    if stamp and handled(source) == stamp and re.search(REFUSED, words):
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
    return source is not None and matches(_fetched(source), revision)


def applied(kustomization: Json, revision: str) -> bool:
    """Whether the API server has all objects of the revision; they need not be healthy yet. Pure.

    kustomize-controller checks health after it has applied and pruned, and says so in its condition Healthy.
    """
    status = kustomization.get("status") or {}
    if not matches(status.get("lastAttemptedRevision", ""), revision):
        return False
    attempted = status["lastAttemptedRevision"]
    return attempted == status.get("lastAppliedRevision") or _checking(kustomization, attempted)


def _checking(kustomization: Json, attempted: str) -> bool:
    generation = kustomization["metadata"].get("generation")
    said = [condition(kustomization, kind) for kind in ("Healthy", "Reconciling")]
    now = [each.get("message", "") for each in said if each.get("observedGeneration", generation) == generation]
    return any(f"health checks for revision {attempted} " in words for words in now)


def _once_more(kustomization: Json) -> bool:
    """Whether Flux is at work on what it has applied already: it was asked to, or its interval is over."""
    status = kustomization.get("status") or {}
    return (
        condition(kustomization, "Ready").get("status") == "Unknown"
        and bool(status.get("lastAppliedRevision"))
        and status.get("lastAttemptedRevision") == status["lastAppliedRevision"]
        and status.get("observedGeneration") == kustomization["metadata"].get("generation")
    )


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


def short(revision: str) -> str:
    """A revision as people read it: `main@sha1:0123456`."""
    head, colon, commit = revision.rpartition(":")
    return f"{head}{colon}{commit[:7]}"


def matches(revision: str, wanted: str) -> bool:
    """Whether Flux's `branch@sha1:commit` is what is wanted: the same, a full or short SHA, or the two combined."""
    head, _, commit = revision.rpartition(":")
    wanted_head, _, wanted_commit = wanted.rpartition(":")
    return bool(wanted_commit) and commit.startswith(wanted_commit) and wanted_head in ("", head)


def is_revision(text: str) -> bool:
    """Whether `text` is a revision as `matches` takes it (and not a name that only a repository knows)."""
    return re.fullmatch(r"([^:\s]+:)?[0-9a-f]{4,64}", text) is not None


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


def followed(world: World, at: Target) -> Sequence[str]:
    """What is to be followed beside Flux's own objects: the pods behind what the Kustomization has applied. Pure."""
    kustomization = at.find(world)[1]
    return workload.collections(workload.inventory(kustomization)) if kustomization else ()


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
