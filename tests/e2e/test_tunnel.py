"""(h) An engine on another machine: DOCKER_HOST=ssh://, to an sshd of the tests' own; and a tunnel through the engine.

The engine's machine is a container in the host's network: its 127.0.0.1 is where kind publishes, and its sshd listens
at the bridge gateway only. The client stands for a container of another engine: what would name it to this one (the
sources of three mounts, the cgroup's path, the hostname) is hidden, so it cannot be joined to kind's network.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import pytest
from tests.e2e.places import IMAGE, SOCKET, Place, build_image, holds, place
from tests.e2e.project import NAME, PORT, Project

from threezone.core import process

pytestmark = pytest.mark.timeout(1800)

CONTEXT = f"kind-{NAME}"
SSH_IMAGE = "threezone/e2e-ssh:1"
SSH_RECIPE = Path(__file__).with_name("containers") / "ssh"
SSH_PORT = 22022
NO_FORWARDING_PORT = 22023
KEY = "/root/.ssh/id_ed25519"


@cache
def bridge_gateway() -> str:
    """The host's address on the default bridge; the engine's own network description may lack it (Docker 20.10)."""
    asked = ["docker", "run", "--rm", "--add-host=gateway:host-gateway", IMAGE, "getent", "hosts", "gateway"]
    return process.run(asked, timeout=60).stdout.split()[0]


@contextmanager
def container(name: str, *argv: str) -> Iterator[str]:
    """`docker run` for as long as the block runs."""
    process.run(["docker", "rm", "--force", name], timeout=60, check=False)
    process.run(["docker", "run", "--detach", "--init", "--name", name, *argv], timeout=60)
    try:
        yield name
    finally:
        process.run(["docker", "rm", "--force", name], timeout=60, check=False)


@contextmanager
def sshd(port: int, *options: str) -> Iterator[str]:
    """The engine's machine; the answer is the container's name."""
    with container(
        f"threezone-e2e-sshd-{port}", "--network", "host", "--volume", f"{SOCKET}:{SOCKET}", SSH_IMAGE,
        "/usr/sbin/sshd", "-D", "-e", f"-oListenAddress={bridge_gateway()}", f"-oPort={port}",
        "-oPasswordAuthentication=no", *options,
    ) as name:  # fmt: skip
        yield name


@pytest.fixture(scope="module")
def images(places: None) -> None:  # noqa: ARG001  the client's image is there
    """The image of the engine's machine."""
    build_image(SSH_IMAGE, SSH_RECIPE)


@pytest.fixture
def hidden(tmp_path: Path, images: None) -> tuple[str, ...]:  # noqa: ARG001  they are there
    """Options of docker that take from a container what names it to its engine."""
    resolver = process.run(["docker", "run", "--rm", IMAGE, "cat", "/etc/resolv.conf"], timeout=60).stdout
    files = {"hostname": "laptop\n", "hosts": "127.0.0.1 localhost laptop\n", "resolv.conf": resolver}
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    mounts = [f"--volume={tmp_path / name}:/etc/{name}" for name in files]
    return ("--hostname=laptop", "--cgroupns=private", *mounts)


@contextmanager
def client(lab: Project, *options: str, socket: bool = False) -> Iterator[Place]:
    """A place with a kubeconfig and an ssh directory without anything of an earlier test."""
    with place(lab, "client", *options, socket=socket) as stand:
        stand.run("rm", "-rf", "/root/.ssh", "/root/client")
        yield stand


def introduce(stand: Place, machine: str, port: int) -> None:
    """Give the client's key to the machine, and the machine's key to the client: by hand, as a user has to."""
    if stand.run("test", "-f", KEY, check=False).exit_code != 0:
        stand.run("install", "-d", "-m", "700", "/root/.ssh")
        stand.run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", KEY)
    given = process.run(["docker", "exec", machine, "cat", "/etc/ssh/ssh_host_ed25519_key.pub"], timeout=30).stdout
    known = f"[{bridge_gateway()}]:{port} {given}"
    stand.run("dd", "of=/root/.ssh/known_hosts", "oflag=append", "conv=notrunc", stdin=known)
    public = stand.run("cat", f"{KEY}.pub").stdout
    process.run(
        ["docker", "exec", "--interactive", machine, "dd", "of=/root/.ssh/authorized_keys"], stdin=public, timeout=30
    )


