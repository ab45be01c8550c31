"""The checks before a create: inotify instances, from a /proc of our own, and mounts."""

import os
from pathlib import Path

import pytest

from threezone.cluster import preflight
from threezone.cluster.spec.declared import Declared, parse
from threezone.core.errors import EngineError, UsageError
from threezone.engine.find import Engine

ENGINE = Engine("ok", "unix:///var/run/docker.sock", version="28.0.0", system="Debian GNU/Linux 12", cgroup="2")


def declared(*roles: str) -> Declared:
    nodes = "".join(f"- role: {role}\n" for role in roles)
    return parse(f"kind: Cluster\napiVersion: kind.x-k8s.io/v1alpha4\nnodes:\n{nodes}", Path("kind.yaml"))


@pytest.fixture
def proc(tmp_path: Path) -> Path:
    for process, links in {
        "1": ["anon_inode:inotify", "/dev/null", "anon_inode:inotify"],
        "22": [],
        "self": ["x"],
    }.items():
        directory = tmp_path / process / "fd"
        directory.mkdir(parents=True)
        for number, link in enumerate(links):
            (directory / str(number)).symlink_to(link)
    (tmp_path / "limit").write_text("128\n")
    return tmp_path


def test_roots_instances_are_subtracted_from_the_limit(proc: Path) -> None:
    left = preflight.free_inotify(proc, proc / "limit")
    assert left == (126 if os.geteuid() == 0 else 128), "what others hold does not count"


def test_free_inotify_is_unknown_without_a_limit(tmp_path: Path) -> None:
    assert preflight.free_inotify(tmp_path, tmp_path / "limit") is None


@pytest.mark.parametrize(("room", "refused"), [(10, True), (67, True), (200, False), (None, False)])
def test_too_few_inotify_instances_are_refused(
    room: int | None, refused: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(preflight, "free_inotify", lambda: room)
    three = declared("control-plane", "control-plane", "control-plane", "worker")
    if not refused:
        preflight.check(three, (), ENGINE)
        return
    with pytest.raises(
        EngineError, match=rf"needs about 80 inotify instances, and this machine has {room} left"
    ) as caught:
        preflight.check(three, (), ENGINE)
    assert "sysctl fs.inotify.max_user_instances=512" in caught.value.fix


def test_a_remote_engine_is_not_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preflight, "free_inotify", lambda: 0)
    preflight.check(declared("control-plane"), (), Engine("ok", "ssh://somewhere", cgroup="2"))


def test_a_missing_mount_is_refused_with_its_line(tmp_path: Path) -> None:
    text = f"nodes:\n- extraMounts:\n  - containerPath: /data\n    hostPath: {tmp_path}/da ta\n"
    declared = parse(f"kind: Cluster\napiVersion: kind.x-k8s.io/v1alpha4\n{text}", Path("kind.yaml"))
    with pytest.raises(UsageError, match=r"kind\.yaml:6: there is no .*/da ta here to mount at /data") as caught:
        preflight.mounts(declared)
    assert caught.value.fix.startswith(f"mkdir -p '{tmp_path}/da ta'")
    (tmp_path / "da ta").mkdir()
    preflight.mounts(declared)
