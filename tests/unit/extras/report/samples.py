"""Proofs as `gitops.prove` writes them: one that passed, one that failed in `update`, one of two phases only."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

PASSED = json.loads(Path(__file__).with_name("passed.json").read_text(encoding="utf-8"))

WHY = "Flux could not apply main@sha1:c07d5e9: HealthCheckFailed"
EVIDENCE = (
    "health check failed after 2m0.013s: timeout waiting for: [Deployment/proof-7f3a9c/web status: 'InProgress']\n"
    'pod web-6c9d8f7b5-x2x8k: ErrImageNeverPull: Container image "threezone/hello:<none> & more" is not present'
)


def passed() -> dict[str, Any]:
    return copy.deepcopy(PASSED)


def failed() -> dict[str, Any]:
    """Update waited for health that did not come; what follows was not run, but for the clean-up in destroy."""
    data = passed()
    create, update, *_, destroy = data["phases"]
    update |= {"ok": False, "why": WHY, "evidence": EVIDENCE}
    update["seconds"] |= {"settle": None, "total": 41.113}
    destroy["began"] = 48.65
    data |= {"ok": False, "seconds": 61.07, "phases": [create, update, destroy]}
    data["managers"] = ["kube-controller-manager (status)", "kubectl-edit", "kustomize-controller"]
    return data


def partial() -> dict[str, Any]:
    """What `--phases create,destroy` leaves."""
    data = passed()
    create, *_, destroy = data["phases"]
    destroy["began"] = 6.981
    return data | {"seconds": 19.4, "phases": [create, destroy]}


def figures(data: dict[str, Any]) -> dict[str, float]:
    """Every figure of the data, under the name that it has on the page."""
    named = {
        f"{phase['name']}.{stage}": seconds
        for phase in data["phases"]
        for stage, seconds in phase["seconds"].items()
        if seconds is not None
    }
    return named | {"seconds": data["seconds"]}


SAMPLES = {"passed": passed, "failed": failed, "partial": partial}
