import ctypes
import errno
import os
import stat
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from threezone.core.errors import UsageError
from threezone.kubeconfig import document, store
from threezone.kubeconfig.document import Document

Change = Callable[[Document], Document]


def add(name: str) -> Change:
    return lambda before: document.put(before, "contexts", name, {"cluster": "c", "user": "u"})


def nothing(before: Document) -> Document:
    return before


def write(path: Path, *contexts: str, current: str = "") -> Path:
    made = Document()
    for name in contexts:
        made = add(name)(made)
    path.write_bytes(document.dump(document.with_current_context(made, current)))
    return path


def contexts(path: Path) -> list[str]:
    return list(document.items(document.parse(path.read_bytes(), str(path)), "contexts"))


def environment(*paths: Path | str) -> dict[str, str]:
    return {"KUBECONFIG": os.pathsep.join(map(str, paths))}


def leftovers(directory: Path) -> list[str]:
    return [path.name for path in directory.iterdir() if path.name.endswith((".lock", ".threezone"))]


class Capabilities(ctypes.Structure):
    """The header and the two data words of capset(2), version 3."""

    _fields_ = (("version", ctypes.c_uint32), ("pid", ctypes.c_int), ("data", ctypes.c_uint32 * 6))


@pytest.fixture
def permissions() -> Iterator[None]:
    """Modes hold for root too: the capabilities that override them are laid down, in this thread, for the test."""
    libc = ctypes.CDLL(None, use_errno=True)
    capabilities = Capabilities(0x20080522, 0)
    data = ctypes.byref(capabilities, Capabilities.data.offset)
    assert libc.capget(ctypes.byref(capabilities), data) == 0
    effective = capabilities.data[0]
    capabilities.data[0] = effective & ~(1 << 1 | 1 << 2)  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH
    assert libc.capset(ctypes.byref(capabilities), data) == 0
    yield
    capabilities.data[0] = effective
    assert libc.capset(ctypes.byref(capabilities), data) == 0


def test_the_files_are_those_that_kubectl_would_name() -> None:
    assert store.files({"HOME": "/home/me"}) == ("/home/me/.kube/config",)
    assert store.files({"HOME": "/home/me", "KUBECONFIG": ""}) == ("/home/me/.kube/config",)
    assert store.files({"KUBECONFIG": ":/a::b:/a:"}) == ("/a", "b")
    with pytest.raises(UsageError, match="neither HOME nor KUBECONFIG is set"):
        store.files({})
    with pytest.raises(UsageError, match="names no file"):
        store.files({"HOME": "/home/me", "KUBECONFIG": "::"})


def test_a_new_file_and_its_directory_are_private(tmp_path: Path) -> None:
    path = tmp_path / "home" / ".kube" / "config"
    assert store.update(add("a"), env={"HOME": str(tmp_path / "home")})
    assert contexts(path) == ["a"]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert leftovers(path.parent) == []