def processes(container: str, name: str) -> list[int]:
    """The ids, on the host, of a container's processes of this name."""
    seen = process.run(["docker", "top", container, "-eo", "pid,comm"], timeout=30).stdout
    return [int(line.split()[0]) for line in seen.splitlines()[1:] if line.split()[1] == name]


def engine(port: int) -> str:
    return f"--env=DOCKER_HOST=ssh://root@{bridge_gateway()}:{port}"


def test_an_engine_behind_ssh_is_reached_by_ssh_s_own_forwarding(lab: Project, hidden: tuple[str, ...]) -> None:
    with sshd(SSH_PORT) as machine, client(lab, engine(SSH_PORT), *hidden) as stand:
        introduce(stand, machine, SSH_PORT)
        stand.invoke("kubeconfig.connect")
        assert stand.entry(CONTEXT)["server"] == f"https://127.0.0.1:{PORT}"
        assert stand.entry(CONTEXT)["tls-server-name"] == "localhost"
        holds(stand, CONTEXT)
        stand.invoke("kubeconfig.check")
        stand.invoke("up")
        followed = stand.kubectl("logs", "--namespace=kube-system", "--tail=1", "--selector=k8s-app=kube-dns",
                                 context=CONTEXT)  # fmt: skip
        assert followed.exit_code == 0
        (tunnel,) = processes(stand.container, "ssh")
        os.kill(tunnel, signal.SIGKILL)  # as a network that went away does
        assert stand.kubectl("get", "nodes", context=CONTEXT, check=False).exit_code != 0
        stand.invoke("kubeconfig.connect")
        holds(stand, CONTEXT)
        stand.invoke("kubeconfig.remove")
        assert processes(stand.container, "ssh") == [], "no tunnel is left"


def test_ssh_that_does_not_let_us_through_is_explained(lab: Project, hidden: tuple[str, ...]) -> None:
    with sshd(SSH_PORT) as machine, client(lab, engine(SSH_PORT), *hidden) as stand:
        unknown = stand.invoke("kubeconfig.connect", check=False)
        assert unknown.exit_code == 3
        assert "Host key verification failed" in unknown.stderr
        introduce(stand, machine, SSH_PORT)
        process.run(["docker", "exec", machine, "rm", "/root/.ssh/authorized_keys"], timeout=30)
        denied = stand.invoke("kubeconfig.connect", check=False)
        assert denied.exit_code == 3
        assert "Permission denied (publickey)" in denied.stderr


def test_an_sshd_that_forwards_nothing_is_told_how_to(lab: Project, hidden: tuple[str, ...]) -> None:
    with (
        sshd(NO_FORWARDING_PORT, "-oAllowTcpForwarding=no") as machine,
        client(lab, engine(NO_FORWARDING_PORT), *hidden) as stand,
    ):
        introduce(stand, machine, NO_FORWARDING_PORT)
        refused = stand.invoke("kubeconfig.connect", check=False)
        assert refused.exit_code == 5
        assert "administratively prohibited" in refused.stderr


def test_where_a_container_cannot_be_joined_the_engine_itself_carries(lab: Project, hidden: tuple[str, ...]) -> None:
    with client(lab, *hidden, socket=True) as stand:
        stand.invoke("kubeconfig.connect")
        assert stand.entry(CONTEXT)["server"] == f"https://127.0.0.1:{PORT}"
        sockets = [line.split() for line in stand.run("cat", "/proc/net/tcp").stdout.splitlines()]
        listening = [fields[1] for fields in sockets if fields[3] == "0A" and fields[1].endswith(f":{PORT:04X}")]
        assert listening == [f"0100007F:{PORT:04X}"]  # 127.0.0.1
        holds(stand, CONTEXT)
        script = "for i in $(seq 10); do kubectl get nodes -o name & done; wait"
        many = stand.run("bash", "-c", script)
        assert many.stdout.split() == [f"node/{NAME}-control-plane"] * 10, many.stderr
        watched = stand.run("timeout", "5", "kubectl", "get", "nodes", "--watch", "-o", "name", check=False)
        assert watched.stdout.startswith("node/")
        stand.invoke("kubeconfig.remove")
        assert processes(stand.container, "docker") == []
        assert processes(f"{NAME}-control-plane", "perl") == []
