"""Kinds and objects of Flux for tests."""

from typing import Any

from threezone.clients.kubernetes.api import Json
from threezone.flux.objects import FluxObject, Kind, kinds

RESOURCES: list[Json] = [
    {
        "groupVersion": "kustomize.toolkit.fluxcd.io/v1",
        "resources": [
            {"name": "kustomizations", "singularName": "kustomization", "kind": "Kustomization", "namespaced": True}
            | {"shortNames": ["ks"]},
            {"name": "kustomizations/status", "singularName": "", "kind": "Kustomization", "namespaced": True},
        ],
    },
    {
        "groupVersion": "source.toolkit.fluxcd.io/v1",
        "resources": [
            {"name": "gitrepositories", "singularName": "gitrepository", "kind": "GitRepository", "namespaced": True},
            {
                "name": "helmrepositories",
                "singularName": "helmrepository",
                "kind": "HelmRepository",
                "namespaced": True,
            },
            {"name": "helmcharts", "singularName": "helmchart", "kind": "HelmChart", "namespaced": True},
        ],
    },
    {
        "groupVersion": "source.toolkit.fluxcd.io/v1beta2",
        "resources": [{"name": "gitrepositories", "singularName": "", "kind": "GitRepository", "namespaced": True}],
    },
    {
        "groupVersion": "helm.toolkit.fluxcd.io/v2",
        "resources": [{"name": "helmreleases", "kind": "HelmRelease", "namespaced": True, "shortNames": ["hr"]}],
    },
    {
        "groupVersion": "notification.toolkit.fluxcd.io/v1",
        "resources": [{"name": "receivers", "kind": "Receiver", "namespaced": True}],
    },
    {
        "groupVersion": "notification.toolkit.fluxcd.io/v1beta3",
        "resources": [{"name": "alerts", "kind": "Alert", "namespaced": True}],
    },
]
KINDS = {each.kind: each for each in kinds(RESOURCES)}
KUSTOMIZATION, RELEASE, GIT = KINDS["Kustomization"], KINDS["HelmRelease"], KINDS["GitRepository"]


def flux_object(kind: Kind, name: str = "lab", namespace: str = "flux-system", **parts: Any) -> FluxObject:
    meta = {"name": name, "namespace": namespace, "generation": 2, **parts.pop("metadata", {})}
    return FluxObject(kind, {"metadata": meta, "spec": parts.get("spec", {}), "status": parts.get("status", {})})


def status(ready: str = "True", reason: str = "", message: str = "", *, observed: int = 2, handled: str = "") -> Json:
    condition = {"type": "Ready", "status": ready, "reason": reason, "message": message}
    return {
        "observedGeneration": observed,
        "lastHandledReconcileAt": handled,
        "conditions": [{**condition, "lastTransitionTime": "2026-01-01T00:00:00Z"}],
    }
