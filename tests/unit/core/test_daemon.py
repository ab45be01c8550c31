"""Daemons on real programs: found again, never mistaken for another process, and gone when they are stopped."""

import json
import os
import signal
import socket
import stat
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace

import psutil
import pytest

from threezone.core import daemon, process, redaction
from threezone.core.daemon import Daemon
from threezone.core.errors import CommandFailed, ToolError, UsageError
from threezone.core.loopback import is_free

pytestmark = pytest.mark.real_program


@pytest.fixture(autouse=True)
def _none_left() -> Iterator[None]:
    yield
    for running in daemon.all():
        daemon.stop(running.name)


@pytest.fixture(autouse=True)
def _short_grace(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(daemon, "GRACE", 1.0)


def sleeper(name: str = "sleeper", script: str = "sleep 60", **facts: str) -> Daemon:
    """A daemon that is ready once its shell runs the script."""
    sign = daemon._directory() / f"{name}.sign"
    sign.unlink(missing_ok=True)
    argv = ["sh", "-c", f"touch '{sign}'; {script}"]
    return daemon.start(name, argv, ready=sign.exists, timeout=20, facts=facts)


def runs(pid: int) -> bool:
    return daemon._start_time(pid) != ""


def until(truth: object) -> bool:
    assert callable(truth)
    deadline = time.monotonic() + 10
    while not truth() and time.monotonic() < deadline:
        time.sleep(0.02)
    return bool(truth())


def test_a_daemon_is_found_by_its_name_until_it_is_stopped() -> None:
    made = sleeper(port="6443")
    assert daemon.find("sleeper") == made
    assert made.facts == {"port": "6443"}
    assert daemon.all() == (made,)
    assert daemon.stop("sleeper") is True
    assert not runs(made.pid)
    assert daemon.find("sleeper") is None
    assert daemon.stop("sleeper") is False


def test_it_goes_on_after_the_task_that_started_it() -> None:
    script = (
        "from threezone.core import daemon\n"
        "print(daemon.start('after', ['sleep', '60'], ready=lambda: True, timeout=20).pid)\n"
    )
    pid = int(process.run([sys.executable, "-c", script], timeout=60).stdout)
    found = daemon.find("after")
    assert found is not None
    assert found.pid == pid
    assert daemon.stop("after")
    assert not runs(pid)


def test_it_has_a_session_of_its_own_no_input_and_nothing_else_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOME_PASSWORD", "hunter2")
    with socket.socket() as inherited:
        os.set_inheritable(inherited.fileno(), True)  # as what a pipeline leaves open for us
        script = "env; ls /dev/fd; cat; echo end of input; exec sleep 60"
        path = daemon._file("alone", "log")
        made = daemon.start(
            "alone",
            ["sh", "-c", script],
            env={"ADDED": "1"},
            ready=lambda: "end of input" in path.read_text(),
            timeout=20,
        )
    printed = made.log.read_text().splitlines()
    assert "ADDED=1" in printed
    assert f"HOME={os.environ['HOME']}" in printed
    assert not [line for line in printed if "SOME_PASSWORD" in line]
    assert {line for line in printed if line.isdigit()} <= {"0", "1", "2", "3"}  # 3 is ls reading the directory
    assert os.getsid(made.pid) == made.pid != os.getsid(0)
    assert stat.S_IMODE(made.log.stat().st_mode) == 0o600
    assert stat.S_IMODE(daemon._file("alone", "json").stat().st_mode) == 0o600


def test_a_signal_that_python_ignores_ends_it() -> None:
    made = sleeper()
    os.kill(made.pid, signal.SIGPIPE)  # ignored by us, and what is ignored is inherited
    assert until(lambda: daemon.find("sleeper") is None)


def test_a_reused_process_id_is_never_taken_for_ours_and_never_ended() -> None:
    made, other = sleeper(), sleeper("other")
    while other.started == made.started:  # both within one tick of the kernel's clock, 10 ms: too soon for a reused id
        daemon.stop("other")
        other = sleeper("other")
    # What a reboot or a long time brings: the id of our record is somebody else's now.
    daemon._write(replace(made, pid=other.pid))
    assert daemon.find("sleeper") is None
    daemon._write(replace(made, pid=other.pid))
    assert daemon.stop("sleeper") is False
    assert runs(other.pid)
    again = sleeper()
    assert again.pid not in (made.pid, other.pid)
    assert daemon.find("sleeper") == again
    daemon._end(made)


def test_setting_the_clock_does_not_change_when_a_process_started(monkeypatch: pytest.MonkeyPatch) -> None:
    """As a laptop does that was asleep: psutil's own start is in the time of day."""
    made = sleeper()
    create_time, boot_time = psutil.Process.create_time, psutil.boot_time
    monkeypatch.setattr(psutil.Process, "create_time", lambda process: create_time(process) + 3600)
    monkeypatch.setattr(psutil, "boot_time", lambda: boot_time() + 3600)
    assert daemon.find("sleeper") == made


def test_the_record_of_a_dead_daemon_cleans_itself() -> None:
    made = sleeper()
    record = daemon._file("sleeper", "json")
    os.killpg(made.pid, signal.SIGKILL)
    assert until(lambda: daemon.find("sleeper") is None)
    assert not record.exists()
    assert daemon.all() == ()


@pytest.mark.parametrize("content", ["", "{", "[]", "null", '{"pid": 1}', '{"pid": "one"}'])
def test_a_record_that_cannot_be_read_names_nobody(content: str) -> None:
    daemon._file("broken", "json").write_text(content)
    assert daemon.find("broken") is None
    assert not daemon._file("broken", "json").exists()


def test_process_one_is_not_ended_for_a_record_without_a_start(monkeypatch: pytest.MonkeyPatch) -> None:
    ended: list[Daemon] = []
    monkeypatch.setattr(daemon, "_end", ended.append)
    daemon._write(Daemon("empty", 2**22 + 1, (), 0.0, {}, ""))  # above pid_max: no such process, and no start
    assert daemon.stop("empty") is False
    assert ended == []


def test_state_that_is_shared_shows_each_machine_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    here = sleeper()
    with monkeypatch.context() as elsewhere:
        elsewhere.setattr(daemon, "_boot", lambda: "another machine's")
        assert daemon.find("sleeper") is None
        assert daemon.stop("sleeper") is False
        there = sleeper()
        assert there.pid != here.pid
        assert daemon.stop("sleeper") is True
    assert daemon.find("sleeper") == here


def test_another_name_of_the_host_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    here = sleeper()
    monkeypatch.setattr(socket, "gethostname", lambda: "named-by-dhcp")
    assert daemon.find("sleeper") == here
    assert daemon.stop("sleeper") is True


def test_one_that_dies_at_its_start_is_reported_with_the_end_of_its_log() -> None:
    with pytest.raises(CommandFailed) as caught:
        daemon.start("dies", ["sh", "-c", "echo the reason >&2; exit 3"], ready=lambda: False, timeout=20)
    assert caught.value.program_exit_code == 3
    assert caught.value.evidence == "the reason"
    assert daemon.all() == ()


def test_one_that_is_not_ready_in_time_is_ended() -> None:
    with pytest.raises(ToolError, match="slow is not ready after 1 s") as caught:
        daemon.start("slow", ["sh", "-c", "echo still busy; echo $$; sleep 60"], ready=lambda: False, timeout=1)
    words, pid = caught.value.evidence.splitlines()
    assert words == "still busy"
    assert not runs(int(pid))
    assert not daemon._file("slow", "json").exists()


def test_what_ready_raises_ends_it() -> None:
    pids = []

    def ready() -> bool:
        assert daemon.find("hopeless") is None  # not yet for others
        found = daemon._read("hopeless")
        assert found is not None
        pids.append(found.pid)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        daemon.start("hopeless", ["sleep", "60"], ready=ready, timeout=20)
    assert not runs(pids[0])


def test_a_program_that_is_not_there_is_named() -> None:
    with pytest.raises(ToolError, match="the program no-such-program is not on PATH"):
        daemon.start("missing", ["no-such-program"], ready=lambda: True, timeout=20)


@pytest.mark.parametrize("name", ["", "../up", "a/b", ".hidden", "a b"])
def test_a_name_is_a_file_name(name: str) -> None:
    with pytest.raises(UsageError):
        daemon.find(name)


def test_of_many_starts_at_once_one_wins_and_all_return_it() -> None:
    def one(number: int) -> Daemon:
        return daemon.start("race", ["sh", "-c", f"echo {number}; sleep 60"], ready=log.exists, timeout=20)

    log = daemon._file("race", "log")
    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(one, range(8)))
    assert len(set(map(repr, made))) == 1
    assert runs(made[0].pid)


