"""The lab stopped, started, restarted, looked at and collected; no pod is made anew, and nothing secret leaves it."""

from __future__ import annotations

import base64
import json
import re
import tarfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from tests.e2e.project import BY_HAND, NAME, Project

from threezone.core import process

pytestmark = pytest.mark.timeout(900)

NODE = f"{NAME}-control-plane"
PAGE = "local/gitops/apps/hello/index.html"


def pods(project: Project) -> dict[str, Any]:
    """Every pod of the cluster by its uid."""
    return {pod["metadata"]["uid"]: pod for pod in project.json("get", "pods", "--all-namespaces")["items"]}


def started_at(name: str = NODE) -> datetime:
    """When the engine started the node last."""
    told = process.run(["docker", "inspect", "--format", "{{.State.StartedAt}}", name], timeout=30).stdout
    return datetime.strptime(told[:19], "%Y-%m-%dT%H:%M:%S").replace(tzinfo=UTC)


def all_back(project: Project) -> None:
    """Every pod is Ready by what its containers have done since the node's start, not by what was known before."""
    since = started_at()
    for pod in pods(project).values():
        name = pod["metadata"]["name"]
        conditions = {each["type"]: each["status"] for each in pod["status"]["conditions"]}
        assert conditions["Ready"] == "True" or pod["status"]["phase"] == "Succeeded", name
        for container in pod["status"]["containerStatuses"]:
            began = container["state"]["running"]["startedAt"]
            assert datetime.strptime(began, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC) >= since, name


def secrets(project: Project) -> dict[str, str]:
    """What must not be found: the administrator's key, every Secret, the bootstrap token, the Git server's password."""
    kubeconfig = project.run(project.tool("kind"), "get", "kubeconfig", "--name", NAME).stdout
    (encoded,) = re.findall(r"client-key-data: (\S+)", kubeconfig)
    found = {"client key": encoded}
    lines = base64.b64decode(encoded).decode().splitlines()[1:-1]
    found |= {f"line {number} of the client key": line for number, line in enumerate(lines)}
    for secret in project.json("get", "secrets", "--all-namespaces")["items"]:
        for key, value in (secret.get("data") or {}).items():
            of = f"{secret['metadata']['name']}/{key}"
            text = base64.b64decode(value).decode(errors="replace")
            if len(text) >= 8:
                found |= {of: text, f"{of}, encoded": value}
    conf = process.run(["docker", "exec", NODE, "cat", "/kind/kubeadm.conf"], timeout=30).stdout
    found["bootstrap token"] = re.findall(r"token: (\S+)", conf)[0]
    return found


def read(archive: Path) -> dict[str, str]:
    """The files of an archive of logs, without the directory that they stand in."""
    with tarfile.open(archive) as opened:
        entries = [(entry.name.partition("/")[2], opened.extractfile(entry)) for entry in opened.getmembers()]
        return {name: stream.read().decode(errors="replace") for name, stream in entries if stream}


def test_the_walk_through_the_cluster_tells_what_the_documents_show(lab: Project) -> None:
    seen = json.loads(lab.invoke("cluster.inspect", "--json").stdout)
    (node,) = seen["nodes"]
    assert (seen["name"], seen["ours"], node["name"], node["state"]) == (NAME, True, NODE, "running")
    assert [pod["name"] for pod in node["static_pods"]] == [
        "etcd",
        "kube-apiserver",
        "kube-controller-manager",
        "kube-scheduler",
    ]
    assert {NODE, "localhost", "kubernetes.default.svc", node["addresses"][0]} <= set(node["certificate"]["names"])
    assert node["certificate"]["expires"] > datetime.now(UTC).strftime("%Y-%m-%d")
    assert "kind: InitConfiguration" in node["kubeadm"]
    token = secrets(lab)["bootstrap token"]
    page = lab.invoke("cluster.inspect").stdout
    assert "-> 6443/tcp" in page
    assert token not in page + node["kubeadm"]


def test_the_logs_are_one_archive_for_its_owner_without_a_secret(lab: Project, tmp_path: Path) -> None:
    target = tmp_path / "logs.tar.gz"
    done = lab.invoke("cluster.logs", "--output", str(target))
    assert done.stdout.splitlines() == [str(target)], "everything could be had"
    assert target.stat().st_mode & 0o777 == 0o600
    files = read(target)
    assert "Started kubelet.service" in files[f"nodes/{NODE}/kubelet.txt"]
    assert json.loads(files["threezone/status.json"])["cluster"]["name"] == NAME
    assert any(name.startswith("flux/source-controller") and files[name] for name in files)
    assert "Kustomization" in files["flux/objects.json"]
    assert "ServerVersion" in files["engine/info.json"]
    assert files["kubernetes/events.txt"]
    assert any(name.startswith(f"kind/{NODE}/") for name in files)
    hidden = secrets(lab)
    assert len(hidden) > 10
    leaked = [(what, name) for what, value in hidden.items() for name, text in files.items() if value in text]
    assert leaked == []


def test_a_stop_keeps_everything_and_status_says_so(lab: Project, tmp_path: Path) -> None:
    lab.invoke("cluster.stop")
    assert "nothing to do" in lab.invoke("cluster.stop").stdout
    told = lab.invoke("cluster.status", check=False)
    assert (told.exit_code, f"not running: {NODE}" in told.stderr) == (4, True)
    assert json.loads(lab.invoke("cluster.inspect", "--json").stdout)["nodes"][0]["certificate"] is not None
    half = lab.invoke("cluster.logs", "--output", str(tmp_path / "half.tar.gz"))
    assert "not available: kubernetes: the API server does not answer" in half.stdout
    files = read(tmp_path / "half.tar.gz")
    assert files[f"nodes/{NODE}/console.txt"]
    assert "the API server does not answer" in files["missing.txt"]


def test_a_start_brings_the_same_pods_back_and_waits_until_they_are_ready(lab: Project) -> None:
    lab.invoke("cluster.start")
    all_back(lab)
    assert "nothing to do" in lab.invoke("cluster.start").stdout
    assert lab.invoke("app.open", "--once").stdout.strip() == (lab.root / PAGE).read_text().strip()
    assert "nothing to do" in lab.invoke("up", "--yes").stdout


def test_after_a_restart_by_hand_status_does_not_believe_what_was_before_and_up_repairs(lab: Project) -> None:
    before = set(pods(lab))
    process.run(["docker", "restart", NODE], timeout=120)
    assert lab.invoke("cluster.status", check=False).exit_code == 4
    lab.invoke("up", "--yes")
    all_back(lab)
    assert set(pods(lab)) == before, "no pod was made anew"
    lab.invoke("cluster.status")


def test_a_cluster_of_others_is_neither_stopped_nor_started_nor_deleted(lab: Project, by_hand: str) -> None:
    since = started_at(f"{BY_HAND}-control-plane")
    for argv in (("cluster.stop",), ("cluster.start",), ("cluster.delete", "--yes")):
        refused = lab.invoke(*argv, "--name", by_hand, check=False)
        assert (refused.exit_code, "was not made by threezone" in refused.stderr) == (4, True), refused.stderr
    # With one of ours beside it: all is looked at before anything is done.
    both = lab.invoke("cluster.delete", "--yes", "--name", NAME, "--name", by_hand, check=False)
    assert (both.exit_code, "was not made by threezone" in both.stderr) == (4, True)
    assert started_at(f"{BY_HAND}-control-plane") == since
    assert lab.invoke("cluster.inspect", "--name", by_hand).stdout.startswith(f"cluster {BY_HAND} (not made by")
    lab.invoke("cluster.status")
