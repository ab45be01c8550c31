"""The files that the proof commits: a workload in a namespace of its own, for a kustomization. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from string import Template

WORKLOAD = Path(__file__).with_name("workload")
APP = "web"
PORT = 80
PAGE = "index.html"
GUARD = "guarded"  # the object with a finalizer
KEPT = "kept"  # the object that the last commit leaves: Flux refuses a path without any
PART = "threezone-proof"
PART_LABEL = "app.kubernetes.io/part-of"
INSTANCE_LABEL = "app.kubernetes.io/instance"

Files = dict[str, str]


@dataclass(frozen=True)
class Names:
    """The names that belong to the proof of one id (six hex digits) and to nothing else."""

    id: str

    @property
    def name(self) -> str:
        """The branch, the namespace that the commit creates, and Flux's two objects."""
        return f"proof-{self.id}"

    @property
    def sandbox(self) -> str:
        """The namespace that we create for Flux's two objects, so that nothing else in a cluster is touched."""
        return f"{self.name}-flux"

    @property
    def guard(self) -> str:
        """The API path of the object with a finalizer."""
        return f"/api/v1/namespaces/{self.sandbox}/configmaps/{GUARD}"

    @property
    def path(self) -> str:
        """The path in the repository."""
        return f"proof/{self.id}"

    @property
    def labels(self) -> dict[str, str]:
        """The labels of this proof's objects. Not the bare id: YAML may read 87e025 as a number."""
        return {PART_LABEL: PART, INSTANCE_LABEL: self.name}


def text(names: Names, phase: str) -> str:
    """The workload's answer when the commit of `phase` is applied."""
    return f"proof {names.id}: {phase}\n"


def workload(names: Names, image: str, page: str) -> Files:
    """The files of a good commit, by their names below the proof's path. `page` is the workload's answer."""
    values = {"name": names.name, "sandbox": names.sandbox, "image": image}
    templates = {file.name: Template(file.read_text(encoding="utf-8")) for file in sorted(WORKLOAD.iterdir())}
    return {PAGE: page} | {name: template.substitute(values) for name, template in templates.items()}


def broken(files: Files) -> Files:
    """The same files with a port that is not a number, which the API server refuses."""
    return files | {"workload.yaml": files["workload.yaml"].replace("containerPort: 8080", "containerPort: many")}


def nothing(files: Files) -> Files:
    """The files of the last commit: one object, outside the workload's namespace."""
    kustomization = "apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\nresources: [kept.yaml]\n"
    return {"kustomization.yaml": kustomization, "kept.yaml": files["kept.yaml"]}
