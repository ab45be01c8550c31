"""What the proof's commits declare: a workload in a namespace of its own, as files for a kustomization. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

APP = "web"
PORT = 80
PAGE = "index.html"
GUARD = "guarded"  # the object with a finalizer
KEPT = "kept"  # Flux refuses a path without any object
FINALIZER = "proof.threezone/finalizer"
PART = "threezone-proof"
PART_LABEL = "app.kubernetes.io/part-of"
INSTANCE_LABEL = "app.kubernetes.io/instance"

Files = dict[str, str]


@dataclass(frozen=True)
class Names:
    """Everything that belongs to the proof of one id (six hex digits) and to nobody else."""

    id: str

    @property
    def name(self) -> str:
        """The branch, the namespace that the commit makes, and Flux's two objects."""
        return f"proof-{self.id}"

    @property
    def ground(self) -> str:
        """The namespace that we make: Flux's objects stand there, so that nothing else in a cluster is touched."""
        return f"{self.name}-flux"

    @property
    def path(self) -> str:
        """The path in the repository."""
        return f"proof/{self.id}"

    @property
    def labels(self) -> dict[str, str]:
        """What recognises the objects of this proof. Not by the bare id: YAML may read 87e025 as a number."""
        return {PART_LABEL: PART, INSTANCE_LABEL: self.name}


def text(names: Names, phase: str) -> str:
    """What the workload answers when the commit of `phase` is applied."""
    return f"proof {names.id}: {phase}\n"


def workload(names: Names, image: str, page: str) -> Files:
    """The files of a good commit, by their names below the proof's path. `page` is what the workload answers."""
    return {
        PAGE: page,
        "kustomization.yaml": _yaml(
            _kustomization("namespace.yaml", "workload.yaml", "kept.yaml", "guarded.yaml")
            | {
                # The page becomes a ConfigMap whose name carries its hash: a new text is a new name, and so a rollout.
                "configMapGenerator": [
                    {"name": "page", "namespace": names.name, "files": [PAGE], "options": {"labels": names.labels}}
                ]
            }
        ),
        "namespace.yaml": _yaml(_object(names, "v1", "Namespace", names.name)),
        "workload.yaml": _yaml(_deployment(names, image), _service(names)),
        **_beside(names),
    }


def broken(files: Files) -> Files:
    """The same files with a port that is no number, which the API server refuses."""
    deployment = files["workload.yaml"]
    return files | {"workload.yaml": deployment.replace("containerPort: 8080", "containerPort: many")}


def nothing(names: Names) -> Files:
    """What is left when everything is removed: one object, in the namespace that the commit did not make."""
    return {"kustomization.yaml": _yaml(_kustomization("kept.yaml")), "kept.yaml": _beside(names)["kept.yaml"]}


def _beside(names: Names) -> Files:
    """Two objects outside the workload's namespace: the one that stays, and the one that a finalizer holds.

    The second is not inside because the namespace controller looks only every 8 s at a namespace that waits for a
    finalizer (k8s.io/kubernetes, pkg/controller/namespace/deletion, finalizerEstimateSeconds).
    """
    kept = _object(names, "v1", "ConfigMap", KEPT, names.ground) | {"data": {"why": "Flux refuses an empty path"}}
    guarded = _object(names, "v1", "ConfigMap", GUARD, names.ground)
    guarded["metadata"]["finalizers"] = [FINALIZER]
    return {"kept.yaml": _yaml(kept), "guarded.yaml": _yaml(guarded)}


def _kustomization(*resources: str) -> dict[str, Any]:
    return {"apiVersion": "kustomize.config.k8s.io/v1beta1", "kind": "Kustomization", "resources": list(resources)}


def _object(names: Names, version: str, kind: str, name: str, namespace: str = "") -> dict[str, Any]:
    meta: dict[str, Any] = {"name": name, "labels": names.labels}
    if namespace:
        meta["namespace"] = namespace
    return {"apiVersion": version, "kind": kind, "metadata": meta}


def _service(names: Names) -> dict[str, Any]:
    return _object(names, "v1", "Service", APP, names.name) | {
        "spec": {
            "selector": {"app.kubernetes.io/name": APP},
            "ports": [{"name": "http", "port": PORT, "targetPort": "http"}],
        }
    }


def _deployment(names: Names, image: str) -> dict[str, Any]:
    own = {"app.kubernetes.io/name": APP}
    container = {
        "name": APP,
        "image": image,
        "imagePullPolicy": "IfNotPresent",
        "ports": [{"name": "http", "containerPort": 8080}],
        "readinessProbe": {"httpGet": {"path": "/", "port": "http"}, "periodSeconds": 1},
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
        "volumeMounts": [{"name": "page", "mountPath": "/www", "readOnly": True}],
    }
    pod = {
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        # The namespace controller looks again after half of this time at a namespace whose pods are still there.
        "terminationGracePeriodSeconds": 1,
        "securityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
        "containers": [container],
        "volumes": [{"name": "page", "configMap": {"name": "page"}}],
    }
    return _object(names, "apps/v1", "Deployment", APP, names.name) | {
        "spec": {
            "replicas": 1,  # declared, so that a scaling by hand is drift
            "selector": {"matchLabels": own},
            "template": {"metadata": {"labels": names.labels | own}, "spec": pod},
        }
    }


def _yaml(*documents: dict[str, Any]) -> str:
    import yaml

    return str(yaml.safe_dump_all(documents, sort_keys=False, explicit_start=len(documents) > 1))
