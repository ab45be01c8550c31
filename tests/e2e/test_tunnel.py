"""An engine on another machine, by DOCKER_HOST=ssh://, and a tunnel through the engine.

The machine is a container in the host's network, where kind publishes on 127.0.0.1. Its sshd listens on the bridge's
gateway only. The client is a container that this engine cannot identify, like a container of another engine: the
sources of three mounts, the path of the cgroup and the hostname are hidden. So it cannot join kind's network.
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
    """Run a container while the block runs."""
    process.run(["docker", "rm", "--force", name], timeout=60, check=False)
    process.run(["docker", "run", "--detach", "--init", "--name", name, *argv], timeout=60)
    try:
        yield name
    finally:
        process.run(["docker", "rm", "--force", name], timeout=60, check=False)


@contextmanager
def sshd(port: int, *options: str) -> Iterator[str]:
    """Run the machine of the engine; gives the name of its container."""
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
    """Options of docker that hide the container's identity from the engine."""
    resolver = process.run(["docker", "run", "--rm", IMAGE, "cat", "/etc/resolv.conf"], timeout=60).stdout
    files = {"hostname": "laptop\n", "hosts": "127.0.0.1 localhost laptop\n", "resolv.conf": resolver}
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    mounts = [f"--volume={tmp_path / name}:/etc/{name}" for name in files]
    return ("--hostname=laptop", "--cgroupns=private", *mounts)


@contextmanager
def client(lab: Project, *options: str, socket: bool = False) -> Iterator[Place]:
    """A place without kubeconfig and ssh files of an earlier test."""
    with place(lab, "client", *options, socket=socket) as zone:
        zone.run("rm", "-rf", "/root/.ssh", "/root/client")
        yield zone


def introduce(zone: Place, machine: str, port: int) -> None:
    """Give the client's key to the machine, and the machine's key to the client, as a user does by hand."""
    if zone.run("test", "-f", KEY, check=False).exit_code != 0:
        zone.run("install", "-d", "-m", "700", "/root/.ssh")
        zone.run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", KEY)
    given = process.run(["docker", "exec", machine, "cat", "/etc/ssh/ssh_host_ed25519_key.pub"], timeout=30).stdout
    known = f"[{bridge_gateway()}]:{port} {given}"
    zone.run("dd", "of=/root/.ssh/known_hosts", "oflag=append", "conv=notrunc", stdin=known)
    public = zone.run("cat", f"{KEY}.pub").stdout
    process.run(
        ["docker", "exec", "--interactive", machine, "dd", "of=/root/.ssh/authorized_keys"], stdin=public, timeout=30
    )


def processes(container: str, name: str) -> list[int]:
    """The process ids on the host of the container's processes with this name."""
    actual = process.run(["docker", "top", container, "-eo", "pid,comm"], timeout=30).stdout
    return [int(line.split()[0]) for line in actual.splitlines()[1:] if line.split()[1] == name]


def engine(port: int) -> str:
    return f"--env=DOCKER_HOST=ssh://root@{bridge_gateway()}:{port}"


def test_an_ssh_engine_is_reached_by_ssh_port_forwarding(lab: Project, hidden: tuple[str, ...]) -> None:
    with sshd(SSH_PORT) as machine, client(lab, engine(SSH_PORT), *hidden) as zone:
        introduce(zone, machine, SSH_PORT)
        zone.invoke("kubeconfig.connect")
        assert zone.entry(CONTEXT)["server"] == f"https://127.0.0.1:{PORT}"
        assert zone.entry(CONTEXT)["tls-server-name"] == "localhost"
        holds(zone, CONTEXT)
        zone.invoke("kubeconfig.check")
        zone.invoke("up")
        followed = zone.kubectl("logs", "--namespace=kube-system", "--tail=1", "--selector=k8s-app=kube-dns",
                                 context=CONTEXT)  # fmt: skip
        assert followed.exit_code == 0
        (tunnel,) = processes(zone.container, "ssh")
        os.kill(tunnel, signal.SIGKILL)  # as a network that went away does
        assert zone.kubectl("get", "nodes", context=CONTEXT, check=False).exit_code != 0
        zone.invoke("kubeconfig.connect")
        holds(zone, CONTEXT)
        zone.invoke("kubeconfig.remove")
        assert processes(zone.container, "ssh") == [], "no tunnel is left"


def test_ssh_errors_are_explained(lab: Project, hidden: tuple[str, ...]) -> None:
    with sshd(SSH_PORT) as machine, client(lab, engine(SSH_PORT), *hidden) as zone:
        unknown = zone.invoke("kubeconfig.connect", check=False)
        assert unknown.exit_code == 3
        assert "Host key verification failed" in unknown.stderr
        introduce(zone, machine, SSH_PORT)
        process.run(["docker", "exec", machine, "rm", "/root/.ssh/authorized_keys"], timeout=30)
        denied = zone.invoke("kubeconfig.connect", check=False)
        assert denied.exit_code == 3
        assert "Permission denied (publickey)" in denied.stderr


def test_an_sshd_without_forwarding_is_explained(lab: Project, hidden: tuple[str, ...]) -> None:
    with (
        sshd(NO_FORWARDING_PORT, "-oAllowTcpForwarding=no") as machine,
        client(lab, engine(NO_FORWARDING_PORT), *hidden) as zone,
    ):
        introduce(zone, machine, NO_FORWARDING_PORT)
        refused = zone.invoke("kubeconfig.connect", check=False)
        assert refused.exit_code == 5
        assert "administratively prohibited" in refused.stderr


def test_a_container_that_cannot_join_uses_a_tunnel_through_the_engine(lab: Project, hidden: tuple[str, ...]) -> None:
    with client(lab, *hidden, socket=True) as zone:
        zone.invoke("kubeconfig.connect")
        assert zone.entry(CONTEXT)["server"] == f"https://127.0.0.1:{PORT}"
        sockets = [line.split() for line in zone.run("cat", "/proc/net/tcp").stdout.splitlines()]
        listening = [fields[1] for fields in sockets if fields[3] == "0A" and fields[1].endswith(f":{PORT:04X}")]
        assert listening == [f"0100007F:{PORT:04X}"]  # 127.0.0.1
        holds(zone, CONTEXT)
        script = "for i in $(seq 10); do kubectl get nodes -o name & done; wait"
        many = zone.run("bash", "-c", script)
        assert many.stdout.split() == [f"node/{NAME}-control-plane"] * 10, many.stderr
        watched = zone.run("timeout", "5", "kubectl", "get", "nodes", "--watch", "-o", "name", check=False)
        assert watched.stdout.startswith("node/")
        zone.invoke("kubeconfig.remove")
        assert processes(zone.container, "docker") == []
        assert processes(f"{NAME}-control-plane", "perl") == []
