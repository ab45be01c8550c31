"""A small model of kustomize-controller: the patches that one run writes, in their order, and how a run may end.

After kustomize-controller 1.7.2, internal/controller/kustomization_controller.go (reconcile, checkHealth,
finalizeStatus), and fluxcd/pkg, runtime/patch/patch.go (Helper.Patch: the conditions first, in a request of their own).
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass, field

from threezone.clients.kubernetes.api import Json

OLD, NEW = "main@sha1:" + "a" * 40, "main@sha1:" + "b" * 40
OUTCOMES = ("succeeded", "ArtifactFailed", "BuildFailed", "ReconciliationFailed", "PruneFailed", "HealthCheckFailed")
NOTED = {"ReconciliationFailed", "PruneFailed", "HealthCheckFailed"}  # those that status.history tells
# What it says that it does, what it sets with those words, and how that may fail.
STAGES: tuple[tuple[str, set[str], set[str]], ...] = (
    ("Fetching manifests", set(), {"ArtifactFailed"}),
    ("Building manifests", {"attempted"}, {"BuildFailed"}),
    ("Detecting drift", set(), {"ReconciliationFailed", "PruneFailed"}),
    ("Running health checks", {"inventory", "Healthy"}, {"HealthCheckFailed"}),
)
JOB = {"id": "shop_migrate_batch_Job", "v": "v1"}


def source(revision: str, ready: str = "True") -> Json:
    """The GitRepository that holds a revision."""
    return {
        "metadata": {"name": "lab", "namespace": "flux-system", "generation": 1},
        "spec": {"url": "http://git/lab.git", "ref": {"branch": "main"}},
        "status": {
            "observedGeneration": 1,
            "artifact": {"revision": revision},
            "conditions": [{"type": "Ready", "status": ready, "reason": "Succeeded", "message": "stored artifact"}],
        },
    }


@dataclass
class Controller:
    """The Kustomization as the API server has it (`stored`), and as the controller holds it while it runs (`own`)."""

    source: Json = field(default_factory=lambda: source(OLD))
    stored: Json = field(
        default_factory=lambda: {
            "metadata": {"name": "lab", "namespace": "flux-system", "generation": 1},
            "spec": {},
            "status": {"observedGeneration": -1},
        }
    )
    last: tuple[str, str, int] = ("", "", 0)  # the last verdict: outcome, revision, generation

    @property
    def revision(self) -> str:
        return str(self.source["status"]["artifact"]["revision"])

    def run(self, outcome: str) -> Iterator[str]:
        """One run that ends so; yields after each write. Stop iterating for a controller that is killed there."""
        revision, kept = self.revision, copy.deepcopy(self.stored)
        generation, status = kept["metadata"]["generation"], kept["status"]
        said: dict[str, Json] = {each["type"]: each for each in status.pop("conditions", [])}

        def mark(kind: str, value: str, reason: str, message: str) -> None:
            said[kind] = {
                "type": kind, "status": value, "reason": reason, "message": message, "observedGeneration": generation,
            }  # fmt: skip

        def patch() -> Iterator[str]:
            self.stored["status"]["conditions"] = copy.deepcopy(list(said.values()))
            yield "conditions"
            self.stored["status"] |= copy.deepcopy(status)
            yield "status"

        def note(ended: str) -> None:
            snapshot = {"lastReconciledStatus": ended, "metadata": {"revision": revision}}
            status["history"] = [snapshot, *status.get("history", [])]

        mark("Ready", "Unknown", "Progressing", "Reconciliation in progress")
        for doing, before, failures in STAGES:
            status |= {"lastAttemptedRevision": revision} if "attempted" in before else {}
            status |= {"inventory": {"entries": [JOB]}} if "inventory" in before else {}
            words = f"{doing} for revision {revision} with a timeout of 2m0s"
            if "Healthy" in before:
                mark("Healthy", "Unknown", "Progressing", words)
            mark("Reconciling", "True", "Progressing", words)
            yield from patch()
            if outcome in failures:
                if outcome in NOTED:
                    note(outcome)
                if "Healthy" in before:
                    mark("Healthy", "False", outcome, "Job/shop/migrate status: 'Failed'")
                mark("Ready", "False", outcome, f"{outcome} of {revision}")
                said["Reconciling"]["reason"] = "ProgressingWithRetry"
                self.last = (outcome, revision, generation)
                yield from patch()
                return
        mark("Healthy", "True", "Succeeded", "Health check passed in 1s")
        yield from patch()
        note("ReconciliationSucceeded")
        mark("Ready", "True", "ReconciliationSucceeded", f"Applied revision: {revision}")
        said.pop("Reconciling")
        status |= {"lastAppliedRevision": revision, "observedGeneration": generation}
        self.last = ("succeeded", revision, generation)
        yield from patch()
