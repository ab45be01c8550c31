"""A commit is delivered although a component in its path is killed or restarted."""

from __future__ import annotations

import json
import queue
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from tests.e2e.project import NAME, Project

from threezone.core import process
from threezone.delivery import git_server

pytestmark = pytest.mark.timeout(1200)

NODE = f"{NAME}-control-plane"
STAMP = "reconcile.fluxcd.io/requestedAt"


def signalled(lab: Project, name: str, sign: str) -> None:
    """Send a signal to a program in the node, by its command line."""
    lab.run("docker", "exec", NODE, "pkill", f"--signal={sign}", "--full", f"^{name} ")


def actual(lab: Project, kind: str) -> Any:
    return lab.json("--namespace", "flux-system", "get", kind, "lab")


def until(what: str, holds: Callable[[], bool], seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, what
        time.sleep(0.1)


@contextmanager
def running(lab: Project, *task: str) -> Iterator[tuple[process.Running, queue.Queue[str]]]:
    lines: queue.Queue[str] = queue.Queue()
    argv = [str(lab.root / "run"), "invoke", *task]
    with process.Running(argv, cwd=lab.root, env=lab.env, on_line=lines.put) as started:
        yield started, lines


def without_git_server(lab: Project) -> None:
    """Delete the pod of the Git server; its Deployment makes another one."""
    lab.kubectl("--namespace", "threezone", "delete", "pod", "--selector=app.kubernetes.io/name=git", "--wait=false")


def changed(lab: Project, text: str) -> str:
    """Commit another text of the sample app, and return the commit."""
    lab.write("local/gitops/apps/hello/index.html", text + "\n")
    return lab.commit(text)


def delivered(lab: Project, pushing: process.Running, sha: str, text: str) -> None:
    end = pushing.wait(600)
    assert end.exit_code == 0, end.stderr
    assert actual(lab, "kustomization")["status"]["lastAttemptedRevision"] == f"main@sha1:{sha}"
    assert lab.invoke("app.open", "--once").stdout.strip() == text


def test_source_controller_killed_while_it_fetches(lab: Project) -> None:
    signalled(lab, "source-controller", "STOP")
    before = actual(lab, "gitrepository")["metadata"]["annotations"].get(STAMP)
    sha = changed(lab, "fetched twice")
    with running(lab, "gitops.push") as (pushing, _):
        until("asked for", lambda: actual(lab, "gitrepository")["metadata"]["annotations"][STAMP] != before)
        signalled(lab, "lighttpd", "STOP")  # the fetch begins, and does not end
        signalled(lab, "source-controller", "CONT")
        until(
            "fetching",
            lambda: any(c["type"] == "Reconciling" for c in actual(lab, "gitrepository")["status"]["conditions"]),
        )
        signalled(lab, "source-controller", "KILL")
        signalled(lab, "lighttpd", "CONT")
        delivered(lab, pushing, sha, "fetched twice")


def test_the_api_server_restarted_while_a_commit_is_applied(lab: Project) -> None:
    signalled(lab, "kustomize-controller", "STOP")
    sha = changed(lab, "applied twice")
    with running(lab, "gitops.push") as (pushing, _):
        until("fetched", lambda: actual(lab, "gitrepository")["status"]["artifact"]["revision"].endswith(sha))
        signalled(lab, "kube-apiserver", "KILL")
        signalled(lab, "kustomize-controller", "CONT")
        delivered(lab, pushing, sha, "applied twice")


def test_the_git_server_restarted_before_flux_has_fetched(lab: Project) -> None:
    signalled(lab, "source-controller", "STOP")
    before = actual(lab, "gitrepository")["metadata"]["annotations"].get(STAMP)
    sha = changed(lab, "served twice")
    with running(lab, "gitops.push") as (pushing, _):
        until("asked for", lambda: actual(lab, "gitrepository")["metadata"]["annotations"][STAMP] != before)
        without_git_server(lab)
        signalled(lab, "source-controller", "CONT")
        delivered(lab, pushing, sha, "served twice")


def test_a_proof_succeeds_despite_faults(lab: Project) -> None:
    faults: dict[str, Callable[[], object]] = {
        "update": lambda: signalled(lab, "source-controller", "KILL"),
        "drift": lambda: without_git_server(lab),
        "repair": lambda: signalled(lab, "kube-apiserver", "KILL"),
    }
    with running(lab, "gitops.prove", "--json") as (proving, lines):
        while faults:
            line = lines.get(timeout=300)
            if phase := next((name for name in faults if f"… {name}: " in line), ""):
                faults.pop(phase)()
        end = proving.wait(900)
    assert end.exit_code == 0, end.stderr
    assert json.loads(end.stdout)["ok"] is True


def test_a_restart_of_the_node_loses_no_commit(lab: Project) -> None:
    signalled(lab, "kustomize-controller", "STOP")
    sha = changed(lab, "after a restart")
    with running(lab, "gitops.push") as (pushing, _):
        until("fetched", lambda: actual(lab, "gitrepository")["status"]["artifact"]["revision"].endswith(sha))
        lab.run("docker", "restart", "--time=5", NODE)
        delivered(lab, pushing, sha, "after a restart")
    held = lab.run("docker", "exec", NODE, "cat", f"{git_server.STORE}/lab.git/refs/heads/main")
    assert held.stdout.strip() == sha, "the Git server has every commit that it took"


CLUSTER, KUSTOMIZATION = "local/gitops/clusters/local", "local/gitops/clusters/local/kustomization.yaml"
FAILING = {
    "apiVersion": "batch/v1",
    "kind": "Job",
    "metadata": {"name": "migrate", "namespace": "hello"},
    "spec": {
        "backoffLimit": 0,
        "template": {
            "spec": {
                "restartPolicy": "Never",
                "containers": [
                    {
                        "name": "migrate",
                        "image": "threezone/hello:lab",
                        "imagePullPolicy": "IfNotPresent",
                        "command": ["/bin/sh", "-c", "echo cannot reach the database; exit 1"],
                    }
                ],
            }
        },
    },
}
CHILD: dict[str, Any] = {
    "apiVersion": "kustomize.toolkit.fluxcd.io/v1",
    "kind": "Kustomization",
    "metadata": {"name": "child", "namespace": "flux-system"},
    "spec": {
        "interval": "10m",
        "prune": True,
        "wait": False,  # Flux itself does not look at the Job
        "path": "./local/gitops/child",
        "sourceRef": {"kind": "GitRepository", "name": "lab"},
    },
}


def is_failed(lab: Project) -> bool:
    job = lab.kubectl("--namespace", "hello", "get", "job", "migrate", "-o", "json", check=False)
    conditions = json.loads(job.stdout)["status"].get("conditions", []) if job.exit_code == 0 else []
    return any((c["type"], c["status"]) == ("Failed", "True") for c in conditions)


@pytest.mark.parametrize("deep", [False, True], ids=["applied by the lab itself", "applied by a child"])
def test_a_failed_job_is_an_error_until_it_is_repaired(lab: Project, deep: bool) -> None:
    good = (lab.root / KUSTOMIZATION).read_text()
    lab.write("local/gitops/child/job.yaml" if deep else f"{CLUSTER}/job.yaml", json.dumps(FAILING))
    if deep:
        lab.write(f"{CLUSTER}/child.yaml", json.dumps(CHILD))
    lab.write(KUSTOMIZATION, f"{good}  - {'child' if deep else 'job'}.yaml\n")
    sha = lab.commit("A Job that fails")
    first = lab.invoke("up", "--yes", check=False)
    assert first.exit_code == (0 if deep and "migrate" not in first.stderr else 6), "a Job of a child is not waited for"
    until("the Job has failed", lambda: is_failed(lab))
    for _ in range(2):  # while Flux rests, and while it tries again
        again = lab.invoke("up", "--yes", check=False)
        assert again.exit_code == 6, again.stdout
        assert "migrate" in again.stderr
        gitops = json.loads(lab.invoke("status", "--json", check=False).stdout)["gitops"]
        assert (gitops["ready"], gitops["wanted"]) == (False, f"main@sha1:{sha}")
        assert "migrate" in gitops["why"]
    row = next(line for line in lab.invoke("status", check=False).stdout.splitlines() if line.startswith("gitops"))
    assert row.split()[1] == "no"
    lab.write(KUSTOMIZATION, good)
    lab.commit("No Job")
    assert lab.invoke("up", "--yes").exit_code == 0
    assert "nothing to do" in lab.invoke("up", "--yes").stdout
    assert json.loads(lab.invoke("status", "--json").stdout)["gitops"]["ready"] is True


def test_a_suspended_delivery_is_named(lab: Project) -> None:
    # What Flux is doing when it is suspended stays as it is; so let it end first.
    lab.invoke("flux.reconcile", "--object", "kustomization/lab")
    lab.invoke("flux.suspend", "--object", "kustomization/lab")
    try:
        assert "Kustomization flux-system/lab" in lab.invoke("up", "--yes").stdout
        status = json.loads(lab.invoke("status", "--json").stdout)
        assert status["gitops"]["suspended"] == ["Kustomization flux-system/lab"]
        changed(lab, "while it is suspended")
        refused = lab.invoke("up", "--yes", check=False)
        assert refused.exit_code == 6
        assert "suspended" in refused.stderr
    finally:
        lab.invoke("flux.resume", "--object", "kustomization/lab")
    assert lab.invoke("up", "--yes").exit_code == 0


def child(**spec: object) -> dict[str, Any]:
    return {**CHILD, "spec": {**CHILD["spec"], **spec}}


def with_image(kind: str, name: str, container: dict[str, str] | None = None, **pod: object) -> dict[str, Any]:
    """A workload of the sample app's image; `container` and `pod` override parts of its pods."""
    container = {"name": "app", "image": "threezone/hello:lab", "imagePullPolicy": "IfNotPresent", **(container or {})}
    labels = {"app": name}
    template: dict[str, Any] = {"metadata": {"labels": labels}, "spec": {"containers": [container], **pod}}
    job = kind == "Job"
    return {
        "apiVersion": "batch/v1" if job else "apps/v1",
        "kind": kind,
        "metadata": {"name": name, "namespace": "hello"},
        "spec": {"template": template, **({} if job else {"selector": {"matchLabels": labels}})},
    }


def release(**chart: object) -> dict[str, Any]:
    return {
        "apiVersion": "helm.toolkit.fluxcd.io/v2",
        "kind": "HelmRelease",
        "metadata": {"name": "page", "namespace": "hello"},
        "spec": {"interval": "10m", "chart": {"spec": chart}},
    }


LAB_SOURCE = {"kind": "GitRepository", "name": "lab", "namespace": "flux-system"}
UNREACHABLE = {
    "apiVersion": "source.toolkit.fluxcd.io/v1",
    "kind": "HelmRepository",
    "metadata": {"name": "charts", "namespace": "hello"},
    "spec": {"interval": "1h", "url": "http://127.0.0.1:9/"},
}
MAP = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "of-child", "namespace": "hello"}}
CHART = "apiVersion: v2\nname: page\nversion: 1.0.0\n"
# What a commit brings, other files of it, and what is told of it.
HOPELESS: dict[str, tuple[list[dict[str, Any]], dict[str, str], tuple[str, ...]]] = {
    "a child with broken YAML": ([CHILD], {"local/gitops/child/map.yaml": "a: [b\n"}, ("BuildFailed", "yaml")),
    "a child whose path is hidden": (
        [child(path="./local/gitops/hidden")],
        {"local/gitops/hidden/map.yaml": json.dumps(MAP), ".sourceignore": "/local/gitops/hidden/\n"},
        ("path not found", ".sourceignore"),
    ),
    "a suspended child": (
        [child(suspend=True)], {"local/gitops/child/map.yaml": json.dumps(MAP)}, ("it is suspended", "flux.resume"),
    ),
    "no ServiceAccount": ([with_image("Deployment", "page", serviceAccountName="absent")], {}, ('"absent" not found',)),
    "a Job without an image": (
        [with_image("Job", "page", restartPolicy="Never", container={"image": "absent:1", "imagePullPolicy": "Never"})],
        {},
        ("Job hello/page", "ErrImageNeverPull"),
    ),
    "a chart that does not render": (
        [release(chart="./charts/page", reconcileStrategy="Revision", sourceRef=LAB_SOURCE)],
        {"charts/page/Chart.yaml": CHART, "charts/page/templates/map.yaml": "{{ end }}\n"},
        ("HelmRelease hello/page", "unexpected {{end}}"),
    ),
    "a chart repository that cannot be reached": (
        [UNREACHABLE, release(chart="page", sourceRef={"kind": "HelmRepository", "name": "charts"})],
        {},
        ("HelmRepository hello/charts", "connection refused"),
    ),
}  # fmt: skip


