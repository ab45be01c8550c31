"""What stands at a path decides: files are replaced whole, pipes and devices are streams, the rest is refused."""

import errno
import fcntl
import os
import resource
import signal
import socket
import stat
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from tests.unit.extras.addons.test_token import Cluster

from threezone.cluster import create
from threezone.cluster.lab import Lab
from threezone.cluster.spec import declared
from threezone.core import files
from threezone.core.errors import UsageError
from threezone.core.settings import Settings
from threezone.delivery import git_server
from threezone.doctor.support_bundle.bundle import _archive
from threezone.extras import signed_file as ci_file
from threezone.extras.addons import token
from threezone.extras.report import files as report
from threezone.images import preload
from threezone.kubeconfig import credentials, document, store
from threezone.kubeconfig.document import Document
from threezone.lab.external_cluster import record as adopted
from threezone.zones.export import path as place
from threezone.zones.export import picker

OLD = "apiVersion: v1\nkind: Config\n"
ENTRY = document.put(Document(), "contexts", "kind-lab", {"cluster": "c", "user": "u"})


def device(path: Path, minor: int, name: str) -> None:
    """A character device: of the test's own, or where that is not allowed a link to the machine's."""
    try:
        os.mknod(path, stat.S_IFCHR | 0o666, os.makedev(1, minor))
    except PermissionError:
        path.symlink_to(f"/dev/{name}")


def bind(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind(str(path))  # its name stays


def disk(path: Path) -> None:
    """A block device behind which there is none; a socket, which is refused like it, where none may be made."""
    try:
        os.mknod(path, stat.S_IFBLK | 0o600, os.makedev(7, 250))
    except PermissionError:
        bind(path)


def link(path: Path, target: Path, make: Callable[[Path], object]) -> None:
    make(target)
    path.symlink_to(target.name)


MAKERS: dict[str, Callable[[Path, Path], object]] = {
    "missing": lambda _path, _target: None,
    "file": lambda path, _: path.write_text(OLD),
    "link": lambda path, target: link(path, target, lambda real: real.write_text(OLD)),
    "dangling link": lambda path, target: path.symlink_to(target.name),
    "null device": lambda path, _: device(path, 3, "null"),
    "link to a device": lambda path, target: link(path, target, lambda real: device(real, 3, "null")),
    "full device": lambda path, _: device(path, 7, "full"),
    "pipe": lambda path, _: os.mkfifo(path),
    "pipe with a reader": lambda path, _: os.mkfifo(path),
    "socket": lambda path, _: bind(path),
    "disk": lambda path, _: disk(path),
    "directory": lambda path, _: path.mkdir(),
    "loop": lambda path, _: path.symlink_to(path.name),
}


def identity(path: Path, *, follow: bool) -> tuple[int, int, int] | None:
    """What stands at the path: its inode, its kind and mode, its device."""
    try:
        seen = path.stat(follow_symlinks=follow)
    except OSError:
        return None
    return seen.st_ino, seen.st_mode, seen.st_rdev


@contextmanager
def standing(kind: str, path: Path) -> Iterator[None]:
    """Let something of this kind stand at the path, and look afterwards whether it is still there."""
    MAKERS[kind](path, path.with_name("target"))
    before = {follow: identity(path, follow=follow) for follow in (False, True)}
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK) if kind == "pipe with a reader" else None
    yield
    if reader is not None:
        assert os.read(reader, 1 << 16)
        os.close(reader)
    if kind not in ("missing", "file"):
        assert identity(path, follow=False) == before[False]
    if kind not in FILES:
        assert identity(path, follow=True) == before[True]
    names = {each.name for each in path.parent.iterdir()}
    assert names <= {path.name, "target"}, "neither a lock nor a half-made file is left behind"


def write_token(path: Path) -> None:
    lab = Lab(path.parent / "project", Settings(), "kind")
    token.write(Cluster(), lab, role="", account="", hours=2, output=str(path))  # type: ignore[arg-type]


def write_pipeline(path: Path) -> None:
    ci_file.read(path)
    ci_file.write(path, "job:\n")


def write_archive(path: Path) -> None:
    with _archive(path) as add:
        add("a.txt", "words")


def change_kubeconfig(path: Path) -> None:
    assert store.update(lambda _: ENTRY, env={"KUBECONFIG": str(path)})


