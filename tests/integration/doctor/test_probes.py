"""The probes on real files, real servers and real programs, up to the diagnosis. There is no engine and no cluster."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import threading
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest
from tests.integration.zones.conftest import CERTIFICATES, Pki

from threezone.cluster.lab import Lab
from threezone.core import process
from threezone.core.settings import Settings
from threezone.doctor.diagnose import Diagnosis, diagnose
from threezone.doctor.facts import Facts, Subject
from threezone.doctor.probes import cluster, engine, here, kubeconfig

CONTEXT = "kind-kind"
SUBJECT = Subject("kind", CONTEXT)
ROOT = Path(__file__).parents[3]


def found(diagnosis: Diagnosis) -> set[str]:
    return {each.row.id for root in (*diagnosis.causes, *diagnosis.risks) for each in root.walk()}


def of_files() -> set[str]:
    """The rows that apply to the kubeconfig files and to the route in the entry."""
    parts = {"kubeconfig": kubeconfig.observe(CONTEXT), "route": kubeconfig.prove_entry(CONTEXT)}
    return found(diagnose(Facts(SUBJECT, datetime.now(UTC), **parts))) - {"flux-unknown"}  # type: ignore[arg-type]


def of_engine() -> set[str]:
    """The rows that apply to the engine and its client."""
    return found(diagnose(Facts(SUBJECT, datetime.now(UTC), dict(os.environ), engine=engine.observe())))


@pytest.fixture
def pki() -> Pki:
    return Pki(CERTIFICATES / "kind")


@pytest.fixture
def config(pki: Pki) -> Path:
    """A kubeconfig as kind writes it, whose address nobody listens on."""
    file = Path(os.environ["KUBECONFIG"])
    file.parent.mkdir(mode=0o700)
    file.touch(mode=0o600)
    file.write_text(pki.kubeconfig("https://127.0.0.1:9"))
    return file


def test_nobody_listens_at_the_address(config: Path) -> None:
    assert config.exists()
    assert of_files() == {"api-refused"}


def test_another_program_listens_there(config: Path, pki: Pki) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer() -> None:
            with contextlib.suppress(OSError):
                while True:
                    client, _ = server.accept()
                    client.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
                    client.close()

        threading.Thread(target=answer, daemon=True).start()
        config.write_text(pki.kubeconfig(f"https://127.0.0.1:{server.getsockname()[1]}"))
        assert of_files() == {"not-an-api-server"}


def test_a_file_that_kubectl_cannot_read(config: Path) -> None:
    config.write_text("clusters: [}")
    assert of_files() == {"kubeconfig-broken"}


def test_a_lock_that_a_killed_program_left(config: Path) -> None:
    lock = config.with_name("config.lock")
    lock.touch(mode=0)
    assert "kubeconfig-lock" not in of_files(), "a new lock is somebody's who works"
    os.utime(lock, (time.time() - 600,) * 2)
    assert "kubeconfig-lock" in of_files()


def test_a_file_that_others_may_read(config: Path) -> None:
    config.chmod(0o644)
    assert "kubeconfig-exposed" in of_files()


def test_a_context_without_its_user_and_a_current_context_that_is_gone(config: Path) -> None:
    text = config.read_text()
    config.write_text(text.replace("user: kind-kind}", "user: nobody}"))
    assert "kubeconfig-dangling" in of_files()
    config.write_text(text)
    assert "kubeconfig-dangling" not in of_files()
    config.write_text(text.replace("current-context: kind-kind", "current-context: gone"))
    assert "kubeconfig-dangling" in of_files()


def test_two_files_that_disagree(config: Path, pki: Pki, monkeypatch: pytest.MonkeyPatch) -> None:
    second = config.with_name("second")
    second.write_text(config.read_text())
    second.chmod(0o600)
    monkeypatch.setenv("KUBECONFIG", f"{config}{os.pathsep}{second}")
    assert "kubeconfig-disagree" not in of_files(), "equal entries disagree about nothing"
    second.write_text(pki.kubeconfig("https://127.0.0.1:10"))
    assert "kubeconfig-disagree" in of_files()


def test_no_secret_is_in_the_facts(config: Path, pki: Pki) -> None:
    facts = repr((kubeconfig.observe(CONTEXT), kubeconfig.prove_entry(CONTEXT)))
    assert str(config) in facts
    assert pki.data("client.key")[:40] not in facts
    assert pki.data("client.crt")[:40] not in facts


# What docker really printed, by a program of that name: an engine in such a state cannot be had everywhere.
SOCKET = "unix:///var/run/docker.sock"
SAID = {
    "engine-stopped": f"Cannot connect to the Docker daemon at {SOCKET}. Is the docker daemon running?",
    "engine-forbidden": f"permission denied while trying to connect to the Docker daemon socket at {SOCKET}",
    "docker-client-too-old": "client version 1.22 is too old. Minimum supported API version is 1.44, please upgrade",
    "engine-too-old": "client version 1.52 is too new. Maximum supported API version is 1.41",
    "docker-is-podman": "Emulate Docker CLI using podman. Create /etc/containers/nodocker to quiet msg.",
    "docker-context": 'unable to resolve docker endpoint: context "colima": context not found: open /meta.json',
    "docker-certificates": "unable to resolve docker endpoint: open /certs/client/ca.pem: no such file or directory",
}


@pytest.fixture
def docker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A program docker, first on PATH, that fails with what is written to the file beside it."""
    program = tmp_path / "bin" / "docker"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\ncat "{tmp_path}/said" >&2\nexit 1\n')
    program.chmod(0o755)
    daemon = program.with_name("dockerd")  # installed, and not running
    shutil.copy(program, daemon)
    monkeypatch.setenv("PATH", f"{program.parent}{os.pathsep}{os.environ['PATH']}")
    for name in ("DOCKER_HOST", "DOCKER_CONTEXT"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path / "said"


@pytest.mark.parametrize("id_", SAID)
def test_the_engine_is_diagnosed_by_what_docker_says(id_: str, docker: Path) -> None:
    docker.write_text(SAID[id_])
    assert of_engine() - {"flux-unknown", "cluster-unknown"} == {id_}


def test_without_a_docker_program_the_engine_is_missing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert "engine-missing" in of_engine()


@pytest.fixture
def machine(tmp_path: Path) -> Path:
    """Files of /proc and /sys as a machine without any trouble has them."""
    for name, text in {
        "proc/sys/fs/inotify/max_user_instances": "512\n",
        "proc/sys/fs/inotify/max_user_watches": "524288\n",
        "proc/meminfo": "MemTotal: 8000000 kB\nMemAvailable:    4000000 kB\n",
        "proc/loadavg": "0.1 0.1 0.1 1/900 7\n",
        "proc/sys/kernel/threads-max": "60000\n",
        "proc/sys/kernel/pid_max": "32768\n",
        "proc/sys/kernel/osrelease": "6.1.0-18-amd64\n",
        "proc/sys/net/netfilter/nf_conntrack_count": "100\n",
        "proc/sys/net/netfilter/nf_conntrack_max": "65536\n",
        "proc/sys/net/ipv6/conf/all/disable_ipv6": "0\n",
        "sys/fs/cgroup/cgroup.controllers": "cpu\n",
    }.items():
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    return tmp_path


LIMITS = {
    "inotify-limits": ("proc/sys/fs/inotify/max_user_instances", "4\n"),
    "inotify-watches": ("proc/sys/fs/inotify/max_user_watches", "8192\n"),
    "memory-low": ("proc/meminfo", "MemAvailable:  100000 kB\n"),
    "pids-limit": ("proc/loadavg", "0.1 0.1 0.1 1/32700 7\n"),
    "conntrack-full": ("proc/sys/net/netfilter/nf_conntrack_count", "65530\n"),
}


def of_machine(machine: Path) -> set[str]:
    host = engine.host(machine / "proc", machine / "sys")
    return found(diagnose(Facts(SUBJECT, datetime.now(UTC), host=host))) - {"disk-full"}


@pytest.mark.parametrize("id_", LIMITS)
def test_a_limit_of_the_machine_is_read_from_its_files(id_: str, machine: Path) -> None:
    assert of_machine(machine) == set()
    name, text = LIMITS[id_]
    (machine / name).write_text(text)
    assert of_machine(machine) == {id_}


def test_wsl_with_both_versions_of_cgroups(machine: Path) -> None:
    (machine / "proc/sys/kernel/osrelease").write_text("5.15.0-microsoft-standard-WSL2\n")
    assert of_machine(machine) == set()
    (machine / "sys/fs/cgroup/cgroup.controllers").unlink()
    (machine / "sys/fs/cgroup/unified").mkdir()
    assert of_machine(machine) == {"wsl-cgroups"}


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    """A project with one commit."""
    root = tmp_path / "lab"
    shutil.copytree(ROOT / "local", root / "local")
    for argv in (
        ("init", "--quiet"),
        ("add", "--all"),
        ("-c", "user.name=a", "-c", "user.email=a@example.invalid", "commit", "--quiet", "--message", "one"),
    ):
        process.run(["git", "-C", root, *argv], timeout=60)
    return Lab(root, Settings(), "kind")


def of_project(lab: Lab) -> set[str]:
    facts = Facts(Subject("kind", CONTEXT, root=str(lab.root)), datetime.now(UTC), here=here.observe(lab))
    return found(diagnose(facts))


def test_a_lock_of_a_killed_git(lab: Lab) -> None:
    assert of_project(lab) == set()
    lock = lab.root / ".git/index.lock"
    lock.touch()
    os.utime(lock, (time.time() - 600,) * 2)
    assert of_project(lab) == {"git-index-lock"}


def test_a_repository_of_another_user(lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real, stand_in = shutil.which("git"), tmp_path / "bin" / "git"
    stand_in.parent.mkdir()
    stand_in.write_text(f'#!/bin/sh\nexport GIT_TEST_ASSUME_DIFFERENT_OWNER=1\nexec {real} "$@"\n')
    stand_in.chmod(0o755)
    monkeypatch.setenv("PATH", f"{stand_in.parent}{os.pathsep}{os.environ['PATH']}")
    assert of_project(lab) == {"git-ownership"}


def test_the_holder_of_the_port_is_named(lab: Lab) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        file = lab.root / "local/kubernetes/kind.yaml"
        file.write_text(file.read_text().replace("apiServerPort: 6443", f"apiServerPort: {port}"))
        declared = cluster.declared(lab)
    assert declared.api_port == port
    assert declared.holder.startswith(f"process {os.getpid()} (")
