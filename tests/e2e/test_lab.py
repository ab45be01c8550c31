"""From an empty engine to a delivered commit. The tests use one lab and run in this order."""

from __future__ import annotations

import base64
import contextlib
import http.client
import json
import os
import queue
import signal
import time
from pathlib import Path
from typing import Any

import pytest
from tests.e2e.project import NAME, PORT, Project, without

from threezone.core import process

CONTEXT = f"kind-{NAME}"
PAGE = "local/gitops/apps/hello/index.html"

pytestmark = pytest.mark.timeout(5400)


def test_up_from_nothing_delivers_the_commit(before: dict[str, Any], lab: Project) -> None:  # noqa: ARG001
    nodes = lab.json("get", "nodes")["items"]
    assert [node["metadata"]["name"] for node in nodes] == [f"{NAME}-control-plane"]
    assert nodes[0]["status"]["nodeInfo"]["kubeletVersion"] == "v1.35.0"
    assert {c["type"]: c["status"] for c in nodes[0]["status"]["conditions"]}["Ready"] == "True"
    assert lab.invoke("app.open", "--once").stdout.strip() == (lab.root / PAGE).read_text().strip()


def test_every_pod_of_the_cluster_is_ready_dns_included(lab: Project) -> None:
    pods = lab.json("get", "pods", "--all-namespaces")["items"]
    unready = [
        pod["metadata"]["name"]
        for pod in pods
        if {c["type"]: c["status"] for c in pod["status"]["conditions"]}.get("Ready") != "True"
        and pod["status"]["phase"] != "Succeeded"
    ]
    assert unready == []
    assert any(pod["metadata"]["name"].startswith("coredns") for pod in pods)


def test_the_kubeconfig_has_the_proved_route_and_keeps_other_entries(before: dict[str, Any], lab: Project) -> None:
    view = lab.view()
    entry = next(c["cluster"] for c in view["clusters"] if c["name"] == CONTEXT)
    assert entry["server"] == f"https://127.0.0.1:{PORT}"
    assert "certificate-authority-data" in entry
    assert "insecure-skip-tls-verify" not in entry
    assert without(view, CONTEXT) == without(before["kubeconfig"], CONTEXT)
    assert lab.kubeconfig.stat().st_mode & 0o777 == 0o600


def test_up_again_has_nothing_to_do_and_changes_no_object(lab: Project) -> None:
    def written(item: dict[str, Any]) -> object:
        """What tells that somebody has written an object. Flux itself writes the status of its own objects."""
        metadata = item["metadata"]
        if item["kind"] in ("GitRepository", "Kustomization"):
            return metadata["generation"], metadata.get("annotations"), metadata.get("labels")
        return metadata["resourceVersion"]

    def versions() -> dict[str, object]:
        kinds = (
            "deployments,services,configmaps,secrets,persistentvolumeclaims,namespaces,gitrepositories,kustomizations"
        )
        listed = lab.json("get", kinds, "--all-namespaces")["items"]
        return {f"{o['kind']}/{o['metadata'].get('namespace')}/{o['metadata']['name']}": written(o) for o in listed}

    # Flux reports a healthy revision a few seconds late.
    lab.kubectl("--namespace", "flux-system", "wait", "kustomization/lab", "--for=condition=Ready", "--timeout=60s")
    kubeconfig = lab.kubeconfig.stat()
    before = versions()
    assert "nothing to do" in lab.invoke("up", "--yes").stdout
    assert versions() == before
    after = lab.kubeconfig.stat()
    assert (after.st_ino, after.st_mtime_ns) == (kubeconfig.st_ino, kubeconfig.st_mtime_ns)


