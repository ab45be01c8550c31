"""A writer is killed at every system call of a write: the files are old or new, and the next writer goes on."""

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from threezone.core.errors import UsageError
from threezone.core.process import run
from threezone.kubeconfig import document, store
from threezone.kubeconfig.document import Document

# Forks a writer again and again, each of which comes one system call further than the one before and is killed there,
# until one ends by itself: ptrace(2) by way of libc, so no tool is needed and the machine does not matter. What was
# left is told, the locks are removed as by --break-lock, the next writer writes, and the files are put back.
HARNESS = """
import ctypes, json, os, pathlib, signal, stat, sys
from threezone.kubeconfig import document, store
import yaml

names, watched = json.loads(sys.argv[1]), [pathlib.Path(each) for each in json.loads(sys.argv[2])]
env = {"KUBECONFIG": os.pathsep.join(names)}
libc = ctypes.CDLL(None, use_errno=True)
libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p]
libc.ptrace.restype = ctypes.c_long
TRACEME, SYSCALL = 0, 24  # linux/ptrace.h

def ptrace(request, pid):
    if libc.ptrace(request, pid, None, None) == -1:
        reason = os.strerror(ctypes.get_errno())
        sys.stderr.write(f"ptrace({request}): {reason}: this test needs a kernel that allows it\\n")
        os._exit(3)

def change(old):
    new = {"server": "https://new"}
    return document.put(document.put(old, "clusters", "old", new), "users", "other", {"token": "new"})

def writer(traced):
    if traced:
        ptrace(TRACEME, 0)
        os.kill(os.getpid(), signal.SIGSTOP)
    store._let_kubectl_fail = lambda took: None  # nobody comes here for whom the lock would be held on
    store.update(change, env=env)
    os._exit(0)

def after(stops):
    'Let a writer come as far as this stop and kill it there; False when it ended before.'
    child = os.fork()
    if child == 0:
        writer(True)
    os.waitpid(child, 0)
    for _ in range(stops):
        ptrace(SYSCALL, child)
        status = os.waitpid(child, 0)[1]
        if not os.WIFSTOPPED(status):
            assert status == 0, status
            return False
        assert os.WSTOPSIG(status) == signal.SIGTRAP, status
    os.kill(child, signal.SIGKILL)
    assert os.WIFSIGNALED(os.waitpid(child, 0)[1])
    return True

def tree():
    'Every file there is, by its path: its mode, what it points to or what it holds.'
    found = {}
    for directory in watched:
        for path in sorted(directory.rglob("*")):
            seen = path.lstat()
            if not stat.S_ISDIR(seen.st_mode):
                link = stat.S_ISLNK(seen.st_mode)
                content = os.readlink(path) if link else path.read_text() if seen.st_size else ""
                found[str(path)] = [stat.S_IMODE(seen.st_mode), link, content]
    return found

def restore(before):
    for path in set(tree()) - set(before):
        os.unlink(path)
    for path, (mode, link, content) in before.items():
        if not link:
            with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode), "w") as again:
                again.write(content)

before = tree()
stops = 1
while True:
    killed = after(stops)
    left = tree()
    for lock in {each + ".lock" for name in names for each in (name, os.path.realpath(name))}:
        if os.path.lexists(lock):
            os.unlink(lock)
    child = os.fork()
    if child == 0:
        writer(False)
    assert os.waitpid(child, 0)[1] == 0
    print(json.dumps({"killed": killed, "left": left, "next": tree()}))
    if not killed:
        break
    restore(before)
    stops += 2  # a writer stops before and after a call, and after one is before the next
"""


def old() -> Document:
    made = document.put(Document(), "clusters", "old", {"server": "https://old", "padding": "x" * 20_000})
    return document.put(made, "users", "secret", {"token": "secret"})


def other() -> Document:
    return document.put(Document(), "users", "other", {"token": "old"})


@pytest.mark.parametrize("case", ["file", "link", "none", "list"])
def test_a_writer_killed_at_any_system_call_leaves_old_or_new_files(tmp_path: Path, case: str) -> None:
    directory = tmp_path / "dir"
    directory.mkdir()
    path, second = directory / "config", directory / "second"
    real = path
    if case == "link":
        path, real = tmp_path / "config", directory / "real"
        path.symlink_to("dir/real")
    before: dict[Path, Document] = {} if case == "none" else {real: old()}
    if case == "list":
        before[second] = other()
    for file, content in before.items():
        file.write_bytes(document.dump(content))
        file.chmod(0o600)
    names = [str(path), *([str(second)] if case == "list" else [])]
    done = run([sys.executable, "-c", HARNESS, json.dumps(names), json.dumps([str(tmp_path)])], timeout=240)
    seen: list[dict[str, Any]] = [json.loads(line) for line in done.stdout.splitlines()]
    assert [each["killed"] for each in seen] == [True] * (len(seen) - 1) + [False]
    assert len(seen) > 40
    files = {str(file) for file in (real, *([second] if case == "list" else []))}
    new = seen[-1]["left"]
    assert set(new) == files | ({str(path)} if case == "link" else set())
    states = set()
    for each in seen:
        assert each["next"] == new, "the next writer comes to the same end"
        for name, (mode, link, content) in each["left"].items():
            if link:
                assert (name, content) == (str(path), "dir/real")
            elif name in files:
                was = before.get(Path(name))
                assert content in (new[name][2], was and document.dump(was).decode())
                assert mode == 0o600
            elif name.endswith(".lock"):
                assert content == ""
            else:
                assert name.endswith(".threezone"), "nothing else is left behind, and that is private"
                assert mode == 0o600
        states.add(tuple(name in each["left"] and each["left"][name] == new[name] for name in sorted(files)))
    # Each file is replaced at once; two of them one after the other, in their order.
    assert states == ({(False, False), (True, False), (True, True)} if case == "list" else {(False,), (True,)})


def test_the_lock_of_a_killed_writer_is_named_and_after_its_removal_all_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "config"
    kill = (
        "import os, signal, sys; from threezone.kubeconfig import store\n"
        "store.write_atomic = lambda *_: os.kill(os.getpid(), signal.SIGKILL)\n"
        "store.update(lambda old: store.document.with_current_context(old, 'x'), env={'KUBECONFIG': sys.argv[1]})\n"
    )
    assert run([sys.executable, "-c", kill, path], timeout=60, check=False).exit_code != 0
    lock = tmp_path / "config.lock"
    assert lock.exists()
    env = {"KUBECONFIG": str(path)}
    with pytest.raises(UsageError, match=rf"{lock} \(\d s old\)"):
        store.update(lambda old: document.with_current_context(old, "y"), env=env, timeout=0.1)
    os.utime(lock)
    with pytest.raises(UsageError, match="less than 1 s ago"):
        store.break_lock(env)
    os.utime(lock, (time.time() - 200, time.time() - 200))
    assert store.break_lock(env) == (f"removed {lock}, 3 min old",)
    assert store.break_lock(env) == ()
    assert store.update(lambda old: document.with_current_context(old, "y"), env=env)