def brought(lab: Project, message: str, objects: list[dict[str, Any]]) -> str:
    """Commit these objects beside the sample app; none takes them away. Returns the commit."""
    lab.write(f"{CLUSTER}/more.yaml", "\n---\n".join(map(json.dumps, objects)) or "# nothing\n")
    kustomization = lab.root / KUSTOMIZATION
    good = kustomization.read_text().removesuffix("  - more.yaml\n")
    kustomization.write_text(good + ("  - more.yaml\n" if objects else ""))
    return lab.commit(message)


@pytest.mark.parametrize(("objects", "files", "words"), HOPELESS.values(), ids=HOPELESS)
def test_the_cause_is_named_long_before_flux_gives_up(
    lab: Project, objects: list[dict[str, Any]], files: dict[str, str], words: tuple[str, ...]
) -> None:
    for path, text in files.items():
        lab.write(path, text)
    brought(lab, "Hopeless", objects)
    refused = lab.invoke("gitops.push", "--no-check", check=False, timeout=100)  # Flux itself takes two minutes
    assert refused.exit_code == 6, refused.stderr
    for word in words:
        assert word in refused.stderr
    for path in files:
        (lab.root / path).unlink()
    brought(lab, "Mended", [])
    lab.invoke("gitops.push")


def test_what_a_commit_removes_is_gone_when_it_is_applied(lab: Project) -> None:
    held = {**MAP, "metadata": {"name": "held", "namespace": "hello", "finalizers": ["example.com/hold"]}}
    brought(lab, "Held", [held])
    lab.invoke("gitops.push")
    sha = brought(lab, "Not held", [])
    with running(lab, "gitops.push") as (pushing, lines):
        line = ""
        while "example.com/hold" not in line:
            line = lines.get(timeout=120)
        assert pushing.alive
        lab.kubectl(
            "--namespace=hello", "patch", "configmap", "held", "--type=merge", '-p={"metadata":{"finalizers":null}}'
        )
        end = pushing.wait(600)
    assert end.exit_code == 0, end.stderr
    assert sha in end.stdout