def test_status_shows_the_whole_lab(lab: Project) -> None:
    status = json.loads(lab.invoke("status", "--json").stdout)
    assert set(status) == {"zone", "engine", "cluster", "kubeconfig", "flux", "gitops"}
    assert {"name", "kubernetes", "nodes", "ready"} <= set(status["cluster"])
    assert (status["cluster"]["name"], status["cluster"]["kubernetes"]) == (NAME, "v1.35.0")
    assert status["cluster"]["ready"] is True
    assert status["kubeconfig"]["context"] == CONTEXT
    assert status["kubeconfig"]["server"] == f"https://127.0.0.1:{PORT}"
    assert status["flux"]["ready"] is True
    assert status["flux"]["version"] == "v2.7.3"
    head = lab.run("git", "rev-parse", "HEAD").stdout.strip()
    assert status["gitops"]["revision"] == f"main@sha1:{head}"
    assert status["gitops"]["ready"] is True
    assert "yes" in lab.invoke("status").stdout
    assert NAME in lab.invoke("cluster.list").stdout
    assert lab.invoke("cluster.status").exit_code == 0
    assert lab.invoke("flux.status").exit_code == 0


def test_an_edited_text_is_delivered_by_commit_and_push(lab: Project) -> None:
    lab.write(PAGE, "A new text, by commit alone.\n")  # $EDITOR
    lab.run("git", "commit", "--all", "--message", "A new text")
    sha = lab.run("git", "rev-parse", "HEAD").stdout.strip()
    assert f"main@sha1:{sha}" in lab.invoke("gitops.push").stdout
    assert lab.invoke("app.open", "--once").stdout.strip() == "A new text, by commit alone."


def test_uncommitted_changes_are_named_and_not_delivered(lab: Project) -> None:
    lab.write(PAGE, "Only in the working tree.\n")
    done = lab.invoke("gitops.push")
    assert PAGE in done.stderr
    assert "not committed" in done.stderr
    assert lab.invoke("app.open", "--once").stdout.strip() == "A new text, by commit alone."
    lab.run("git", "checkout", "--", PAGE)


def test_a_commit_alone_creates_and_destroys(lab: Project) -> None:
    kustomization = "local/gitops/clusters/local/kustomization.yaml"
    before = (lab.root / kustomization).read_text()
    lab.write(
        "local/gitops/clusters/local/extra.yaml",
        "apiVersion: v1\nkind: Namespace\nmetadata:\n  name: by-commit\n",
    )
    lab.write(kustomization, before + "  - extra.yaml\n")
    lab.commit("A namespace more")
    lab.invoke("gitops.push")
    assert lab.json("get", "namespace", "by-commit")["metadata"]["name"] == "by-commit"
    (lab.root / "local/gitops/clusters/local/extra.yaml").unlink()
    lab.write(kustomization, before)
    lab.commit("A namespace less")
    lab.invoke("gitops.push")
    lab.kubectl("wait", "--for=delete", "namespace/by-commit", "--timeout=60s")
    assert "NotFound" in lab.kubectl("get", "namespace", "by-commit", check=False).stderr


def test_a_broken_commit_is_reported_and_a_later_one_repairs(lab: Project) -> None:
    deployment = "local/gitops/apps/hello/deployment.yaml"
    good = (lab.root / deployment).read_text()
    lab.write(deployment, good.replace("replicas:", "replicas:").replace("containerPort: 8080", "containerPort: many"))
    lab.commit("A port that is no number")
    began = time.monotonic()
    failed = lab.invoke("gitops.push", "--no-check", check=False)
    assert failed.exit_code == 6
    assert "could not apply main@sha1:" in failed.stderr
    assert "many" in failed.stderr or "containerPort" in failed.stderr
    assert time.monotonic() - began < 120, "reported as soon as Flux says so, not at the deadline"
    assert lab.invoke("app.open", "--once").stdout.strip() == "A new text, by commit alone."
    lab.write(deployment, good)
    lab.commit("A number again")
    lab.invoke("gitops.push")
    assert lab.invoke("flux.status").exit_code == 0


