"""Zone 1 for real: a container on the default bridge, with the engine's socket, on the lab of the other tests."""

from __future__ import annotations

import json

import pytest
from tests.e2e.project import NAME, PORT, Project
from tests.e2e.zone1 import CONTAINER, Zone1, start

from threezone import process

pytestmark = pytest.mark.timeout(3600)


def test_the_trap_is_real(lab: Project, zone1: Zone1) -> None:
    zone1.run("mkdir", "-p", "/root/.kube")
    process.run(["docker", "cp", lab.kubeconfig, f"{CONTAINER}:/root/.kube/config"], timeout=30)
    trapped = zone1.run("kubectl", "--context", f"kind-{NAME}", "get", "nodes", check=False)
    assert trapped.exit_code != 0
    assert f"127.0.0.1:{PORT} was refused" in trapped.stderr


def test_a_container_with_the_socket_is_joined_and_connected(zone1: Zone1) -> None:
    assert zone1.networks() == {"bridge"}
    zone1.invoke("kubeconfig.connect")
    assert zone1.networks() == {"bridge", "kind"}
    view = json.loads(zone1.run("kubectl", "config", "view", "-o", "json").stdout)
    entry = next(c["cluster"] for c in view["clusters"] if c["name"] == f"kind-{NAME}")
    assert entry["server"] == f"https://{NAME}-control-plane:6443"
    assert "insecure-skip-tls-verify" not in entry
    assert "Ready" in zone1.run("kubectl", "--context", f"kind-{NAME}", "get", "nodes").stdout


def test_the_same_tasks_work_there(zone1: Zone1) -> None:
    status = json.loads(zone1.invoke("status", "--json").stdout)
    assert status["zone"] == "container"
    assert status["cluster"]["ready"] is True
    assert zone1.invoke("app.open", "--once").stdout.strip()
    assert "nothing to do" in zone1.invoke("up").stdout


def test_tls_is_verified_there(zone1: Zone1) -> None:
    wrong = zone1.run(
        "kubectl", "--context", f"kind-{NAME}", "--tls-server-name", "somebody-else", "get", "nodes", check=False
    )
    assert "certificate is valid for" in wrong.stderr


def test_thrown_away_and_made_anew_it_reconnects(lab: Project, zone1: Zone1) -> None:
    start(lab)
    assert zone1.networks() == {"bridge"}
    zone1.invoke("kubeconfig.connect")
    assert "Ready" in zone1.run("kubectl", "--context", f"kind-{NAME}", "get", "nodes").stdout


def test_the_host_still_stands_where_it_stood(lab: Project, zone1: Zone1) -> None:  # noqa: ARG001
    assert json.loads(lab.invoke("status", "--json").stdout)["kubeconfig"]["server"] == f"https://127.0.0.1:{PORT}"