OUTPUTS: dict[str, Callable[[Path], None]] = {
    "output": lambda path: files.write_output(path, "new"),
    "addon.token": write_token,
    "kubeconfig.export": lambda path: place.write(place.guard(path, "kind-lab"), ENTRY),
    "report.show": lambda path: report.save(path, "<html>"),
    "ci.gitlab": write_pipeline,
    "cluster.logs": write_archive,
}
STATE: dict[str, Callable[[Path], None]] = {
    "atomic": lambda path: files.write_atomic(path, "new"),
    "password": lambda path: git_server.write_private(path, "secret"),
    "kubeconfig": change_kubeconfig,
}
FILES = ("missing", "file", "link", "dangling link")
STREAMS = ("null device", "link to a device", "pipe with a reader")
REFUSED = ("full device", "pipe", "socket", "disk", "directory", "loop")


@pytest.mark.parametrize("kind", FILES)
@pytest.mark.parametrize("name", [*OUTPUTS, *STATE])
def test_a_file_is_written_and_its_link_stays(tmp_path: Path, name: str, kind: str) -> None:
    path = tmp_path / "out"
    with standing(kind, path):
        (OUTPUTS | STATE)[name](path)
        assert path.is_file()
        assert path.read_bytes() not in (b"", OLD.encode())
        private = name not in ("report.show", "ci.gitlab")
        assert not private or stat.S_IMODE(path.stat().st_mode) == 0o600
        assert path.is_symlink() == ("link" in kind)


@pytest.mark.parametrize("kind", STREAMS)
@pytest.mark.parametrize("name", OUTPUTS)
def test_output_goes_into_a_pipe_or_device(tmp_path: Path, name: str, kind: str) -> None:
    path = tmp_path / "out"
    with standing(kind, path):
        OUTPUTS[name](path)


@pytest.mark.parametrize("kind", REFUSED)
@pytest.mark.parametrize("name", OUTPUTS)
def test_output_that_cannot_be_taken_is_refused(tmp_path: Path, name: str, kind: str) -> None:
    path = tmp_path / "out"
    with standing(kind, path), pytest.raises(UsageError, match=str(path)) as refused:
        OUTPUTS[name](path)
    assert refused.value.fix


@pytest.mark.parametrize("kind", ["null device", "link to a device", "pipe", "socket", "disk", "directory", "loop"])
@pytest.mark.parametrize("name", STATE)
def test_what_is_kept_goes_into_a_regular_file_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, kind: str
) -> None:
    monkeypatch.setattr(files, "READ_SECONDS", 0.1)
    path = tmp_path / "out"
    with standing(kind, path), pytest.raises(UsageError, match=str(path)) as refused:
        STATE[name](path)
    assert refused.value.fix


def test_a_kubeconfig_that_is_a_device_is_empty_and_needs_no_lock_where_nothing_changes(tmp_path: Path) -> None:
    path = tmp_path / "null"
    with standing("null device", path):
        env = {"KUBECONFIG": str(path)}
        assert store.read(env).document.data.get("contexts") == []
        assert store.update(lambda old: old, env=env) is False


@pytest.mark.parametrize("kind", ["null device", "link to a device", "pipe", "socket"])
def test_no_cluster_is_made_whose_entry_could_not_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    asked: list[object] = []
    monkeypatch.setattr(preload, "ensure", lambda *given: asked.append(given))
    path = tmp_path / "config"
    monkeypatch.setenv("KUBECONFIG", str(path))
    with standing(kind, path), pytest.raises(UsageError, match=str(path)):
        create.checked_node_image(None)  # type: ignore[arg-type]
    assert asked == []


READS: dict[str, Callable[[Path], object]] = {
    "kubeconfig": lambda path: store.read({"KUBECONFIG": str(path)}),
    "key": lambda path: credentials.material({"client-key": str(path)}, "client-key", Path(), "lab"),
    "report": report.load,
    "cluster file": declared.declare,
}


