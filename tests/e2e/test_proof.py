"""The proof: it succeeds, each phase can fail, and nothing is left behind."""

from __future__ import annotations

import json
import os
import queue
import re
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from tests.e2e.project import Project

from threezone.core import process

pytestmark = pytest.mark.timeout(1800)

PHASES = ["create", "update", "drift", "broken", "repair", "suspend", "destroy"]
STAGES = ["push", "fetch", "apply", "settle"]
DEPLOYMENT = "local/gitops/apps/hello/deployment.yaml"


def proofs(lab: Project) -> set[str]:
    """The namespaces of all proofs."""
    listed = lab.json("get", "namespaces")["items"]
    return {item["metadata"]["name"] for item in listed if item["metadata"]["name"].startswith("proof-")}


def branches(lab: Project) -> set[str]:
    """The branches on the lab's Git server."""
    shown = lab.kubectl("--namespace", "threezone", "exec", "deployment/git", "--",
                        "git", "-C", "/srv/git/lab.git", "for-each-ref", "--format=%(refname:short)")  # fmt: skip
    return set(shown.stdout.split())


def nothing_left(lab: Project) -> None:
    assert proofs(lab) == set()
    assert branches(lab) == {"main"}


def prove(lab: Project, *options: str, exit_code: int = 0) -> dict[str, Any]:
    done = lab.invoke("gitops.prove", "--json", *options, check=False)
    assert done.exit_code == exit_code, done.stderr
    shown: dict[str, Any] = json.loads(done.stdout)
    return shown | {"stderr": done.stderr}


def failed(proof: dict[str, Any]) -> dict[str, Any]:
    """The one phase that failed; those before it succeeded, and those after it did not run."""
    states = [phase["ok"] for phase in proof["phases"]]
    at = states.index(False)
    assert proof["ok"] is False
    assert states == [True] * at + [False] + [None] * (len(states) - at - 1)
    phase: dict[str, Any] = proof["phases"][at]
    assert f"the phase {phase['name']} failed: {phase['why']}" in proof["stderr"]
    return phase


@contextmanager
def running(lab: Project, *options: str) -> Iterator[tuple[process.Running, queue.Queue[str]]]:
    lines: queue.Queue[str] = queue.Queue()
    argv = [str(lab.root / "run"), "invoke", "gitops.prove", *options]
    with process.Running(argv, cwd=lab.root, env=lab.env, on_line=lines.put) as task:
        yield task, lines


