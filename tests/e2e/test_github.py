"""The workflow of ci.github, run by act on this machine as on a runner of GitHub.

It delivers to the shared lab, with the login of ci.kubeconfig and no other.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml
from tests.e2e.act import Act
from tests.e2e.project import Project
from tests.e2e.test_pipelines import (
    APP,
    PATH,
    REPOSITORY,
    Delivery,
    delivery,  # noqa: F401  a fixture
    login,
)
from tests.e2e.test_registry import password, registry  # noqa: F401  a fixture

from threezone.core import process
from threezone.core.process import Completed
from threezone.extras.ci import pipeline
from threezone.images import registry_login

pytestmark = pytest.mark.timeout(3600)

TEAM, TEAM_PORT = "threezone-github", 26446
LAB = f"{TEAM}-ci"
WORKFLOW = pipeline.OUTPUTS["github"]
HELLO = "local/gitops/apps/hello/deployment.yaml"  # what the lab runs


@dataclass(frozen=True)
class Runner:
    """The team's project, and the program that runs its workflow."""

    project: Project
    act: Act


@pytest.fixture(scope="module")
def runner(
    lab: Project,  # noqa: ARG001  the cluster that is delivered to is there first
    make_project: Callable[[str, int], Project],
) -> Iterator[Runner]:
    """A team's project at GitHub, with an image that the lab's Flux runs in the namespace prod."""
    team = make_project(TEAM, TEAM_PORT)
    made = Runner(team, Act(team.root, team.root.with_name("act")))
    team.run("git", "remote", "add", "github", "https://github.com/Team/app.git")
    team.write("Dockerfile", "FROM threezone/hello:lab\nLABEL of=team\n")
    team.write(f"{PATH}/app.yaml", json.dumps(APP))
    team.write(f"{PATH}/kustomization.yaml", json.dumps({"namespace": "prod", "resources": ["app.yaml"]}))
    team.invoke("ci.github", "--runner", "hosted")
    team.commit("An app, and its workflow")
    team.invoke("down", "--yes", "--name", LAB)
    yield made
    team.invoke("down", "--yes", "--name", LAB)
    process.run(["docker", "image", "rm", "app:lab"], timeout=60, check=False)


def nodes() -> str:
    """The containers of the cluster that the workflow makes."""
    mine = ["docker", "ps", "--all", "--quiet", "--filter", f"label=io.x-k8s.kind.cluster={LAB}"]
    return process.run(mine, timeout=30).stdout


def push(runner: Runner, lab: Project, host: str, *options: str) -> Completed:
    """Run the workflow for a push of HEAD to main, with the team's secrets and variables."""
    return runner.act.run(
        f"--actor={registry_login.USER}",
        *options,
        secrets={"PROD_KUBECONFIG": login(lab, "host").read_text(), "GITHUB_TOKEN": password(lab, host)},
        variables={"DELIVER": "true"},
        env={"PHASES": "create,destroy", "REGISTRY": host, "KUSTOMIZATION": f"flux-system/{REPOSITORY}"},
    )


def test_a_push_runs_the_lab_builds_the_image_and_delivers_it(
    lab: Project,
    runner: Runner,
    delivery: Delivery,  # noqa: F811
    registry: str,  # noqa: F811
) -> None:
    team, before = runner.project, runner.project.kubeconfig.read_bytes()
    team.write(f"{PATH}/app.yaml", json.dumps(APP).replace("threezone/hello:lab", "app"))
    team.write(
        f"{PATH}/kustomization.yaml",
        json.dumps({"namespace": "prod", "resources": ["app.yaml"], "components": ["../../release"]}),
    )
    commit = team.commit("Run the image of each commit")
    trust_as_checkout_does(team, delivery)
    done = push(runner, lab, registry)
    assert done.exit_code == 0, done.stdout + done.stderr
    assert runner.act.artifacts >= {"proof.html", "proof.xml"}
    assert "lab-logs.tar.gz" not in runner.act.artifacts
    assert "Build and push" in done.stderr
    assert "app:lab" in done.stdout, "the app's image was loaded"
    assert f"the lab {LAB} is gone" in done.stdout
    assert nodes() == ""
    team.run("git", "pull", "--quiet", "--ff-only", "origin", "main")
    release = team.run("git", "rev-parse", "HEAD").stdout.strip()
    assert team.run("git", "rev-parse", "HEAD^").stdout.strip() == commit, "the release is one commit"
    assert f"applied main@sha1:{release}" in done.stdout
    pods = lab.json("get", "pods", "-n", "prod")["items"]
    living = [pod for pod in pods if not pod["metadata"].get("deletionTimestamp")]
    assert [pod["spec"]["containers"][0]["image"] for pod in living] == [f"{registry}/team/app:{commit}"]
    assert team.kubeconfig.read_bytes() == before, "the jobs have a file of their own"
    assert team.run("git", "status", "--porcelain").stdout == ""


def test_an_unhealthy_commit_fails_the_jobs_and_leaves_logs(
    lab: Project,
    runner: Runner,
    delivery: Delivery,  # noqa: F811, ARG001
    registry: str,  # noqa: F811
) -> None:
    team = runner.project
    for path in (HELLO, f"{PATH}/app.yaml"):
        whole = (team.root / path).read_text()
        # The nodes have no image of that name: no job has built it.
        never = whole.replace("IfNotPresent", "Never").replace("threezone/hello:lab", "threezone/hello:gone")
        assert whole != never
        team.write(path, never)
    commit = team.commit("What cannot start")
    failed = push(runner, lab, registry)
    assert failed.exit_code == 1
    assert re.search(r"error: .*Deployment hello/hello of main@sha1:", failed.stdout), failed.stdout
    assert "ErrImageNeverPull" in failed.stdout
    assert runner.act.artifacts == {"lab-logs.tar.gz"}
    assert f"the lab {LAB} is gone" in failed.stdout
    assert nodes() == ""
    assert "Build and push" not in failed.stderr, "nothing is delivered"
    # Deliver the same commit without the job `lab` before it.
    refused = push(runner, lab, registry, f"--workflows={without_a_lab(team)}")
    assert refused.exit_code == 1
    assert re.search(
        r"^error: Deployment prod/app of main@sha1:\w+ cannot become healthy$", refused.stdout, re.MULTILINE
    ), refused.stdout + refused.stderr
    assert re.search(r"^pod/app-\S+ .*ErrImageNeverPull", refused.stdout, re.MULTILINE), "Show the logs"
    assert f"{registry}/team/app:{commit}" in refused.stdout


def without_a_lab(team: Project) -> Path:
    """A copy of the team's workflow with the job `deliver` only, because act also runs the jobs that a job needs."""
    whole = yaml.safe_load((team.root / WORKFLOW).read_text())
    deliver = {key: value for key, value in whole["jobs"]["deliver"].items() if key != "needs"}
    on = whole.pop(True)  # what YAML 1.1 makes of this word
    written = team.root.with_name("deliver.yml")
    written.write_text(yaml.safe_dump({**whole, "on": on, "jobs": {"deliver": deliver}}, sort_keys=False))
    return written


def trust_as_checkout_does(team: Project, to: Delivery) -> None:
    """Add the remote and the authorization header that actions/checkout leaves in a repository."""
    header = base64.b64encode(f"threezone:{to.password}".encode()).decode()
    team.run("git", "remote", "add", "origin", to.url)
    with (team.root / ".git/config").open("a") as file:
        file.write(f'[http "{to.url}"]\n\textraheader = AUTHORIZATION: basic {header}\n')