@pytest.mark.parametrize("kind", ["zero", "pipe"])
@pytest.mark.parametrize("name", READS)
def test_what_has_no_end_is_not_read_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, kind: str
) -> None:
    monkeypatch.setattr(files, "READ_SECONDS", 0.1)
    monkeypatch.setattr(files, "READ_LIMIT", 1 << 20)
    path = tmp_path / kind
    device(path, 5, "zero") if kind == "zero" else os.mkfifo(path)
    with pytest.raises(UsageError, match=str(path)):
        READS[name](path)


def test_a_socket_a_disk_and_a_directory_are_not_read(tmp_path: Path) -> None:
    for name, make in (("socket", bind), ("disk", disk)):
        make(tmp_path / name)
        with pytest.raises(UsageError, match=name):
            files.read(tmp_path / name)
    with pytest.raises(IsADirectoryError):
        files.read(tmp_path)


def test_a_slow_writer_of_a_pipe_is_read_to_its_end(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    content = b"x" * 200_000  # more than a pipe holds
    writer = threading.Thread(target=pipe.write_bytes, args=(content,))
    writer.start()
    assert files.read(pipe) == content
    writer.join()


@pytest.mark.parametrize("stand", ["link", "file", "pipe"])
def test_a_picker_replaces_nothing_but_a_picker(tmp_path: Path, stand: str) -> None:
    export, precious = tmp_path / "lab.yaml", tmp_path / "precious"
    script = tmp_path / "lab-pick.sh"
    precious.write_text("precious")
    match stand:
        case "link":
            script.symlink_to(precious)
        case "file":
            script.write_text("precious")
        case "pipe":
            os.mkfifo(script)
    kind = script.lstat().st_mode
    with pytest.raises(UsageError, match="an earlier picker"):
        picker.write(export, ENTRY, "kind-lab")
    assert (script.lstat().st_mode, precious.read_text()) == (kind, "precious")
    script.unlink()
    for _ in range(2):
        assert picker.write(export, ENTRY, "kind-lab") == script
    assert stat.S_IMODE(script.stat().st_mode) == 0o755


def test_a_device_in_the_place_of_a_state_file_stays(tmp_path: Path) -> None:
    record = adopted._file(tmp_path)
    record.parent.mkdir(parents=True)
    device(record, 3, "null")
    with pytest.raises(UsageError, match="character device"):
        adopted.write(tmp_path, adopted.Adopted("docker-desktop"))
    assert stat.S_ISCHR(record.stat().st_mode)


def test_a_link_above_the_file_is_followed(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    files.write_atomic(tmp_path / "link" / "file", "new")
    assert (tmp_path / "real" / "file").read_text() == "new"
    assert (tmp_path / "link").is_symlink()


def test_a_mode_is_kept_unless_another_is_wanted_and_a_new_file_is_not_for_everybody(tmp_path: Path) -> None:
    path, new = tmp_path / "file", tmp_path / "dir" / "new"
    path.write_text("old")
    path.chmod(0o640)
    mask = os.umask(0)
    files.write_atomic(path, "new", None)
    files.write_atomic(new, "new", None)
    os.umask(mask)
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    assert (stat.S_IMODE(new.stat().st_mode), stat.S_IMODE(new.parent.stat().st_mode)) == (0o644, 0o755)
    files.write_atomic(path, "newer", 0o600)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


@pytest.mark.parametrize(("group_too", "mode"), [(False, 0o600), (True, 0o660)])
def test_ownership_is_tried_and_not_demanded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, group_too: bool, mode: int
) -> None:
    """A random uid with gid 0 may write a group's file and may not give one away."""
    path = tmp_path / "config"
    path.write_text(OLD)
    path.chmod(0o664)
    old = path.stat()
    seen = os.stat_result((*old[:4], old.st_uid + 1, old.st_gid + (0 if group_too else 1), *old[6:]))
    monkeypatch.setattr(files, "_replaceable", lambda *_: seen)

    def refused(*_: int) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "fchown", refused)
    change_kubeconfig(path)
    assert b"kind-lab" in path.read_bytes()
    assert stat.S_IMODE(path.stat().st_mode) == mode


