"""Where am I, from the files that a host and containers of several engines really show."""

import socket
import sys
import time
from pathlib import Path

import pytest

from threezone.engine.find import Engine
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
    for name in ("DOCKER_HOST", "GITLAB_CI", "GITHUB_ACTIONS", "REMOTE_CONTAINERS", "CODESPACES"):
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
    assert zone.evidence == ("no sign of a container in /.dockerenv, /run/.containerenv, mountinfo and cgroup",)


def test_a_system_without_proc_is_a_host(tmp_path: Path) -> None:
    assert locate(root=tmp_path).kind == "host"


@pytest.mark.parametrize("mounts", [DOCKER_MOUNTS, PODMAN_MOUNTS])
def test_a_container_is_known_by_what_its_engine_mounts(tmp_path: Path, mounts: str) -> None:
    zone = locate(
        root=root(tmp_path, DOTdockerenv="", proc__self__mountinfo=mounts, proc__net__dev=DEV, proc__net__route=ROUTE)
    )
    assert zone.kind == "container"
    assert any("/etc/hostname is mounted from" in line and f"/{ID[:12]}/" in line for line in zone.evidence)
    assert "no docker client" in zone.evidence[-1]
    assert (zone.container_id, zone.gateway) == ("", "172.17.0.1")


@pytest.mark.parametrize(
    "group", [f"12:cpuset:/docker/{ID}", f"0::/system.slice/docker-{ID}.scope", f"4:memory:/kubepods/pod1/{ID}"]
)
def test_a_container_is_known_by_its_control_group(tmp_path: Path, group: str) -> None:
    zone = locate(root=root(tmp_path, proc__self__cgroup=f"{group}\n", proc__net__dev=DEV))
    assert zone.kind == "container"
    assert ID[:12] in zone.evidence[0]
    assert ID not in zone.evidence[0]


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
    assert (zone.ci, zone.system) == ("gitlab", "wsl")
    assert zone.evidence[1:] == ("the kernel is WSL's", "the environment is a gitlab job's")


def test_a_remote_engine_is_known_by_its_address(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("DOCKER_HOST", "tcp://docker:2375")
    zone = locate(root=tmp_path)
    assert (zone.engine, zone.engine_host) == ("remote", "docker")
    assert zone.evidence[-1] == "the engine's address is tcp://docker:2375: its published ports are not here"


def test_the_alias_of_docker_in_docker_is_told_in_a_gitlab_job_only(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("DOCKER_HOST", "tcp://docker:2375")
    monkeypatch.setenv("GITLAB_CI", "true")
    assert "the alias of GitLab's service docker:dind" in locate(root=tmp_path).evidence[-1]
    monkeypatch.setenv("DOCKER_HOST", "tcp://build.example:2375")
    assert "alias" not in locate(root=tmp_path).evidence[-1]


def test_a_password_in_the_engine_s_address_is_not_shown(tmp_path: Path) -> None:
    evidence = locate(Engine("ok", "tcp://me:hunter2@there:1", version="29", system="Debian"), root=tmp_path).evidence
    assert "tcp://me@there:1" in evidence[-1]
    assert "hunter2" not in " ".join(evidence)


def test_an_engine_that_answers_is_evidence(tmp_path: Path) -> None:
    engine = Engine("ok", "unix:///var/run/docker.sock", version="29.1", system="Docker Desktop")
    zone = locate(engine, root=tmp_path)
    assert zone.engine == "desktop"
    assert zone.evidence[-1] == "the engine at unix:///var/run/docker.sock is 29.1 on Docker Desktop"


@pytest.mark.parametrize("variable", ["REMOTE_CONTAINERS", "CODESPACES"])
def test_a_devcontainer_is_told_where_marks_of_a_container_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    monkeypatch.setenv(variable, "true")
    assert not locate(root=root(tmp_path, proc__net__dev=DEV)).devcontainer  # a variable alone proves nothing
    zone = locate(root=root(tmp_path, proc__self__mountinfo=DOCKER_MOUNTS))
    assert (zone.kind, zone.devcontainer) == ("container", True)
    assert f"the environment is a devcontainer's ({variable})" in zone.evidence


@pytest.mark.parametrize(
    ("release", "owner"), [("6.10.14-linuxkit", "Docker Desktop"), ("6.11.10-orbstack-00280-g1", "OrbStack")]
)
def test_a_container_without_the_socket_sees_its_engine_in_the_kernel(tmp_path: Path, release: str, owner: str) -> None:
    zone = locate(root=root(tmp_path, proc__self__mountinfo=DOCKER_MOUNTS, proc__sys__kernel__osrelease=f"{release}\n"))
    assert f"the kernel {release} is that of {owner}'s virtual machine" in zone.evidence


@pytest.mark.parametrize(
    ("platform", "system", "name"), [("darwin", "macos", "macOS"), ("win32", "windows", "Windows")]
)
def test_a_laptop_s_system_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, platform: str, system: str, name: str
) -> None:
    monkeypatch.setattr(sys, "platform", platform)
    zone = locate(root=tmp_path)
    assert (zone.kind, zone.system) == ("host", system)
    assert zone.evidence[1] == f"the system is {name}: its engine is a virtual machine, which publishes ports here"


ROUTE6 = (
    "{destination} {length} 00000000000000000000000000000000 00 {hop} 00000400 00000001 00000000 {flags}     eth0\n"
)


@pytest.mark.parametrize(
    ("destination", "length", "hop", "flags", "gateway"),
    [
        ("0" * 32, "00", "fd000000000000000000000000000001", "00000003", "fd00::1"),
        ("0" * 32, "00", "fe800000000000000000000000000001", "00000003", ""),  # link-local: valid on one machine only
        ("0" * 32, "00", "0" * 32, "00200200", ""),  # the kernel's own "unreachable" route
        ("fd" + "0" * 30, "40", "fd000000000000000000000000000001", "00000003", ""),
    ],
)
def test_the_ipv6_gateway_is_that_of_the_default_route(  # noqa: PLR0917 - one row of a table each
    tmp_path: Path, destination: str, length: str, hop: str, flags: str, gateway: str
) -> None:
    line = ROUTE6.format(destination=destination, length=length, hop=hop, flags=flags)
    assert locate(root=root(tmp_path, proc__net__ipv6_route=line)).gateway6 == gateway


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
    began = time.process_time()  # what it takes itself, whatever else the machine does
    locate(root=place)
    assert time.process_time() - began < 0.1
