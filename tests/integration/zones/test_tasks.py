"""zones.show and zones.probe as a person starts them, without an engine: as in a job's container.

Every probe names its address: where these tests run in a container, the others would lead out of it.
"""

import json
import sys
from pathlib import Path

import pytest
from tests.integration.zones.conftest import Pki, Serve

from threezone.core.process import Completed, run

ROOT = Path(__file__).parents[3]


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The user's kubeconfig, which is not there yet."""
    path = tmp_path / "config"
    monkeypatch.setenv("KUBECONFIG", str(path))
    return path


def invoke(*arguments: str) -> Completed:
    """Run a task where no program is to be found: no docker client, so no engine."""
    command = [sys.executable, "-m", "invoke", *arguments]
    env = {"PATH": "/nowhere", "DOCKER_HOST": None, "HTTPS_PROXY": None, "https_proxy": None}
    return run(command, cwd=ROOT, env=env, timeout=60, check=False)


def test_the_zones_are_drawn_where_neither_engine_nor_entry_is(config: Path) -> None:
    done = invoke("zones.show", "--name", "kind")
    assert done.exit_code == 0
    assert "zone 1: you are here" in done.stdout
    assert "no engine (missing) at" in done.stdout
    assert "not known without an engine" in done.stdout
    assert "your kubeconfig has no entry kind-kind" in done.stdout
    assert "\nevidence:\n  - " in done.stdout
    assert not config.exists()


def test_as_json_the_zone_is_told_with_the_facts(config: Path, pki: Pki) -> None:
    config.write_text(pki.kubeconfig("https://localhost:6443"))
    data = json.loads(invoke("zones.show", "--name", "kind", "--json").stdout)
    assert data["kind"] in ("host", "container")
    assert data["evidence"]
    assert data["facts"]["engine"]["state"] == "missing"
    assert data["facts"]["kubeconfig"]["entry"]["server"] == "https://localhost:6443"
    assert "PRIVATE KEY" not in json.dumps(data)


def test_without_an_engine_the_own_entry_says_whom_to_trust(config: Path, pki: Pki, serve: Serve) -> None:
    server = f"https://localhost:{serve()}"
    config.write_text(pki.kubeconfig("https://127.0.0.1:1"))
    before = config.stat()
    done = invoke("zones.probe", "--name", "kind", "--server", server, "--json")
    assert done.exit_code == 0
    data = json.loads(done.stdout)
    assert data["chosen"] == {"server": server, "tlsServerName": None}
    assert list(data["routes"][0]["stages"]) == ["dns", "tcp", "tls", "readyz", "auth"]
    after = config.stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


@pytest.mark.parametrize(
    ("host", "words"),
    [
        ("nowhere.invalid", '"curl: (6) Could not resolve host: nowhere.invalid"'),
        ("127.0.0.1", '" was refused - did you specify the right host or port?"'),
    ],
)
def test_without_a_way_the_failure_is_explained_and_the_exit_code_says_so(
    config: Path, pki: Pki, closed: int, host: str, words: str
) -> None:
    config.write_text(pki.kubeconfig("https://127.0.0.1:1"))
    done = invoke("zones.probe", "--name", "kind", "--server", f"https://{host}:{closed}")
    assert done.exit_code == 5
    assert words.removeprefix('" ') in done.stdout
    assert "error: no route to the cluster kind is proved from this " in done.stderr
    assert "| no container engine is installed here" in done.stderr
    assert "fix: " in done.stderr


def test_an_address_given_by_hand_is_tried_alone(config: Path, pki: Pki, serve: Serve, closed: int) -> None:
    config.write_text(pki.kubeconfig(f"https://127.0.0.1:{serve()}"))  # which would be proved
    done = invoke("zones.probe", "--name", "kind", "--server", f"https://127.0.0.1:{closed}", "--json")
    assert done.exit_code == 5
    assert {route["server"] for route in json.loads(done.stdout)["routes"]} == {f"https://127.0.0.1:{closed}"}
    named = invoke("zones.probe", "--name", "kind", "--server", f"https://127.0.0.1:{closed}", "--tls-server-name", "x")
    assert "TLS name" in named.stdout
    assert invoke("zones.probe", "--server", "http://127.0.0.1:1").exit_code == 2


def test_a_ca_beside_no_verification_is_refused_as_by_kubectl(config: Path, pki: Pki, serve: Serve) -> None:
    server = f"https://127.0.0.1:{serve()}"
    config.write_text(pki.kubeconfig(server).replace("server:", "insecure-skip-tls-verify: true, server:"))
    done = invoke("zones.probe", "--name", "kind", "--server", server)
    assert done.exit_code == 2
    assert "insecure-skip-tls-verify" in done.stderr


def test_where_nothing_knows_the_cluster_it_says_what_would_help(config: Path) -> None:
    done = invoke("zones.probe", "--name", "kind")
    assert done.exit_code == 4
    assert "the cluster kind is unknown here" in done.stderr
    assert "kubeconfig.export" in done.stderr
    assert not config.exists()


def test_when_a_container_starts_a_broken_way_is_no_cluster_that_is_merely_down(
    config: Path, pki: Pki, closed: int
) -> None:
    config.write_text(pki.kubeconfig(f"https://127.0.0.1:{closed}"))
    server = f"https://127.0.0.1:{closed}"
    assert invoke("kubeconfig.connect", "--name", "kind", "--if-running", "--server", server).exit_code == 5
    config.unlink()
    assert invoke("kubeconfig.connect", "--name", "kind", "--if-running").exit_code == 4
