"""How far Flux is with exactly one revision, from the words of its objects. Pure."""

from __future__ import annotations

from threezone.clients.kubernetes.api import Json
from threezone.clients.kubernetes.watch import World, condition
from threezone.delivery import tree
from threezone.delivery.final import NO_PATH
from threezone.delivery.revision import matches
from threezone.delivery.sync import Target
from threezone.flux import objects
from threezone.flux.objects import applied, artifact, attempted

# Reasons with which kustomize-controller says that this revision cannot be applied (its api/v1, condition reasons).
# ReconciliationFailed covers what the API server refuses; HealthCheckFailed comes after spec.timeout.
FINAL = {"BuildFailed", "ReconciliationFailed", "HealthCheckFailed", "PruneFailed"}


def failure(kustomization: Json, revision: str, stamp: str = "") -> str:
    """Flux's words why it could not apply this revision; "" when it does not say so.

    With the `stamp` of a request, only an answer to it counts. A failure stands while Flux tries again. That a run was
    interrupted is none.
    """
    words = _failure(kustomization, revision, stamp)
    return "" if objects.was_interrupted(words) else words


def _failure(kustomization: Json, revision: str, stamp: str) -> str:
    ready, last = condition(kustomization, "Ready"), objects.latest(kustomization)
    if stamp and not objects.answered(kustomization, stamp):
        return ""
    words = str(ready.get("message", ""))
    if ready.get("status") == "False" and (ready.get("reason") in FINAL or NO_PATH in words):
        return words if tree.is_about(kustomization, revision) else ""
    if ready.get("status") != "Unknown" or not matches(str((last.get("metadata") or {}).get("revision")), revision):
        return ""
    seconds = len("2026-01-01T00:00:00")  # both are in UTC
    since = str(last.get("lastReconciled", ""))[:seconds] >= stamp[:seconds]
    return tree.last_failure(kustomization) if since and last.get("lastReconciledStatus") in FINAL else ""


def fetched(world: World, target: Target, revision: str) -> bool:
    """Whether Flux holds the revision's files. Pure."""
    source = target.find(world)[0]
    return source is not None and matches(artifact(source), revision)


def is_applied(kustomization: Json, revision: str) -> bool:
    """Whether the API server has all objects of the revision; they need not be healthy yet. Pure.

    kustomize-controller checks health after it has applied and pruned, and says so in its condition Healthy.
    """
    if not matches(attempted(kustomization), revision):
        return False
    done = attempted(kustomization) == applied(kustomization)
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
