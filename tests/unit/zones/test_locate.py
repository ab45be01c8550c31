"""Where am I, from the files that a host and containers of several engines really show."""

import socket
import time
from pathlib import Path

import pytest

from threezone.engine.observe import Engine
from threezone.zones.locate import engine_kind, locate

ID = "0123456789abcdef" * 4
HOST_MOUNTS = "22 1 254:1 / / rw,relatime - ext4 /dev/vda1 rw\n"
DOCKER_MOUNTS = (
    "812 760 0:52 / / rw,relatime master:1 - overlay overlay rw\n"
    f"830 812 254:1 /var/lib/docker/containers/{ID}/resolv.conf /etc/resolv.conf rw,relatime - ext4 /dev/vda1 rw\n"
    f"831 812 254:1 /var/lib/docker/containers/{ID}/hostname /etc/hostname rw,relatime - ext4 /dev/vda1 rw\n"
)
PODMAN_MOUNTS = f"831 812 254:1 /overlay-containers/{ID}/userdata/hostname /etc/hostname rw - ext4 /dev/vda1 rw\n"
DEV = "Inter-|   Receive\n face |bytes    packets\n    lo:  100 1 0\n  eth0: 100 1 0\n"
ROUTE = "Iface\tDestination\tGateway \tFlags\neth0\t000011AC\t00000000\t0001\neth0\t00000000\t010011AC\t0003\n"


@pytest.fixture(autouse=True)
def _nobody_else(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("DOCKER_HOST", "GITLAB_CI", "GITHUB_ACTIONS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PATH", "")  # no docker client: nothing is asked
    monkeypatch.setattr(socket, "gethostname", lambda: "somewhere")


def root(tmp_path: Path, **files: str) -> Path:
    """A root with the given files; `__` in a name stands for a slash, `DOT` for a dot."""
    for name, content in files.items():
        path = tmp_path / name.replace("__", "/").replace("DOT", ".")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    return tmp_path


def test_a_host_is_known_by_the_absence_of_every_mark(tmp_path: Path) -> None:
    zone = locate(
        root=root(
            tmp_path, proc__self__mountinfo=HOST_MOUNTS, proc__self__cgroup="0::/user.slice\n", proc__net__dev=DEV
        )
    )
    assert (zone.kind, zone.container_id) == ("host", "")
    assert zone.evidence == ("no mark of a container in /.dockerenv, /run/.containerenv, mountinfo and cgroup",)


def test_a_system_without_proc_is_a_host(tmp_path: Path) -> None:
    assert locate(root=tmp_path).kind == "host"


@pytest.mark.parametrize("mounts", [DOCKER_MOUNTS, PODMAN_MOUNTS])
def test_a_container_is_known_by_what_its_engine_mounts(tmp_path: Path, mounts: str) -> None:
    zone = locate(
        root=root(tmp_path, DOTdockerenv="", proc__self__mountinfo=mounts, proc__net__dev=DEV, proc__net__route=ROUTE)
    )
    assert zone.kind == "container"
    assert any("/etc/hostname is mounted from" in line and ID in line for line in zone.evidence)
    assert zone.evidence[-1] == "there is no docker client here to ask for this container"
    assert (zone.container_id, zone.gateway) == ("", "172.17.0.1")


@pytest.mark.parametrize(
    "group", [f"12:cpuset:/docker/{ID}", f"0::/system.slice/docker-{ID}.scope", f"4:memory:/kubepods/pod1/{ID}"]
)
def test_a_container_is_known_by_its_control_group(tmp_path: Path, group: str) -> None:
    zone = locate(root=root(tmp_path, proc__self__cgroup=f"{group}\n", proc__net__dev=DEV))
    assert zone.kind == "container"
    assert ID in zone.evidence[0]


def test_a_copied_image_is_no_container(tmp_path: Path) -> None:
    zone = locate(root=root(tmp_path, DOTdockerenv="", proc__self__mountinfo=HOST_MOUNTS, proc__net__dev=DEV))
    assert zone.kind == "host"
    assert "this is a copied image" in zone.evidence[1]


def test_where_the_engine_s_bridge_is_ours_its_ports_are_ours(tmp_path: Path) -> None:
    """Docker-in-docker, or a container on the host's network: for the localhost trap both are the engine's host."""
    dev = DEV + "docker0: 100 1 0\n"
    zone = locate(root=root(tmp_path, DOTdockerenv="", proc__self__mountinfo=DOCKER_MOUNTS, proc__net__dev=dev))
    assert zone.kind == "host"
    assert zone.evidence[-1] == "the engine's bridge docker0 is an interface of this network"


def test_other_long_numbers_are_no_containers(tmp_path: Path) -> None:
    mounts = f"40 22 0:30 / /var/lib/docker/containers/{ID}/mounts/shm rw - tmpfs shm rw\n"
    groups = f"0::/build/{ID}\n4:memory:/docker/{ID}0\n"
    assert locate(root=root(tmp_path, proc__self__mountinfo=mounts, proc__self__cgroup=groups)).kind == "host"


def test_a_job_and_wsl_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GITLAB_CI", "true")
    zone = locate(root=root(tmp_path, proc__sys__kernel__osrelease="5.15.90.1-microsoft-standard-WSL2\n"))
    assert zone.ci == "gitlab"
    assert zone.evidence[1:] == ("the kernel is WSL's", "the environment is a gitlab job's")


def test_a_remote_engine_is_known_by_its_address(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("DOCKER_HOST", "tcp://docker:2375")
    zone = locate(root=tmp_path)
    assert (zone.engine, zone.engine_host) == ("remote", "docker")


@pytest.mark.parametrize(
    ("engine", "kind"),
    [
        (Engine("ok", "unix:///var/run/docker.sock", version="29", system="Debian GNU/Linux 12"), "native"),
        (Engine("ok", "unix:///run/user/1000/docker.sock", version="29", system="Debian", rootless=True), "rootless"),
        (Engine("ok", "unix:///var/run/docker.sock", version="29", system="Docker Desktop"), "desktop"),
        (Engine("ok", "ssh://me@there", version="29", system="Debian"), "remote"),
        (Engine("stopped", "unix:///var/run/docker.sock"), "unknown"),
        (None, "unknown"),
    ],
)
def test_the_kind_of_the_engine_comes_from_its_own_words(engine: Engine | None, kind: str) -> None:
    assert engine_kind(engine) == kind


def test_on_a_host_it_takes_milliseconds_and_no_program(tmp_path: Path) -> None:
    place = root(tmp_path, proc__self__mountinfo=HOST_MOUNTS * 200, proc__net__dev=DEV)
    began = time.perf_counter()
    locate(root=place)
    assert time.perf_counter() - began < 0.1