def test_one_whose_starter_was_killed_before_it_was_ready_is_replaced() -> None:
    script = (
        "from threezone.core import daemon\ndaemon.start('orphan', ['sleep', '60'], ready=lambda: False, timeout=60)"
    )
    with process.Running([sys.executable, "-c", script]) as starter:
        assert until(lambda: daemon._read("orphan"))
        os.kill(starter.pid, signal.SIGKILL)
        starter.wait(20)
    orphan = daemon._read("orphan")
    assert orphan is not None
    assert daemon.find("orphan") is None
    made = daemon.start("orphan", ["sleep", "60"], ready=lambda: True, timeout=20)
    assert daemon.find("orphan") == made != orphan
    assert not runs(orphan.pid)


def test_stopping_ends_the_whole_group_even_those_who_do_not_listen() -> None:
    made = sleeper(script="trap '' TERM; sh -c 'trap \"\" TERM; sleep 60' & sleep 60 & wait")

    def children() -> list[psutil.Process]:
        return psutil.Process(made.pid).children(recursive=True)

    assert until(lambda: [child.name() for child in children()].count("sleep") == 2)
    members = [made.pid, *(child.pid for child in children())]
    assert daemon.stop("sleeper")
    assert [pid for pid in members if runs(pid)] == []


# Its first thread ends: the process is a zombie to ps, and its other thread still has the port.
HALF_ENDED = """
import ctypes, pathlib, signal, socket, sys, threading, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
listening = socket.create_server(("127.0.0.1", 0))
def work():
    pathlib.Path(sys.argv[1]).write_text(str(listening.getsockname()[1]))
    time.sleep(60)
threading.Thread(target=work).start()
ctypes.CDLL(None).pthread_exit(None)
"""


def test_a_process_runs_while_one_of_its_threads_does() -> None:
    sign = daemon._directory() / "sign"
    made = daemon.start("half", [sys.executable, "-c", HALF_ENDED, str(sign)], ready=sign.exists, timeout=20)
    assert until(lambda: psutil.Process(made.pid).status() == psutil.STATUS_ZOMBIE)
    assert not is_free(int(sign.read_text()))
    assert daemon.find("half") == made
    assert daemon.stop("half")
    assert is_free(int(sign.read_text()))


def test_only_the_one_that_was_meant_is_stopped() -> None:
    made = sleeper()
    assert daemon.stop("sleeper", pid=made.pid + 1) is False
    assert daemon.find("sleeper") == made
    assert daemon.stop("sleeper", pid=made.pid) is True


def test_no_secret_is_in_the_record(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(redaction, "_secrets", set())
    redaction.keep_secret("hunter2")
    made = daemon.start("secret", ["sh", "-c", "echo hunter2; sleep 60", "hunter2"], ready=lambda: True, timeout=20)
    assert "hunter2" not in daemon._file("secret", "json").read_text()
    assert "hunter2" not in json.dumps(asdict(made))
    assert until(lambda: daemon.tail("secret") == "***")
