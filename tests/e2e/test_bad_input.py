"""Bad input gets one clear sentence and a non-zero exit code, with real programs on the real engine."""

from __future__ import annotations

import json
import os
import shutil
import socket
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from tests.e2e.project import BY_HAND, PORT, Project

from threezone.core import process

pytestmark = pytest.mark.timeout(3600)

KIND = "local/kubernetes/kind.yaml"


def refused(project: Project, *argv: str, exit_code: int, env: Mapping[str, str] | None = None) -> str:
    """The stderr of a task that must fail with this exit code and one sentence."""
    done = project.invoke(*argv, check=False, env=env)
    assert done.exit_code == exit_code, done.stderr
    sentences = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert len(sentences) == 1, done.stderr
    assert "Traceback" not in done.stderr
    return done.stderr


def test_an_unknown_cluster_name(project: Project) -> None:
    words = refused(project, "cluster.delete", "--name", "nobody", "--yes", exit_code=4)
    assert "no cluster named nobody" in words
    assert "there is no such cluster" in refused(project, "cluster.status", "--name", "nobody", exit_code=4)


def test_an_invalid_cluster_name(project: Project) -> None:
    assert "'No Name' is not a valid cluster name" in refused(project, "up", "--yes", "--name", "No Name", exit_code=2)


def test_somebody_elses_cluster_is_left_alone(project: Project, by_hand: str) -> None:
    assert "was not made by threezone" in refused(project, "up", "--yes", "--name", by_hand, exit_code=4)
    assert "was not made by threezone" in refused(project, "cluster.delete", "--yes", "--name", BY_HAND, exit_code=4)
    assert project.invoke("down", "--yes", "--name", by_hand).stdout.strip() == "nothing to do"
    project.kubectl("get", "--raw", "/readyz", context=f"kind-{by_hand}")


@pytest.fixture
def kind_file(project: Project) -> Iterator[Path]:
    file = project.root / KIND
    before = file.read_text()
    yield file
    file.write_text(before)


def test_a_broken_cluster_file_is_reported_with_file_and_line(project: Project, kind_file: Path) -> None:
    kind_file.write_text("kind: Cluster\napiVersion: kind.x-k8s.io/v1alpha4\nnodes:\n  - rolle: control-plane\n")
    words = refused(project, "up", "--yes", exit_code=2)
    assert f"{KIND}:4: unknown field nodes[0].rolle; did you mean role?" in words
    kind_file.write_text("kind: [Cluster\n")
    assert f"{KIND}:2: not valid YAML" in refused(project, "cluster.create", exit_code=2)


def test_a_wrong_setting_is_reported_with_key_and_file(project: Project) -> None:
    file = project.root / "invoke.yaml"
    before = file.read_text()
    try:
        file.write_text("threezone:\n  cluster:\n    ready_timeout: soon\n")
        words = refused(project, "status", exit_code=2)
        assert "threezone.cluster.ready_timeout: expected" in words
        assert "soon" in words
        assert "invoke.yaml" in words
    finally:
        file.write_text(before)


def test_a_port_in_use_is_reported_with_its_process(project: Project, kind_file: Path) -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        port = listener.getsockname()[1]
        kind_file.write_text(kind_file.read_text().replace(f"apiServerPort: {PORT}", f"apiServerPort: {port}"))
        words = refused(project, "cluster.create", "--name", "no-port", exit_code=2)
    assert f"port {port} on 127.0.0.1 is taken by process {os.getpid()}" in words


def test_a_port_in_use_by_a_container_is_reported_with_its_name(
    project: Project, kind_file: Path, by_hand: str
) -> None:
    node = json.loads(project.run("docker", "inspect", f"{by_hand}-control-plane").stdout)[0]
    port = node["NetworkSettings"]["Ports"]["6443/tcp"][0]["HostPort"]
    kind_file.write_text(kind_file.read_text().replace(f"apiServerPort: {PORT}", f"apiServerPort: {port}"))
    words = refused(project, "cluster.create", "--name", "no-port", exit_code=2)
    assert f"port {port} on 127.0.0.1 is taken by the container {by_hand}-control-plane" in words


@pytest.mark.parametrize(
    ("env", "words"),
    [
        ({"DOCKER_HOST": "unix:///nowhere/docker.sock"}, ("nothing serves the socket", "unset DOCKER_HOST")),
        ({"DOCKER_CONTEXT": "no-such-context"}, ("docker context", "does not exist", "docker context ls")),
        (
            {"DOCKER_HOST": "tcp://127.0.0.1:1", "DOCKER_TLS_VERIFY": "1", "DOCKER_CERT_PATH": "/nowhere"},
            ("certificates",),
        ),
        ({"DOCKER_HOST": "tcp://127.0.0.1:1"}, ("does not answer", "DOCKER_HOST")),
    ],
    ids=["no socket", "no context", "no certificates", "no answer"],
)
def test_an_engine_that_cannot_be_reached_is_named_and_none_is_installed(
    project: Project, env: dict[str, str], words: tuple[str, ...]
) -> None:
    said = refused(project, "cluster.list", exit_code=3, env=env)
    assert [each for each in words if each not in said] == []
    planned = project.invoke("up", "--dry-run", check=False, env=env)
    plan = planned.stdout + planned.stderr
    assert [each for each in ("apt-get", "start the engine", "daemon.json") if each in plan] == []


def test_a_nearly_full_disk_is_reported_before_a_build(project: Project, tmp_path: Path) -> None:
    small = tmp_path / "small"
    small.mkdir()
    process.run(["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", small], timeout=20)
    try:
        done = project.invoke("tools.install", "--channel", "source", check=False, env={"THREEZONE_CACHE": str(small)})
    finally:
        process.run(["umount", "--lazy", small], timeout=20)
        shutil.rmtree(small, ignore_errors=True)
    assert done.exit_code != 0
    assert "space" in done.stderr.lower() or "full" in done.stderr.lower()


@pytest.mark.parametrize(
    ("text", "words"),
    [("clusters: [\n", "line 2: not a kubeconfig"), ("- a list\n", "not a kubeconfig")],
    ids=["broken", "not a kubeconfig"],
)
def test_an_unreadable_kubeconfig_is_named(project: Project, tmp_path: Path, text: str, words: str) -> None:
    file = tmp_path / "config"
    file.write_text(text)
    output = refused(project, "status", exit_code=2, env={"KUBECONFIG": str(file)})
    assert str(file) in output
    assert words in output
    assert file.read_text() == text


def test_a_locked_kubeconfig_is_reported_and_the_lock_stays(lab: Project) -> None:
    lock = lab.kubeconfig.with_name("config.lock")
    before = lab.view()  # its text may be kubectl's, from another test
    lab.kubeconfig.write_text(
        lab.kubeconfig.read_text().replace(f"127.0.0.1:{PORT}", f"127.0.0.1:{PORT + 1}")
    )  # something to mend
    lock.touch()
    try:
        output = refused(lab, "kubeconfig.connect", exit_code=2)
        assert str(lock) in output
        assert lock.exists()
    finally:
        lock.unlink()
    lab.invoke("kubeconfig.connect")
    assert lab.view() == before