def test_a_rewritten_history_is_refused_unless_forced(lab: Project) -> None:
    lab.run("git", "commit", "--quiet", "--amend", "--message", "A number again, said otherwise")
    refused = lab.invoke("gitops.push", check=False)
    assert refused.exit_code == 6
    assert "gitops.push --force" in refused.stderr
    lab.invoke("gitops.push", "--force")


def test_the_password_is_not_printed_and_its_file_is_private(lab: Project) -> None:
    file = lab.state / "clusters" / NAME / "git-password"
    assert file.stat().st_mode & 0o777 == 0o600
    lab.write(PAGE, "And once more.\n")
    lab.commit("Once more")
    done = lab.invoke("gitops.push")
    assert file.read_text() not in done.stdout + done.stderr


def test_a_push_without_the_password_is_refused(lab: Project) -> None:

    from threezone.clients.kubectl import forwarded

    os.environ["KUBECONFIG"] = str(lab.kubeconfig)
    with forwarded(Path(lab.tool("kubectl")), CONTEXT, "threezone", "service/git", 80) as forward:
        url = f"http://{forward.address}/lab.git"
        denied = lab.run(
            "git",
            "-c",
            "credential.helper=",
            "push",
            url,
            "HEAD:refs/heads/x",
            check=False,
            env={"GIT_TERMINAL_PROMPT": "0"},
        )
        assert denied.exit_code != 0
        assert "HEAD" in lab.run("git", "ls-remote", url).stdout, "reading needs no password"


def test_a_credential_plugin_works(lab: Project, tmp_path: Path) -> None:
    view = lab.view()
    user = next(entry["user"] for entry in view["users"] if entry["name"] == CONTEXT)
    status = {
        f"{kind}Data": base64.b64decode(user[f"{name}-data"]).decode()
        for kind, name in (("clientCertificate", "client-certificate"), ("clientKey", "client-key"))
    }
    answer = tmp_path / "answer.json"
    version = "client.authentication.k8s.io/v1"
    answer.write_text(json.dumps({"apiVersion": version, "kind": "ExecCredential", "status": status}))
    plugin = {"apiVersion": version, "command": "cat", "args": [str(answer)], "interactiveMode": "Never"}
    view["users"] = [{"name": CONTEXT, "user": {"exec": plugin}}]
    file = tmp_path / "config"
    file.write_text(json.dumps(view))
    actual = json.loads(lab.invoke("status", "--json", env={"KUBECONFIG": str(file)}).stdout)
    assert actual["cluster"]["ready"] is True
    assert actual["flux"]["ready"] is True


def page(address: str) -> str:
    """The page at `http://host:port/`."""
    connection = http.client.HTTPConnection(address.removeprefix("http://").rstrip("/"), timeout=10)
    try:
        connection.request("GET", "/")
        return connection.getresponse().read().decode()
    finally:
        connection.close()


def test_the_app_stays_open_through_a_rollout_until_it_is_interrupted(lab: Project) -> None:
    lines: queue.Queue[str] = queue.Queue()

    def next_address() -> str:
        while "http://" not in (line := lines.get(timeout=60)):
            continue
        return line.split()[0]

    with process.Running(
        [lab.root / "run", "invoke", "app.open"], cwd=lab.root, env=lab.env, on_line=lines.put
    ) as task:
        address = next_address()
        assert address.startswith("http://127.0.0.1:")
        text = (lab.root / PAGE).read_text()
        assert page(address) == text
        lab.kubectl("--namespace", "hello", "delete", "pods", "--all")
        lab.kubectl("--namespace", "hello", "rollout", "status", "deployment/hello", "--timeout=60s")
        with contextlib.suppress(OSError):  # the forward notices that its pod is gone when it is used
            page(address)
        assert next_address() == address
        assert page(address) == text
        os.kill(task.pid, signal.SIGINT)
        assert task.wait(600).exit_code == 130
    with pytest.raises(OSError, match="refused"):
        page(address)
