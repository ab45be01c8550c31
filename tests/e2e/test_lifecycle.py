"""Stop, start, restart and inspect the lab, and collect its logs: pods stay the same, and no secret leaves it."""

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
    """All pods of the cluster by uid."""
    return {pod["metadata"]["uid"]: pod for pod in project.json("get", "pods", "--all-namespaces")["items"]}


def started_at(name: str = NODE) -> datetime:
    """The time at which the engine last started the node."""
    result = process.run(["docker", "inspect", "--format", "{{.State.StartedAt}}", name], timeout=30).stdout
    return datetime.strptime(result[:19], "%Y-%m-%dT%H:%M:%S").replace(tzinfo=UTC)


def all_back(project: Project) -> None:
    """Every pod is Ready, and its containers started after the node: the report is not an old one."""
    since = started_at()
    for pod in pods(project).values():
        name = pod["metadata"]["name"]
        conditions = {each["type"]: each["status"] for each in pod["status"]["conditions"]}
        assert conditions["Ready"] == "True" or pod["status"]["phase"] == "Succeeded", name
        for container in pod["status"]["containerStatuses"]:
            began = container["state"]["running"]["startedAt"]
            assert datetime.strptime(began, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC) >= since, name


def secrets(project: Project) -> dict[str, str]:
    """All secrets of the lab: the administrator's key, every Secret, the bootstrap token, the Git server's password."""
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
    """The content of the files in an archive of logs, by path without the top directory."""
    with tarfile.open(archive) as opened:
        entries = [(entry.name.partition("/")[2], opened.extractfile(entry)) for entry in opened.getmembers()]
        return {name: stream.read().decode(errors="replace") for name, stream in entries if stream}


def test_inspect_shows_the_parts_of_the_cluster(lab: Project) -> None:
    actual = json.loads(lab.invoke("cluster.inspect", "--json").stdout)
    (node,) = actual["nodes"]
    assert (actual["name"], actual["ours"], node["name"], node["state"]) == (NAME, True, NODE, "running")
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


def test_the_logs_are_one_private_archive_without_secrets(lab: Project, tmp_path: Path) -> None:
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


def test_a_stopped_cluster_is_reported_by_every_task(lab: Project, tmp_path: Path) -> None:
    lab.invoke("cluster.stop")
    assert "nothing to do" in lab.invoke("cluster.stop").stdout
    result = lab.invoke("cluster.status", check=False)
    assert (result.exit_code, f"not running: {NODE}" in result.stderr) == (4, True)
    assert json.loads(lab.invoke("cluster.inspect", "--json").stdout)["nodes"][0]["certificate"] is not None
    half = lab.invoke("cluster.logs", "--output", str(tmp_path / "half.tar.gz"))
    assert "not available: kubernetes: the API server does not answer" in half.stdout
    files = read(tmp_path / "half.tar.gz")
    assert files[f"nodes/{NODE}/console.txt"]
    assert "the API server does not answer" in files["missing.txt"]


def test_a_start_waits_until_the_same_pods_are_ready(lab: Project) -> None:
    lab.invoke("cluster.start")
    all_back(lab)
    assert "nothing to do" in lab.invoke("cluster.start").stdout
    assert lab.invoke("app.open", "--once").stdout.strip() == (lab.root / PAGE).read_text().strip()
    # Flux starts over too: until it has ended a first run, `up` waits for it.
    lab.invoke("flux.reconcile", "--object", "kustomization/lab")
    assert "nothing to do" in lab.invoke("up", "--yes").stdout


def test_a_restart_by_hand_is_noticed_and_repaired(lab: Project) -> None:
    before = set(pods(lab))
    process.run(["docker", "restart", NODE], timeout=120)
    assert lab.invoke("cluster.status", check=False).exit_code == 4
    lab.invoke("up", "--yes")
    all_back(lab)
    assert set(pods(lab)) == before, "no pod was replaced"
    lab.invoke("cluster.status")


def test_a_foreign_cluster_is_not_stopped_started_or_deleted(lab: Project, by_hand: str) -> None:
    since = started_at(f"{BY_HAND}-control-plane")
    for argv in (("cluster.stop",), ("cluster.start",), ("cluster.delete", "--yes")):
        refused = lab.invoke(*argv, "--name", by_hand, check=False)
        assert (refused.exit_code, "was not made by threezone" in refused.stderr) == (4, True), refused.stderr
    # Together with one of ours: all clusters are checked before one is deleted.
    both = lab.invoke("cluster.delete", "--yes", "--name", NAME, "--name", by_hand, check=False)
    assert (both.exit_code, "was not made by threezone" in both.stderr) == (4, True)
    assert started_at(f"{BY_HAND}-control-plane") == since
    assert lab.invoke("cluster.inspect", "--name", by_hand).stdout.startswith(f"cluster {BY_HAND} (not made by")
    lab.invoke("cluster.status")