def workload(lab: Project) -> str:
    """Wait for the workload of the running proof, and return its namespace."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        for item in lab.json("get", "deployments", "--all-namespaces")["items"]:
            if re.fullmatch("proof-[0-9a-f]{6}", item["metadata"]["namespace"]):
                return str(item["metadata"]["namespace"])
        time.sleep(0.1)
    pytest.fail("no workload of a proof has come")


def applied(lab: Project) -> str:
    found = lab.json("--namespace", "flux-system", "get", "kustomization", "lab")
    return f"{found['metadata']['generation']} {found['status']['lastAttemptedRevision']}"


def test_a_commit_alone_creates_updates_and_destroys(lab: Project) -> None:
    before, others = applied(lab), branches(lab)
    proof = prove(lab)
    assert proof["ok"] is True
    assert [phase["name"] for phase in proof["phases"]] == PHASES
    revisions = [phase["revision"] for phase in proof["phases"]]
    assert len(set(revisions)) == len(PHASES), "each phase is one commit"
    assert all(revision.startswith(f"{proof['branch']}@sha1:") for revision in revisions)
    for phase in proof["phases"]:
        seconds = phase["seconds"]
        assert sum(seconds[stage] for stage in STAGES) == pytest.approx(seconds["total"], abs=0.05)
        assert phase["objects"]
        assert phase["commands"]
    assert proof["managers"] == ["kube-controller-manager (status)", "kustomize-controller"]
    assert "containerPort" in proof["phases"][3]["evidence"], "Flux's own words"
    assert proof["versions"]["flux"] == "v2.7.3"
    nothing_left(lab)
    assert (applied(lab), branches(lab)) == (before, others), "the user's delivery was not touched"


def test_a_kept_proof_stays_until_it_is_removed(lab: Project) -> None:
    proof = prove(lab, "--phases", "create", "--keep")
    name = proof["namespace"]
    path = f"/api/v1/namespaces/{name}/services/web:80/proxy/"
    assert lab.kubectl("get", "--raw", path).stdout == f"proof {proof['id']}: create\n"
    prove(lab, "--phases", "create")
    assert proofs(lab) == {name, f"{name}-flux"}, "a later proof does not remove it"
    lab.invoke("gitops.prove", "--remove", proof["id"])
    nothing_left(lab)


def test_two_proofs_can_run_at_the_same_time(lab: Project) -> None:
    with running(lab) as (one, _), running(lab) as (other, _):
        ends = one.wait(600), other.wait(600)
    assert [end.exit_code for end in ends] == [0, 0], "\n".join(end.stderr for end in ends)
    nothing_left(lab)


@contextmanager
def scaled_to_zero(lab: Project, namespace: str, deployment: str) -> Iterator[None]:
    where = ("--namespace", namespace)
    lab.kubectl(*where, "scale", f"deployment/{deployment}", "--replicas=0")
    try:
        lab.kubectl(*where, "wait", "--for=delete", "pod", "-l", f"app={deployment}", "--timeout=60s", check=False)
        yield
    finally:
        lab.kubectl(*where, "scale", f"deployment/{deployment}", "--replicas=1")
        lab.kubectl(*where, "rollout", "status", f"deployment/{deployment}", "--timeout=120s")


def test_without_kustomize_controller_nothing_is_created(lab: Project) -> None:
    began = time.monotonic()
    with scaled_to_zero(lab, "flux-system", "kustomize-controller"):
        phase = failed(prove(lab, exit_code=6))
        assert phase["name"] == "create"
        assert phase["why"] == "kustomize-controller is scaled to zero: nobody applies commits"
        assert time.monotonic() - began < 60, "reported at once"
        nothing_left(lab)


def test_without_the_git_server_nothing_is_pushed(lab: Project) -> None:
    with scaled_to_zero(lab, "threezone", "git"):
        phase = failed(prove(lab, exit_code=6))
        assert phase["name"] == "create"
        assert phase["why"] == "the lab's Git server does not run: there is nowhere to push to"
        assert proofs(lab) == set()
    nothing_left(lab)


def test_without_pruning_nothing_is_destroyed(lab: Project) -> None:
    with running(lab, "--phases", "create,destroy", "--json") as (task, _):
        name = workload(lab)
        change = '{"spec":{"prune":false}}'
        lab.kubectl("--namespace", f"{name}-flux", "patch", "kustomization", name, "--type=merge", "--patch", change)
        end = task.wait(300)
    assert end.exit_code == 6
    phase = failed(json.loads(end.stdout) | {"stderr": end.stderr})
    assert phase["name"] == "destroy"
    assert phase["why"].endswith("and what it removes stays: pruning is switched off")
    assert f"Namespace {name}" in phase["evidence"]
    nothing_left(lab)


def test_a_field_of_another_manager_is_named_with_its_owner(lab: Project) -> None:
    with running(lab, "--phases", "create,update", "--json") as (task, _):
        name = workload(lab)
        lab.kubectl("--namespace", name, "label", "deployment/web", "mine=yes", "--field-manager=somebody")
        end = task.wait(300)
    assert end.exit_code == 6
    phase = failed(json.loads(end.stdout) | {"stderr": end.stderr})
    assert phase["why"] == "somebody beside Flux owns fields of what the commit declares"
    assert phase["evidence"] == f"Deployment {name}/web: somebody owns metadata.labels.mine"
    nothing_left(lab)


def test_drift_in_an_object_that_flux_ignores_fails_the_proof(lab: Project) -> None:
    with running(lab, "--phases", "create,drift", "--timeout", "20", "--json") as (task, _):
        name = workload(lab)
        keep = "kustomize.toolkit.fluxcd.io/reconcile=disabled"
        lab.kubectl("--namespace", name, "annotate", "deployment/web", keep, "--field-manager=kustomize-controller")
        end = task.wait(300)
    assert end.exit_code == 6
    phase = failed(json.loads(end.stdout) | {"stderr": end.stderr})
    assert phase["name"] == "drift"
    assert "spec.replicas to be put back to 1 (it is 0)" in phase["evidence"]
    nothing_left(lab)


@pytest.mark.parametrize("sign", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_proof_cleans_up(lab: Project, sign: signal.Signals) -> None:
    with running(lab) as (task, _):
        workload(lab)
        os.kill(task.pid, sign)
        end = task.wait(300)
    assert end.exit_code == 130, end.stderr
    nothing_left(lab)


def test_leftovers_of_a_killed_proof_are_removed_by_a_later_one(lab: Project) -> None:
    with running(lab) as (task, _):
        name = workload(lab)
        os.killpg(task.pid, signal.SIGKILL)
        task.wait(60)
    assert name in proofs(lab)
    prove(lab, "--phases", "create")  # the killed one may still be alive, for all that can be known
    deadline = time.monotonic() + 120
    while name in proofs(lab):
        assert time.monotonic() < deadline
        prove(lab, "--phases", "create")
    nothing_left(lab)


def test_an_applied_revision_is_reported_at_once(lab: Project) -> None:
    sha = lab.run("git", "rev-parse", "HEAD").stdout.strip()
    lab.invoke("gitops.push")
    for revision in ("HEAD", sha, sha[:7], f"main@sha1:{sha}"):
        assert lab.invoke("gitops.wait", "--revision", revision).stdout.strip() == f"applied main@sha1:{sha}"


def test_a_revision_that_was_not_pushed_is_reported_at_once(lab: Project) -> None:
    began = time.monotonic()
    done = lab.invoke("gitops.wait", "--revision", "deadbeef", check=False)
    assert done.exit_code == 6
    assert "the source lab does not hold deadbee: it holds main@sha1:" in done.stderr
    assert time.monotonic() - began < 30
    assert lab.invoke("gitops.wait", "--revision", "no-such-branch", check=False).exit_code == 2


def test_an_image_that_cannot_be_pulled_fails_at_once(lab: Project) -> None:
    good = (lab.root / DEPLOYMENT).read_text()
    lab.write(DEPLOYMENT, good.replace("threezone/hello:lab", "127.0.0.1:1/nowhere:1"))
    lab.commit("An image that is nowhere")
    began = time.monotonic()
    done = lab.invoke("gitops.push", "--no-check", check=False)
    assert done.exit_code == 6
    assert "Deployment hello/hello of main@sha1:" in done.stderr
    assert "ImagePullBackOff" in done.stderr
    assert "event Failed: " in done.stderr
    assert time.monotonic() - began < 60, "Flux itself would say so after two minutes"
    lab.write(DEPLOYMENT, good)
    lab.commit("The image that is there")
    began = time.monotonic()
    lab.invoke("gitops.push")
    assert time.monotonic() - began < 60, "Flux's look at the broken revision's health lasts two minutes"
