"""A revision on its way: Flux's GitRepository and Kustomization of the lab, and the wait for exactly one commit."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from threezone.errors import DeliveryError
from threezone.events import step
from threezone.gitops.flux import NAMESPACE
from threezone.kube.client import Api, Json
from threezone.kube.waiting import World, condition, wait_for

SOURCES = f"/apis/source.toolkit.fluxcd.io/v1/namespaces/{NAMESPACE}/gitrepositories"
KUSTOMIZATIONS = f"/apis/kustomize.toolkit.fluxcd.io/v1/namespaces/{NAMESPACE}/kustomizations"
REQUESTED = "reconcile.fluxcd.io/requestedAt"  # fluxcd/pkg, apis/meta: ReconcileRequestAnnotation
KEY = NAMESPACE + "/{name}"


@dataclass(frozen=True)
class Delivery:
    """What Flux says of the lab's source and of what it applied. Revisions are spelled `branch@sha1:commit`."""

    url: str
    fetched: str
    applied: str
    ready: bool
    message: str


def declare(api: Api, *, name: str, url: str, branch: str, path: str) -> None:
    """Tell Flux what to reconcile (server-side apply; nothing changes when it is declared already)."""
    api.apply(
        f"{SOURCES}/{name}",
        {
            "apiVersion": "source.toolkit.fluxcd.io/v1",
            "kind": "GitRepository",
            "metadata": {"name": name, "namespace": NAMESPACE},
            "spec": {"url": url, "ref": {"branch": branch}, "interval": "1m0s", "timeout": "60s"},
        },
    )
    api.apply(
        f"{KUSTOMIZATIONS}/{name}",
        {
            "apiVersion": "kustomize.toolkit.fluxcd.io/v1",
            "kind": "Kustomization",
            "metadata": {"name": name, "namespace": NAMESPACE},
            "spec": {
                "sourceRef": {"kind": "GitRepository", "name": name},
                "path": f"./{path}",
                "prune": True,
                "wait": True,
                "interval": "10m0s",
                "retryInterval": "15s",
                "timeout": "2m0s",
            },
        },
    )


def observe(api: Api, name: str) -> Delivery | None:
    """The lab's delivery as Flux reports it, or None when it is not declared."""
    source, applied = api.get(f"{SOURCES}/{name}"), api.get(f"{KUSTOMIZATIONS}/{name}")
    return read(source, applied) if source and applied else None


def read(source: Json, kustomization: Json) -> Delivery:
    """The delivery from Flux's two objects. Pure."""
    unready = next((item for item in (source, kustomization) if not _ready(item)), None)
    return Delivery(
        url=str(source["spec"]["url"]),
        fetched=_fetched(source),
        applied=str((kustomization.get("status") or {}).get("lastAppliedRevision", "")),
        ready=unready is None,
        message=str(condition(unready or kustomization, "Ready").get("message", "")),
    )


def _ready(item: Json) -> bool:
    """Ready, and said of the present generation: a condition may be older than the spec."""
    status = item.get("status") or {}
    return condition(item, "Ready").get("status") == "True" and (
        status.get("observedGeneration", -1) == item["metadata"].get("generation")
    )


def _fetched(source: Json) -> str:
    return str(((source.get("status") or {}).get("artifact") or {}).get("revision", ""))


def request(api: Api, name: str) -> str:
    """Ask Flux to fetch and apply now, by its own annotation. Returns the request's stamp, for `missing`."""
    stamp = datetime.now(UTC).isoformat()
    for path in (f"{SOURCES}/{name}", f"{KUSTOMIZATIONS}/{name}"):
        api.merge(path, {"metadata": {"annotations": {REQUESTED: stamp}}})
    return stamp


# Reasons with which kustomize-controller says that this revision cannot be applied (its api/v1, condition reasons).
# ReconciliationFailed covers what the API server refuses; HealthCheckFailed comes after spec.timeout.
FINAL = {"BuildFailed", "ReconciliationFailed", "HealthCheckFailed", "PruneFailed"}


def missing(world: World, name: str, revision: str, stamp: str) -> list[str]:
    """The judge of a delivered revision. Pure. Raises DeliveryError when Flux says that this revision failed.

    A failure counts when it is an answer to our request (`stamp`): an older one of the same revision may have healed.
    """
    key = KEY.format(name=name)
    source, kustomization = world[SOURCES].get(key), world[KUSTOMIZATIONS].get(key)
    if source is None or kustomization is None:
        return [f"Flux's GitRepository and Kustomization {name}"]
    if (fetched := _fetched(source)) != revision:
        words = condition(source, "Ready").get("message", "")
        return [f"Flux to fetch {short(revision)} (it has {short(fetched) or 'nothing'}: {words})"]
    status = kustomization.get("status") or {}
    ready = condition(kustomization, "Ready")
    if status.get("lastAppliedRevision") == revision and _ready(kustomization):
        return []
    if (
        status.get("lastAttemptedRevision") == revision
        and ready.get("status") == "False"
        and ready.get("reason") in FINAL
        and status.get("lastHandledReconcileAt") == stamp
    ):
        raise DeliveryError(
            f"Flux could not apply {short(revision)}: {ready.get('reason')}",
            evidence=str(ready.get("message", "")),
            fix="correct the manifests, commit, and ./run invoke gitops.push",
        )
    return [f"Flux to apply {short(revision)} ({ready.get('message') or 'not begun'})"]


def short(revision: str) -> str:
    """A revision as people read it: `main@sha1:0123456`."""
    head, colon, commit = revision.partition(":")
    return f"{head}{colon}{commit[:7]}"


def wait_applied(api: Api, name: str, revision: str, stamp: str, seconds: float) -> None:
    """Watch until Flux has fetched and applied exactly `revision` and all its objects are healthy."""
    with step(f"wait until {short(revision)} is applied"):
        wait_for(
            api,
            [SOURCES, KUSTOMIZATIONS],
            lambda world: missing(world, name, revision, stamp),
            seconds=seconds,
            what=f"the revision {short(revision)}",
        )