@pytest.mark.parametrize("number", [errno.EBUSY, errno.EPERM])
def test_a_file_that_cannot_be_replaced_is_written_in_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """A single file that is mounted; somebody else's in a sticky directory."""

    def refused(self: Path, _target: Path) -> Path:
        raise OSError(number, os.strerror(number), str(self))

    monkeypatch.setattr(Path, "replace", refused)
    path = tmp_path / "out"
    path.write_text(OLD)
    inode = path.stat().st_ino
    for content in ("short", "long" * 1000, ""):
        files.write_atomic(path, content)
        assert (path.read_text(), path.stat().st_ino) == (content, inode)
    assert list(tmp_path.iterdir()) == [path]
    # No room for the longer content: the old one stays whole.
    path.write_text(OLD)
    monkeypatch.setattr(os, "posix_fallocate", lambda *_: refuse_space())
    with pytest.raises(UsageError, match="No space left"):
        files.write_atomic(path, "long" * 1000)
    assert path.read_text() == OLD


def refuse_space() -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@contextmanager
def full_disk() -> Iterator[None]:
    """No file may become larger than 4 kB. For the block alone: pytest itself may be writing to a longer file."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("kind", ["file", "link", "missing"])
def test_a_full_disk_leaves_the_old_file(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "out"
    with standing(kind, path):
        with pytest.raises(UsageError, match=f"{path} cannot be written"), full_disk():
            files.write_atomic(path, "x" * 100_000)
        assert not path.exists() if kind == "missing" else path.read_text() == OLD


@pytest.mark.real_program
def test_a_killed_writer_leaves_the_old_file_and_the_next_one_tidies_up(tmp_path: Path) -> None:
    path = tmp_path / "out"
    path.write_text(OLD)
    child = os.fork()
    if child == 0:
        with files.replacing(path) as file:
            file.write(b"half")
            file.flush()
            os.kill(os.getpid(), signal.SIGKILL)
    assert os.WIFSIGNALED(os.waitpid(child, 0)[1])
    assert path.read_text() == OLD
    (left,) = set(tmp_path.iterdir()) - {path}
    assert stat.S_IMODE(left.stat().st_mode) == 0o600
    files.write_atomic(path, "new")
    assert [(each, each.read_text()) for each in tmp_path.iterdir()] == [(path, "new")]


def test_a_writer_that_is_at_work_keeps_its_file(tmp_path: Path) -> None:
    path = tmp_path / "out"
    with files.replacing(path) as first:
        first.write(b"first")
        files.write_atomic(path, "second")
        assert path.read_text() == "second"
    assert [(each, each.read_text()) for each in tmp_path.iterdir()] == [(path, "first")]


def test_a_sibling_that_was_taken_for_abandoned_is_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another writer may look between the making of the file and its lock."""
    path, lock = tmp_path / "out", fcntl.flock
    looks: list[int] = []

    def late(descriptor: int, operation: int) -> None:
        looks.append(descriptor)
        if len(looks) == 1:
            files._remove_abandoned(path)
        lock(descriptor, operation)

    monkeypatch.setattr(fcntl, "flock", late)
    files.write_atomic(path, "new")
    assert [(each, each.read_text()) for each in tmp_path.iterdir()] == [(path, "new")]


def test_writers_and_readers_at_once_never_meet_half_a_file(tmp_path: Path) -> None:
    path = tmp_path / "out"
    contents = {letter * 50_000 for letter in "abcd"}
    files.write_atomic(path, "a" * 50_000)

    def write(content: str) -> None:
        for _ in range(20):
            files.write_atomic(path, content)

    writers = [threading.Thread(target=write, args=(content,)) for content in contents]
    for writer in writers:
        writer.start()
    while any(writer.is_alive() for writer in writers):
        assert path.read_text() in contents
    for writer in writers:
        writer.join()
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("link", [False, True])
def test_an_open_descriptor_is_written_to_where_it_stands(tmp_path: Path, link: bool) -> None:
    path = tmp_path / "log"
    with path.open("wb") as file:
        file.write(b"before\n")
        file.flush()
        name = Path(f"/dev/fd/{file.fileno()}")
        if link:
            (tmp_path / "link").symlink_to(name)
            name = tmp_path / "link"
        files.write_output(name, "content\n")
        file.write(b"after\n")
    assert path.read_text() == "before\ncontent\nafter\n"


def test_a_pipe_without_a_reader_is_told_at_once(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    began = time.monotonic()
    with pytest.raises(UsageError, match="nobody reads"):
        files.write_output(pipe, "content")
    assert time.monotonic() - began < 30
