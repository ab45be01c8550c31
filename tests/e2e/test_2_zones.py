"""Zone 1 for real: a container on the default bridge, with the engine's socket, on the lab of the other tests."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.e2e.project import NAME, PORT, Project

from threezone import process
from threezone.images import base
from threezone.images.versions import images
from threezone.process import Completed
from threezone.tools import reach

pytestmark = pytest.mark.timeout(3600)

IMAGE = "threezone/e2e-zone1:1"
CONTAINER = "threezone-e2e-zone1"
CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")  # a company's own authority may be among them


@dataclass(frozen=True)
class Zone1:
    """A running container that stands for a devcontainer."""

    project: Project

    def run(self, *argv: str, check: bool = True) -> Completed:
        done = process.run(["docker", "exec", CONTAINER, *argv], timeout=900, check=False)
        if check and done.exit_code != 0:
            pytest.fail(f"{argv} ended with {done.exit_code}\n{done.stdout}\n{done.stderr}")
        return done

    def invoke(self, *argv: str, check: bool = True) -> Completed:
        return self.run("./run", "invoke", *argv, check=check)

    def networks(self) -> set[str]:
        seen = json.loads(process.run(["docker", "inspect", CONTAINER], timeout=30).stdout)[0]
        return set(seen["NetworkSettings"]["Networks"])


def start(project: Project) -> None:
    process.run(["docker", "rm", "--force", CONTAINER], timeout=60, check=False)
    bin_dir = project.invoke("tools.list", "--path").stdout.strip()
    cache = Path(os.environ.get("THREEZONE_CACHE") or Path.home() / ".cache/threezone")
    trust = ["PIP_CERT", "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE"]
    process.run(
        ["docker", "run", "--detach", "--init", "--name", CONTAINER, "--workdir", project.root,
         "--volume", "/var/run/docker.sock:/var/run/docker.sock",
         "--volume", f"{project.root}:{project.root}",
         "--volume", f"{cache}:{cache}:ro",  # the programs, which stand on PATH in there
         "--volume", "threezone-e2e-zone1:/root", "--env", "THREEZONE_CACHE=/root/threezone",
         "--volume", f"{CERTIFICATES}:{CERTIFICATES}:ro", *(f"--env={name}={CERTIFICATES}" for name in trust),
         "--env", f"PATH={bin_dir}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
         IMAGE, "sleep", "infinity"],
        timeout=120,
    )  # fmt: skip


@pytest.fixture(scope="module")
def zone1(lab: Project) -> Iterator[Zone1]:
    under = base.ensure() if reach.resolve_channel("auto") == "source" else images().base.release
    recipe = Path(__file__).with_name("zone1")
    process.run(["docker", "build", "--tag", IMAGE, "--build-arg", f"BASE={under}", recipe], timeout=900)
    start(lab)
    zone = Zone1(lab)
    zone.run("git", "config", "--global", "--add", "safe.directory", str(lab.root))
    yield zone
    process.run(["docker", "rm", "--force", CONTAINER], timeout=60)
    process.run(["docker", "volume", "rm", "threezone-e2e-zone1"], timeout=60)


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