PENDING = with_image("Deployment", "page", nodeSelector={"absent": "node"})


def test_a_newer_commit_overtakes_an_older_one(lab: Project) -> None:
    older = brought(lab, "Waits for a node", [PENDING])
    with running(lab, "gitops.push") as (overtaken, _):
        until("fetched", lambda: actual(lab, "gitrepository")["status"]["artifact"]["revision"].endswith(older))
        newer = brought(lab, "Waits no more", [])
        with running(lab, "gitops.push") as (pushing, _):
            end = overtaken.wait(100)
            assert end.exit_code == 6, end.stdout
            assert f"{newer[:7]} has overtaken" in end.stderr
            assert f"gitops.wait {newer}" in end.stderr
            assert pushing.wait(600).exit_code == 0


def test_watch_leaves_a_hopeless_commit_for_its_fix(lab: Project) -> None:
    older = brought(lab, "Waits for a node", [PENDING])
    with running(lab, "gitops.watch", "--force") as (_, lines):
        until("fetched", lambda: actual(lab, "gitrepository")["status"]["artifact"]["revision"].endswith(older))
        newer = brought(lab, "The fix", [])
        printed = [""]
        while f"{newer[:7]} applied in" not in printed[-1]:
            printed.append(lines.get(timeout=100))
    assert any(f"{newer[:7]} has overtaken" in line for line in printed)
