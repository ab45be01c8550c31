"""Another repository adopts threezone: `init`, `up`, a commit delivered, `down`, without a file of this repository."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.e2e.project import ROOT, Project

from threezone.core.process import Completed

pytestmark = pytest.mark.timeout(3600)

NAME = "threezone-init"
KIND = "kind: Cluster\napiVersion: kind.x-k8s.io/v1alpha4\nnodes:\n  - role: control-plane\n"
CHART = "apiVersion: v2\nname: app\nversion: 1.0.0\n"
SYNC = (
    "apiVersion: kustomize.toolkit.fluxcd.io/v1\nkind: Kustomization\nmetadata: {name: apps, namespace: flux-system}\n"
)
SHAPES: dict[str, dict[str, str]] = {
    "empty": {},
    "helm": {"charts/app/Chart.yaml": CHART},
    "flux": {"clusters/staging/apps.yaml": SYNC},
    "kind": {"hack/kind.yaml": KIND},
}


def threezone(repository: Project, *words: str, timeout: float = 3600) -> Completed:
    """The program as it is installed."""
    command = (sys.executable, "-P", "-m", "threezone", *words)
    return repository.run(*command, env={"PYTHONPATH": str(ROOT / "scripts")}, timeout=timeout)


@pytest.fixture(params=list(SHAPES))
def repository(
    request: pytest.FixtureRequest,
    project: Project,  # its engine works
    tmp_path: Path,
) -> Iterator[Project]:
    """A repository of somebody else, whose directory has the cluster's name."""
    root = tmp_path / NAME
    root.mkdir()
    (tmp_path / "kube").mkdir()
    made = Project(root, tmp_path / "kube" / "config", tmp_path / "state")
    made.run("git", "init", "--quiet", "--initial-branch=main")
    for key, value in (("user.name", "A User"), ("user.email", "user@example.invalid")):
        made.run("git", "config", key, value)
    for path, text in SHAPES[str(request.param)].items():
        made.write(path, text)
    assert project.root != root
    yield made
    threezone(made, "down", "--yes", "--name", NAME)


def test_after_init_a_lab_comes_up_and_a_commit_is_delivered(repository: Project) -> None:
    assert "threezone up" in threezone(repository, "init", "--yes").stdout
    sha = repository.commit("Add a lab")
    threezone(repository, "up", "--yes")
    status = json.loads(threezone(repository, "status", "--json").stdout)
    assert sha in json.dumps(status)
    assert threezone(repository, "app.open", "--once").stdout.strip() == "Hello from a Git commit."
    repository.write("local/gitops/apps/hello/index.html", "Another text.\n")
    repository.commit("A new text")
    threezone(repository, "gitops.push")
    assert threezone(repository, "app.open", "--once").stdout.strip() == "Another text."


def test_pre_commit_installs_the_hook_from_this_repository(project: Project, tmp_path: Path) -> None:
    (tmp_path / "app").mkdir()
    other = Project(tmp_path / "app", tmp_path / "config", tmp_path / "state")
    other.run("git", "init", "--quiet", "--initial-branch=main")
    for key, value in (("user.name", "A User"), ("user.email", "user@example.invalid")):
        other.run("git", "config", key, value)
    threezone(other, "init", "--yes")
    other.commit("Add a lab")
    tried = (sys.executable, "-m", "pre_commit", "try-repo", str(project.root), "threezone-gitops-check")
    options = ("--hook-stage=pre-push", "--verbose")
    env = {"PRE_COMMIT_HOME": str(tmp_path / "pre-commit"), "PYTHONPATH": ""}
    assert "0 errors" in other.run(*tried, *options, env=env).stdout
    other.write("local/gitops/clusters/local/kustomization.yaml", "resources: [no-such.yaml]\n")
    other.commit("Name a file that does not exist")
    refused = other.run(*tried, *options, env=env, check=False)
    assert refused.exit_code != 0
    assert "no-such.yaml" in refused.stdout