def test_no_change_means_no_write(tmp_path: Path) -> None:
    path = write(tmp_path / "config", "a")
    path.write_bytes(path.read_bytes() + b"# a comment that a write would lose\n")
    before = path.stat()
    assert store.update(nothing, env=environment(path)) is False
    assert store.update(add("a"), env=environment(path)) is False
    assert (path.stat().st_ino, path.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    assert store.update(nothing, env=environment(tmp_path / "none")) is False
    assert not (tmp_path / "none").exists()


def test_a_loose_mode_is_tightened_by_a_write(tmp_path: Path) -> None:
    path = write(tmp_path / "config", "a")
    path.chmod(0o644)
    store.update(add("b"), env=environment(path))
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_file_keeps_its_owner(tmp_path: Path) -> None:
    path = write(tmp_path / "config", "a")
    owner = 12345 if os.getuid() == 0 else os.getuid()
    os.chown(path, owner, -1)
    store.update(add("b"), env=environment(path))
    assert path.stat().st_uid == owner


def test_a_link_stays_a_link(tmp_path: Path) -> None:
    (tmp_path / "dir").mkdir()
    target = write(tmp_path / "dir" / "real", "a")
    link = tmp_path / "config"
    link.symlink_to("dir/real")
    store.update(add("b"), env=environment(link))
    assert link.is_symlink()
    assert contexts(target) == ["a", "b"]
    assert leftovers(tmp_path) == leftovers(target.parent) == []


def test_a_dangling_link_gets_its_file(tmp_path: Path) -> None:
    link = tmp_path / "config"
    link.symlink_to("later/real")
    store.update(add("a"), env=environment(link))
    assert link.is_symlink()
    assert contexts(tmp_path / "later" / "real") == ["a"]


def test_a_loop_of_links_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    with pytest.raises(UsageError, match="symbolic links"):
        store.update(add("x"), env=environment(tmp_path / "a"))
    assert leftovers(tmp_path) == []


@pytest.mark.usefixtures("permissions")
def test_a_link_to_what_may_not_be_read_is_named(tmp_path: Path) -> None:
    (tmp_path / "dir").mkdir()
    target = write(tmp_path / "dir" / "real", "a")
    target.chmod(0)
    link = tmp_path / "config"
    link.symlink_to("dir/real")
    with pytest.raises(UsageError, match=rf"{link} cannot be read: Permission denied") as refused:
        store.update(add("b"), env=environment(link))
    assert refused.value.fix == f"ls -ld {link}"
    assert link.is_symlink()
    assert leftovers(tmp_path) == leftovers(target.parent) == []


def test_a_read_only_file_is_not_replaced(tmp_path: Path, permissions: None) -> None:  # noqa: ARG001 - for its effect
    path = write(tmp_path / "config", "a")
    path.chmod(0o400)
    with pytest.raises(UsageError, match=rf"{path} cannot be written: Permission denied") as refused:
        store.update(add("b"), env=environment(path))
    assert str(path) in refused.value.fix
    assert contexts(path) == ["a"]
    assert stat.S_IMODE(path.stat().st_mode) == 0o400
    assert leftovers(tmp_path) == []


@pytest.mark.usefixtures("permissions")
def test_a_read_only_directory_is_named_and_harmless_where_nothing_changes(tmp_path: Path) -> None:
    (tmp_path / "closed").mkdir()
    closed, ours = write(tmp_path / "closed" / "config", "a"), write(tmp_path / "config", "b")
    closed.parent.chmod(0o500)
    assert store.update(add("c"), env=environment(ours, closed))
    assert contexts(ours) == ["b", "c"]
    assert contexts(closed) == ["a"]
    for listed in (environment(closed), environment(closed, ours)):
        with pytest.raises(UsageError, match=rf"{closed} cannot be written: no lock file can be made in") as refused:
            store.update(add("d"), env=listed)
        assert f"ls -ld {closed.parent}" in refused.value.fix
    assert contexts(ours) == ["b", "c"]
    assert leftovers(tmp_path) == leftovers(closed.parent) == []
    closed.parent.chmod(0o700)


def test_another_hard_link_keeps_the_old_content(tmp_path: Path) -> None:
    path = write(tmp_path / "config", "a")
    other = tmp_path / "other"
    other.hardlink_to(path)
    store.update(add("b"), env=environment(path))
    assert contexts(path) == ["a", "b"]
    assert contexts(other) == ["a"]


def test_a_directory_reached_through_a_link_is_locked_once(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "alias").symlink_to("real")
    path = tmp_path / "alias" / "config"
    assert store.update(add("a"), env=environment(path), timeout=0.2)
    assert store.update(add("b"), env=environment(path, tmp_path / "real" / "config"), timeout=0.2)
    assert contexts(path) == ["a", "b"]


def test_a_stanza_is_changed_where_it_is_defined_and_a_new_one_goes_to_the_first_file_there_is(tmp_path: Path) -> None:
    missing, one, two = tmp_path / "missing", write(tmp_path / "one", "a", "both"), write(tmp_path / "two", "b", "both")
    env = environment(missing, one, two)

    def change(before: Document) -> Document:
        for name in ("a", "b", "both", "new"):
            before = document.put(before, "contexts", name, {"cluster": "changed", "user": "u"})
        return before

    untouched = document.items(document.parse(two.read_bytes()), "contexts")["both"]
    assert store.update(change, env=env)
    assert contexts(one) == ["a", "both", "new"]
    assert contexts(two) == ["b", "both"]
    assert document.items(document.parse(two.read_bytes()), "contexts")["both"] == untouched
    assert not missing.exists()
    assert store.read(env).origins["contexts", "b"] == str(two)


def test_the_last_file_of_the_list_is_made_when_there_is_none(tmp_path: Path) -> None:
    assert store.update(add("a"), env=environment(tmp_path / "one", tmp_path / "two"))
    assert [path.name for path in tmp_path.iterdir()] == ["two"]


def test_the_current_context_is_set_in_the_first_file_and_cleared_where_it_is_set(tmp_path: Path) -> None:
    one, two = write(tmp_path / "one", "a"), write(tmp_path / "two", "b", current="b")
    env = environment(one, two)
    assert document.current_context(store.read(env).document) == "b"
    store.update(lambda before: document.with_current_context(before, ""), env=env)
    assert document.current_context(document.parse(two.read_bytes())) == ""
    store.update(lambda before: document.with_current_context(before, "b"), env=env)
    assert document.current_context(document.parse(one.read_bytes())) == "b"


def test_an_entry_is_removed_from_the_files_that_define_its_parts(tmp_path: Path) -> None:
    one = write(tmp_path / "one", "a")
    two = tmp_path / "two"
    two.write_bytes(document.dump(document.put(Document(), "clusters", "c", {"server": "https://x"})))
    store.update(lambda before: document.remove(before, "a"), env=environment(one, two))
    assert contexts(one) == []
    assert document.items(document.parse(two.read_bytes()), "clusters") == {}


def test_a_held_lock_is_named_with_its_age_and_never_broken(tmp_path: Path) -> None:
    path = write(tmp_path / "config", "a")
    lock = tmp_path / "config.lock"
    lock.touch()
    os.utime(lock, (time.time() - 4000, time.time() - 4000))
    began = time.monotonic()
    with pytest.raises(UsageError) as refused:
        store.update(add("b"), env=environment(path), timeout=0.2)
    assert 0.2 <= time.monotonic() - began < 1.5
    assert f"{lock} (1 h old)" in refused.value.message
    assert "./run invoke kubeconfig.connect --break-lock" in refused.value.fix
    assert refused.value.exit_code == 2
    assert lock.exists()
    assert contexts(path) == ["a"]


def test_locks_that_were_left_behind_are_removed_when_asked(tmp_path: Path) -> None:
    (tmp_path / "real").touch()
    link, two, three = tmp_path / "link", tmp_path / "two", tmp_path / "three"
    link.symlink_to("real")
    env = environment(link, two, three)
    assert store.break_lock(env) == ()
    locks = [tmp_path / name for name in ("link.lock", "two.lock", "real.lock")]
    for lock in locks:
        lock.touch()
        os.utime(lock, (time.time() - 4000, time.time() - 4000))
    assert store.break_lock(env) == tuple(f"removed {lock}, 1 h old" for lock in locks)
    assert leftovers(tmp_path) == []


def test_a_lock_that_was_made_just_now_is_not_removed_and_neither_are_others(tmp_path: Path) -> None:
    one, two = tmp_path / "one.lock", tmp_path / "two.lock"
    one.touch()
    os.utime(one, (time.time() - 4000, time.time() - 4000))
    two.touch()
    with pytest.raises(UsageError, match=rf"{two} was made less than 1 s ago"):
        store.break_lock(environment(tmp_path / "one", tmp_path / "two"))
    assert one.exists()
    assert two.exists()


def test_a_link_s_target_is_locked_as_well(tmp_path: Path) -> None:
    """Somebody may know the file by that name, and would lock that one."""
    target, link = write(tmp_path / "real", "a"), tmp_path / "config"
    link.symlink_to("real")
    for lock in (tmp_path / "config.lock", tmp_path / "real.lock"):
        lock.touch()
        with pytest.raises(UsageError, match=f"{lock} "):
            store.update(add("b"), env=environment(link), timeout=0.05)
        lock.unlink()
    assert contexts(target) == ["a"]
    assert leftovers(tmp_path) == []


def test_a_lock_that_cannot_be_removed_is_named(tmp_path: Path) -> None:
    lock = tmp_path / "config.lock"
    lock.mkdir()
    os.utime(lock, (time.time() - 4000, time.time() - 4000))
    with pytest.raises(UsageError, match=rf"{lock} cannot be removed"):
        store.break_lock(environment(tmp_path / "config"))


def test_a_kubectl_that_read_before_our_write_meets_our_lock_after_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(tmp_path / "config", "a")
    released: list[float] = []

    def release(lock: str) -> None:
        released.append(time.time())
        Path(lock).unlink()

    monkeypatch.setattr(store, "_release", release)
    store.update(add("b"), env=environment(path))
    assert released[0] - path.stat().st_ctime > 0.04  # of 0.05; the file system's clock may be some milliseconds late
    store.update(nothing, env=environment(path))
    assert len(released) == 1, "where nothing is written nothing is locked"


def test_a_lock_that_goes_away_is_waited_for(tmp_path: Path) -> None:
    path = write(tmp_path / "config", "a")
    lock = tmp_path / "config.lock"
    lock.touch()
    timer = threading.Timer(0.3, lock.unlink)
    timer.start()
    assert store.update(add("b"), env=environment(path), timeout=5)
    timer.join()
    assert contexts(path) == ["a", "b"]


def test_every_file_of_the_list_is_locked_and_unlocked_again_after_a_failure(tmp_path: Path) -> None:
    one, two = write(tmp_path / "one", "a"), write(tmp_path / "two", "b")
    (tmp_path / "two.lock").touch()
    with pytest.raises(UsageError, match=r"two\.lock"):
        store.update(add("c"), env=environment(one, two), timeout=0.1)
    assert leftovers(tmp_path) == ["two.lock"]


def test_readers_wait_for_a_file_that_is_being_written(tmp_path: Path) -> None:
    path = write(tmp_path / "config", "a")
    whole = path.read_bytes()
    lock = tmp_path / "config.lock"
    lock.touch()
    for torn in (b"", whole[: len(whole) // 2], b"contexts: [\n"):
        path.write_bytes(torn)
        timer = threading.Timer(0.15, path.write_bytes, [whole])
        timer.start()
        assert list(document.items(store.read(environment(path)).document, "contexts")) == ["a"]
        timer.join()


def test_a_file_that_was_written_while_it_was_read_is_read_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A writer may take and leave its lock between our two looks for one; then the file itself tells."""
    path = write(tmp_path / "config", "a")
    whole = path.read_bytes()
    path.write_bytes(b"")
    original = Path.stat

    def late(self: Path, **options: bool) -> os.stat_result:
        if self == path and path.read_bytes() == b"":
            path.write_bytes(whole)
        return original(self, **options)

    monkeypatch.setattr(Path, "stat", late)
    assert list(document.items(store.read(environment(path)).document, "contexts")) == ["a"]


def test_a_lock_left_behind_hardly_delays_a_reader(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "config", "a")
    (tmp_path / "config.lock").touch()
    monkeypatch.setattr(store, "_WRITE_SECONDS", 60)  # the patience with a file that changes or is broken
    began = time.monotonic()
    assert list(document.items(store.read(environment(path)).document, "contexts")) == ["a"]
    assert time.monotonic() - began < 30


@pytest.mark.parametrize("with_lock", [False, True])
def test_a_pipe_of_the_shell_s_is_read_once(tmp_path: Path, with_lock: bool) -> None:
    whole = write(tmp_path / "config", "a").read_bytes()
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    if with_lock:
        (tmp_path / "pipe.lock").touch()
    writer = threading.Thread(target=pipe.write_bytes, args=(whole,))
    writer.start()
    assert list(document.items(store.read(environment(pipe)).document, "contexts")) == ["a"]
    writer.join()


def test_a_broken_file_is_one_sentence_with_its_line_and_is_not_written(tmp_path: Path) -> None:
    path = tmp_path / "config"
    path.write_text("apiVersion: v1\nkind: Config\nusers: [\n")
    with pytest.raises(UsageError, match=f"{path}, line 4: not a kubeconfig that kubectl can read"):
        store.update(add("a"), env=environment(path))
    assert path.read_text().endswith("users: [\n")
    assert leftovers(tmp_path) == []


def test_a_directory_in_the_file_s_place_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be read: Is a directory"):
        store.read(environment(tmp_path))


def test_a_file_in_the_directory_s_place_is_an_error(tmp_path: Path) -> None:
    (tmp_path / ".kube").touch()
    with pytest.raises(UsageError, match=r"cannot be (read|locked|written): (Not a directory|File exists)"):
        store.update(add("a"), env={"HOME": str(tmp_path)})


def test_more_documents_in_the_file_are_not_lost(tmp_path: Path) -> None:
    path = tmp_path / "config"
    path.write_text("contexts: [{name: a}]\n---\nmine: 1\n")
    assert list(document.items(store.read(environment(path)).document, "contexts")) == ["a"]
    with pytest.raises(UsageError, match="more than one YAML document"):
        store.update(add("b"), env=environment(path))
    assert "mine: 1" in path.read_text()


def test_a_file_that_cannot_be_replaced_is_written_in_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "config", "a", "with a long name that makes the old file longer than the new one" * 20)
    inode = path.stat().st_ino

    def busy(self: Path, target: Path) -> Path:
        raise OSError(errno.EBUSY, "Device or resource busy", str(self), None, str(target))

    # What a single file mounted into a container answers; the real mount is tried where there is an engine.
    monkeypatch.setattr(Path, "replace", busy)
    store.update(lambda _: add("b")(Document()), env=environment(path))
    assert contexts(path) == ["b"]
    assert path.stat().st_ino == inode
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert leftovers(tmp_path) == []


def test_a_planted_temporary_file_is_not_followed(tmp_path: Path) -> None:
    path = write(tmp_path / "config", "a")
    victim = tmp_path / "victim"
    victim.write_text("precious")
    (tmp_path / ".config.threezone").symlink_to(victim)
    store.update(add("b"), env=environment(path))
    assert victim.read_text() == "precious"
    assert contexts(path) == ["a", "b"]
    assert not path.is_symlink()


def test_writers_in_threads_lose_nothing(tmp_path: Path) -> None:
    path = tmp_path / "config"
    env = environment(path)
    names = [f"c{number}" for number in range(24)]
    threads = [
        threading.Thread(target=store.update, args=(add(name),), kwargs={"env": env, "timeout": 120}) for name in names
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(contexts(path)) == sorted(names)
    assert leftovers(tmp_path) == []
