"""The declared and the running cluster: equal, changed in place, or recreated with the Git repositories kept."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.e2e.project import Project

from threezone.core import process

pytestmark = pytest.mark.timeout(1800)

PLAN, PORT, OTHER_PORT = "threezone-plan", 27443, 27444
CONTEXT = f"kind-{PLAN}"
KIND = "local/kubernetes/kind.yaml"
TEAM = "team-b"
LABELLED = "  - role: control-plane\n    labels:\n      tier: front\n"


@pytest.fixture(scope="module")
def planned(
    make_project: Callable[[str, int], Project],
    project: Project,  # noqa: ARG001  its engine works, its tools are there
) -> Iterator[Project]:
    """A separate lab, because these tests change its declaration."""
    made = make_project(PLAN, PORT)
    made.invoke("down", "--yes")
    made.invoke("up", "--yes", timeout=5400)
    yield made
    if "THREEZONE_KEEP" not in os.environ:
        made.invoke("down", "--yes")


def declare(project: Project, before: str, after: str) -> None:
    file = project.root / KIND
    assert before in file.read_text()
    project.write(KIND, file.read_text().replace(before, after))


def plan(project: Project, exit_code: int) -> dict[str, Any]:
    done = project.invoke("cluster.plan", "--json", check=False)
    assert done.exit_code == exit_code, done.stderr
    return dict(json.loads(done.stdout))


def differing(report: dict[str, Any]) -> dict[str, str]:
    return {row["field"]: row["verdict"] for row in report["fields"] if row["verdict"] != "same"}


def container(project: Project) -> str:
    argv = ["docker", "ps", "--no-trunc", "--quiet", "--filter", f"label=io.x-k8s.kind.cluster={PLAN}"]
    return project.run(*argv).stdout.strip()


def labels(project: Project) -> dict[str, str]:
    return dict(project.json("get", "node", f"{PLAN}-control-plane", context=CONTEXT)["metadata"]["labels"])


class Team:
    """A user with plain git and a second repository on the Git server."""

    def __init__(self, project: Project, home: Path) -> None:
        self.project, self.home = project, home
        self.env = {"GIT_CONFIG_GLOBAL": str(home / "gitconfig"), "GIT_TERMINAL_PROMPT": "0", "NO_PROXY": "127.0.0.1"}
        (home / "gitconfig").write_text("[user]\n\tname = A User\n\temail = user@example.invalid\n")

    def git(self, *argv: str | Path) -> str:
        return self.project.run("git", *argv, env=self.env).stdout.strip()

    def url(self) -> str:
        lines = self.project.invoke("gitops.serve", "--repository", TEAM, "--forward").stdout.splitlines()
        self.project.run("sh", "-c", next(line for line in lines if line.startswith("git config")), env=self.env)
        return next(line.split()[-1] for line in lines if line.startswith("git clone") and TEAM in line)

    def push(self) -> str:
        work = self.home / "work"
        self.git("init", "--quiet", "--initial-branch=main", work)
        for number in range(3):
            self.git("-C", work, "commit", "--quiet", "--allow-empty", "--message", f"commit {number}")
        self.git("-C", work, "tag", "--annotate", "--message", "the first", "v1")
        self.git("-C", work, "push", "--quiet", self.url(), "main", "v1")
        return self.git("-C", work, "rev-parse", "HEAD")

    def held(self) -> dict[str, str]:
        listed = self.git("ls-remote", "--refs", self.url()).splitlines()
        return {ref: sha for sha, ref in (line.split("\t") for line in listed)}


def test_a_new_cluster_equals_its_declaration(planned: Project) -> None:
    report = plan(planned, 0)
    assert (report["same"], report["recorded"], report["losses"]) == (True, True, None)
    assert differing(report) == {}, "every field is known, and the same"
    again = planned.invoke("up", "--yes").stdout
    assert "nothing to do" in again
    assert "notice" not in again


def test_a_label_is_changed_in_place(planned: Project) -> None:
    before = container(planned)
    declare(planned, "  - role: control-plane\n", LABELLED)
    report = plan(planned, 4)
    assert differing(report) == {"nodes[0].labels": "in place"}
    shown = planned.invoke("up", "--dry-run").stdout
    assert f"kubectl label node {PLAN}-control-plane --overwrite tier=front" in shown
    assert "tier" not in labels(planned), "a plan changes nothing"
    planned.invoke("up", "--yes")
    assert labels(planned)["tier"] == "front"
    assert plan(planned, 0)["same"]
    assert "nothing to do" in planned.invoke("up", "--yes").stdout
    declare(planned, LABELLED, "  - role: control-plane\n")
    planned.invoke("up", "--yes")
    assert "tier" not in labels(planned), "what was declared and is no longer goes"
    assert container(planned) == before


def test_recreate_asks_and_keeps_the_git_repositories(planned: Project, tmp_path: Path) -> None:
    team, before = Team(planned, tmp_path), container(planned)
    head = team.push()
    held = team.held()
    claim = {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": "data", "namespace": "default"},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "16Mi"}}},
    }
    (tmp_path / "claim.json").write_text(json.dumps(claim))
    planned.kubectl("apply", "--filename", str(tmp_path / "claim.json"), context=CONTEXT)
    planned.kubectl("create", "deployment", "by-hand", "--image=none/none:1", "--replicas=0", context=CONTEXT)
    planned.run(
        "docker", "exec", f"{PLAN}-control-plane", "ctr", "--namespace", "k8s.io", "images", "tag",
        "docker.io/threezone/hello:lab", "example.invalid/by-hand:1",
    )  # fmt: skip

    declare(planned, f"apiServerPort: {PORT}", f"apiServerPort: {OTHER_PORT}")
    report = plan(planned, 4)
    assert differing(report) == {"networking.apiServerPort": "new cluster"}
    lost = report["losses"]
    assert lost["volumes"] == ["default/data (16Mi)"]
    assert lost["images"] == ["example.invalid/by-hand:1"]
    assert lost["objects"] == {"Deployment": 1}
    assert {"repository": TEAM, "ref": "refs/heads/main", "commits": 3} in lost["rescued"]["commits"]
    assert not any(branch["repository"] == "lab" for branch in lost["rescued"]["commits"]), "the checkout has those"

    result = planned.invoke("up", "--yes")
    assert "nothing to do" in result.stdout
    assert re.search(r"notice .*apiServerPort is \d+, declared is \d+", result.stdout)
    refused = planned.invoke("up", "--recreate", check=False)
    assert refused.exit_code == 8
    assert "default/data (16Mi)" in refused.stderr
    assert container(planned) == before

    killed_once_it_is_gone(planned)
    rescued = list(planned.state.rglob("rescue.json"))
    assert [path.stat().st_mode & 0o777 for path in rescued] == [0o600]
    assert rescued[0].parent.stat().st_mode & 0o777 == 0o700
    done = planned.invoke("up", "--yes")
    assert f"https://127.0.0.1:{OTHER_PORT}" in done.stdout
    assert container(planned) not in ("", before)
    assert team.held() == held
    assert held["refs/heads/main"] == head
    assert not list(planned.state.rglob("rescue.json")), "what is put back is kept no longer"
    assert plan(planned, 0)["same"]


def killed_once_it_is_gone(project: Project) -> None:
    """Kill `up --recreate` with SIGKILL when it starts to make the new cluster, after the old one is deleted."""
    recreate = subprocess.Popen(
        ["./run", "invoke", "up", "--yes", "--recreate"],
        cwd=project.root, env={**os.environ, **project.env}, stderr=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip
    assert recreate.stderr is not None
    for line in recreate.stderr:
        if f"… create the cluster {PLAN}" in line:
            os.killpg(recreate.pid, signal.SIGKILL)
            break
    recreate.communicate(timeout=60)
    assert recreate.returncode == -signal.SIGKILL
    assert process.run(["docker", "info", "--format", "{{.ID}}"], timeout=60).exit_code == 0
