"""A writer is killed at every line of its way: the file is the old or the new one, and the next writer goes on."""

import json
import stat
import sys
from pathlib import Path

import pytest

from threezone.errors import UsageError
from threezone.kubeconfig import document, store
from threezone.kubeconfig.document import Document
from threezone.process import run

# Forks a writer per line of store.py that a write goes through, and kills it before that line runs.
HARNESS = """
import json, os, signal, sys
from threezone.kubeconfig import document, store

path, scratch = sys.argv[1:]
env = {"KUBECONFIG": path}

def change(old):
    return document.put(old, "clusters", "new", {"server": "https://new"})

def writer(line):
    left = line
    def trace(frame, event, arg):
        nonlocal left
        if frame.f_code.co_filename != store.__file__:
            return None
        if event == "line":
            left -= 1
            if left < 0:
                os.kill(os.getpid(), signal.SIGKILL)
        return trace
    sys.settrace(trace)
    store.update(change, env=env)
    sys.settrace(None)
    os._exit(0)

old = open(path, "rb").read() if os.path.exists(path) else None
line = 0
while True:
    child = os.fork()
    if child == 0:
        writer(line)
    status = os.waitpid(child, 0)[1]
    now = open(path, "rb").read() if os.path.exists(path) else None
    real = os.path.realpath(path)
    print(json.dumps({
        "killed": os.WIFSIGNALED(status), "old": now == old, "content": now and now.decode(),
        "mode": os.stat(real).st_mode if now else None, "link": os.path.islink(path),
        "beside": sorted(os.listdir(os.path.dirname(real))),
    }))
    if not os.WIFSIGNALED(status):
        break
    for lock in (path + ".lock", real + ".lock"):
        if os.path.lexists(lock):
            os.unlink(lock)
    if now != old:
        os.unlink(real)
        if old is not None:
            with open(os.open(real, os.O_WRONLY | os.O_CREAT, 0o600), "wb") as again:
                again.write(old)
    line += 1
"""


@pytest.mark.parametrize("case", ["file", "link", "none"])
def test_a_killed_writer_leaves_the_old_or_the_new_file(tmp_path: Path, case: str) -> None:
    directory = tmp_path / "dir"
    directory.mkdir()
    path = directory / "config"
    if case == "link":
        path = tmp_path / "config"
        path.symlink_to(directory / "real")
    before = document.put(Document(), "clusters", "old", {"server": "https://old", "padding": "x" * 100_000})
    if case != "none":
        path.write_bytes(document.dump(before))
        path.chmod(0o600)
    wanted = document.put(before if case != "none" else Document(), "clusters", "new", {"server": "https://new"})
    done = run([sys.executable, "-c", HARNESS, path, tmp_path], timeout=240)
    seen = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(seen) > 60
    assert [each["killed"] for each in seen] == [True] * (len(seen) - 1) + [False]
    for each in seen:
        assert each["old"] or each["content"] == document.dump(wanted).decode()
        assert each["mode"] is None or stat.S_IMODE(each["mode"]) == 0o600
        assert each["link"] == (case == "link")
    assert {each["old"] for each in seen} == {True, False}
    # What killed writers left behind (a temporary file with keys in it) went with the next write.
    assert seen[-1]["beside"] == [path.resolve().name]


def test_the_lock_of_a_killed_writer_is_named_and_after_its_removal_all_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "config"
    kill = (
        "import os, signal, sys; from threezone.kubeconfig import store\n"
        "store._write = lambda *_: os.kill(os.getpid(), signal.SIGKILL)\n"
        "store.update(lambda old: store.document.with_current_context(old, 'x'), env={'KUBECONFIG': sys.argv[1]})\n"
    )
    assert run([sys.executable, "-c", kill, path], timeout=60, check=False).exit_code != 0
    lock = tmp_path / "config.lock"
    assert lock.exists()
    env = {"KUBECONFIG": str(path)}
    with pytest.raises(UsageError, match=rf"{lock} is there, \d s old"):
        store.update(lambda old: document.with_current_context(old, "y"), env=env, timeout=0.1)
    lock.unlink()
    assert store.update(lambda old: document.with_current_context(old, "y"), env=env)
