"""The one runner, on real programs: what else would show that nothing stays behind?"""

import os
import pty
import select
import signal
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pytest

from threezone.core import process, redaction, signals
from threezone.core.errors import CommandFailed, ToolError
from threezone.core.process import Running, run

pytestmark = pytest.mark.real_program


class Witness:
    """A named pipe that programs hold open for writing: its end of file proves that the last of them is gone."""

    def __init__(self, path: Path) -> None:
        os.mkfifo(path)
        self.path = path
        self._reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)

    def holds(self) -> bool:
        """Whether somebody has written, so that its end will mean something."""
        return bool(select.select([self._reader], [], [], 10)[0]) and os.read(self._reader, 100) != b""

    def all_gone(self) -> bool:
        select.select([self._reader], [], [], 5)  # reports nothing when nobody has opened it
        try:
            return os.read(self._reader, 100) == b""
        except BlockingIOError:
            return False

    def drain(self) -> None:
        """Read what was written, if anybody had the time to write."""
        with suppress(BlockingIOError):
            os.read(self._reader, 100)

    def close(self) -> None:
        os.close(self._reader)


@pytest.fixture
def witness(tmp_path: Path) -> Iterator[Witness]:
    made = Witness(tmp_path / "witness")
    yield made
    made.close()


@pytest.fixture
def secret(monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setattr(redaction, "_secrets", set())
    redaction.keep_secret("hunter2")
    return "hunter2"


def family(witness: Witness, *, stubborn: bool = False) -> str:
    """A shell script whose shell, child and grandchild all hold the witness; stubborn ones ignore SIGTERM."""
    trap = "trap '' TERM; " if stubborn else ""
    return f"{trap}exec 9>'{witness.path}'; echo here >&9; sh -c 'sleep 60 & sleep 60' & sleep 60"


def test_both_streams_and_the_exit_code_are_data() -> None:
    done = run(["sh", "-c", "echo out; echo err >&2; exit 3"], timeout=10, check=False)
    assert (done.exit_code, done.stdout, done.stderr) == (3, "out\n", "err\n")
    assert done.argv[0] == "sh"
    assert 0 < done.seconds < 10


@pytest.mark.parametrize("code", [1, 2, 127, 255])
def test_a_failure_is_ready_to_be_read(code: int) -> None:
    with pytest.raises(CommandFailed) as caught:
        run(["sh", "-c", f"echo told; echo why >&2; exit {code}"], timeout=10, hint="try again")
    failure = caught.value
    assert failure.program_exit_code == code
    assert failure.message == f"exit code {code}: sh -c 'echo told; echo why >&2; exit {code}'"
    assert sorted(failure.evidence.splitlines()) == ["told", "why"]
    assert failure.fix == "try again"


def test_a_signal_is_a_negative_exit_code() -> None:
    assert run(["sh", "-c", "kill -9 $$"], timeout=10, check=False).exit_code == -signal.SIGKILL


def test_the_tail_is_the_last_lines() -> None:
    with pytest.raises(CommandFailed) as caught:
        run(["sh", "-c", "seq 1000; exit 1"], timeout=10)
    assert caught.value.tail.splitlines() == [str(number) for number in range(971, 1001)]


def test_the_deadline_ends_the_whole_group(witness: Witness) -> None:
    with pytest.raises(CommandFailed) as caught:
        run(["sh", "-c", f"echo begun; {family(witness)}"], timeout=1)
    assert caught.value.program_exit_code is None
    assert caught.value.message.startswith("timed out after 1 s: sh -c ")
    assert caught.value.tail == "begun"
    assert witness.holds()
    assert witness.all_gone()


def test_the_deadline_ends_those_who_do_not_listen(witness: Witness, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "GRACE", 0.3)
    with pytest.raises(CommandFailed):
        run(["sh", "-c", family(witness, stubborn=True)], timeout=1)
    assert witness.holds()
    assert witness.all_gone()


def test_a_child_that_keeps_the_output_open_ends_with_the_deadline(witness: Witness) -> None:
    with pytest.raises(CommandFailed, match="timed out after 1 s"):
        run(["sh", "-c", f"exec 9>'{witness.path}'; echo here >&9; sleep 60 & exit 0"], timeout=1)
    assert witness.holds()
    assert witness.all_gone()


def ours(script: str) -> list[str]:
    """A Python of our own that runs `script` in the foreground."""
    return [sys.executable, "-c", f"from threezone.core.process import run\nrun(['sh', '-c', {script!r}], timeout=60)"]


def test_ctrl_c_leaves_no_process(witness: Witness) -> None:
    with Running(ours(family(witness))) as python:
        assert witness.holds()
        os.kill(python.pid, signal.SIGINT)  # to us alone: what we started is in a group of its own
        done = python.wait(20)
    assert done.exit_code == -signal.SIGINT
    assert "KeyboardInterrupt" in done.stderr
    assert witness.all_gone()


@pytest.mark.parametrize("number", signals.ENDING)
def test_a_signal_while_a_program_starts_waits_until_it_can_be_ended(witness: Witness, number: int) -> None:
    script = f"""
import os, signal, sh
from threezone.core import process, signals
signal.signal(signal.SIGHUP, signal.SIG_DFL)  # whoever runs the tests may ignore it
signals.end_on_signals()
made = sh.Command.__call__
def start(*args, **kwargs):
    os.kill(os.getpid(), {number:d})
    return made(*args, **kwargs)
sh.Command.__call__ = start
process.run(["sh", "-c", {family(witness)!r}], timeout=60)
"""
    done = run([sys.executable, "-c", script], timeout=30, check=False)
    assert "KeyboardInterrupt" in done.stderr
    assert "AttributeError" not in done.stderr
    witness.drain()
    assert witness.all_gone()


def test_a_closed_terminal_does_not_interrupt_the_clean_up(tmp_path: Path) -> None:
    script = """
import signal, sys, time
from pathlib import Path
from threezone.core import process, signals
signal.signal(signal.SIGHUP, signal.SIG_DFL)
signals.end_on_signals()
try:
    print("ready", flush=True)
    time.sleep(60)
finally:
    print("cleaning up", flush=True)
    Path(sys.argv[1]).write_text("clean")
"""
    pid, terminal = pty.fork()
    if pid == 0:
        os.execv(sys.executable, [sys.executable, "-c", script, str(tmp_path / "done")])  # noqa: S606
    assert b"ready" in os.read(terminal, 100)
    os.close(terminal)  # the kernel sends SIGHUP
    os.waitpid(pid, 0)
    assert (tmp_path / "done").read_text() == "clean"


def test_an_ignored_hang_up_stays_ignored() -> None:
    script = "from threezone.core import signals; import os, signal; signals.end_on_signals(); os.kill(os.getpid(), 1)"
    assert run(["nohup", sys.executable, "-c", script], timeout=30, check=False).exit_code == 0


if sys.platform == "linux":  # elsewhere nothing tells a program that its parent was killed

    def test_a_program_ends_with_us_when_we_are_killed(witness: Witness) -> None:
        with Running(ours(f"exec 9>'{witness.path}'; echo here >&9; exec sleep 60")) as python:
            assert witness.holds()
            os.kill(python.pid, signal.SIGKILL)
            assert witness.all_gone()

    def test_unless_it_may_outlive_us(witness: Witness) -> None:
        command = ours(f"exec 9>'{witness.path}'; echo here >&9; sleep 2; echo survived >&9")
        command[-1] = command[-1].replace("timeout=60", "timeout=60, outlives_us=True")
        with Running(command) as python:
            assert witness.holds()
            os.kill(python.pid, signal.SIGKILL)
            assert witness.holds()


def test_big_output_is_complete() -> None:
    done = run(["seq", "1000000"], timeout=60)
    assert done.stdout.count("\n") == 1_000_000
    assert done.stdout.endswith("\n1000000\n")


def test_a_partial_last_line_is_kept() -> None:
    lines: list[str] = []
    done = run(["printf", "one\ntwo"], timeout=10, on_line=lines.append)
    assert (done.stdout, lines) == ("one\ntwo", ["one", "two"])


def test_what_is_not_text_does_not_hurt() -> None:
    assert run(["printf", r"a\377b\n"], timeout=10).stdout == "a\ufffdb\n"


@pytest.mark.parametrize("text", ["", "word", "line\n" * 200_000, "grüße\n"])
def test_input_arrives_whole(text: str) -> None:
    assert run(["cat"], timeout=30, stdin=text).stdout == text


def test_without_input_a_program_reads_nothing_and_goes_on() -> None:
    assert run(["sh", "-c", "read -r answer; echo [$answer]"], timeout=10).stdout == "[]\n"


def test_lines_come_while_the_program_runs(tmp_path: Path) -> None:
    sign = tmp_path / "seen"
    script = f"echo ready; while ! [ -e '{sign}' ]; do sleep 0.05; done; echo went on"
    done = run(["sh", "-c", script], timeout=20, on_line=lambda line: sign.touch() if line == "ready" else None)
    assert done.stdout == "ready\nwent on\n"


def test_a_failing_listener_is_heard_of_and_costs_no_output(tmp_path: Path) -> None:
    def listener(line: str) -> None:
        raise ValueError(f"cannot take {line}")

    with pytest.raises(ValueError, match="cannot take 1"):
        run(["sh", "-c", f"seq 3; touch '{tmp_path}/end'"], timeout=10, on_line=listener)
    assert (tmp_path / "end").exists()


def test_the_environment_is_ours_with_changes(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("KEPT", "1")
    monkeypatch.setenv("DROPPED", "2")
    script = 'echo "$KEPT ${DROPPED-gone} $ADDED"; pwd'
    done = run(["sh", "-c", script], timeout=10, env={"DROPPED": None, "ADDED": "3"}, cwd=tmp_path)
    assert done.stdout == f"1 gone 3\n{tmp_path}\n"


def test_a_missing_program_is_named() -> None:
    with pytest.raises(ToolError, match="the program no-such-program is not on PATH"):
        run(["no-such-program"], timeout=10)


def test_programs_are_looked_up_in_the_path_that_they_will_see(tmp_path: Path) -> None:
    (tmp_path / "greet").write_text("#!/bin/sh\necho hello\n")
    (tmp_path / "greet").chmod(0o755)
    assert run(["greet"], timeout=10, env={"PATH": str(tmp_path)}).stdout == "hello\n"
    with pytest.raises(ToolError):
        run(["sh", "-c", "true"], timeout=10, env={"PATH": str(tmp_path)})


def test_what_cannot_be_started_says_why(tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    broken.write_bytes(b"\x00not a program for this machine")
    broken.chmod(0o755)
    with pytest.raises(ToolError, match=r"broken cannot be started: .*Exec format error"):
        run([broken], timeout=10)


def test_arguments_arrive_as_they_are() -> None:
    arguments = ["a b", "$HOME", "`id`", "*", "'", '"', "", "-x", "ü", "a\nb"]
    assert run(["printf", r"%s\0", *arguments], timeout=10).stdout.split("\0")[:-1] == arguments


def test_secrets_are_shown_nowhere_and_stay_in_the_data(secret: str) -> None:
    lines: list[str] = []
    with pytest.raises(CommandFailed) as caught:
        run(["sh", "-c", f"echo is {secret}; exit 1"], timeout=10, on_line=lines.append)
    shown = "\n".join([str(caught.value), caught.value.evidence, *caught.value.argv, *lines])
    assert secret not in shown
    assert "is ***" in caught.value.evidence
    assert secret not in process.paste(["curl", secret])
    assert run(["echo", secret], timeout=10).stdout == f"{secret}\n"


def test_a_secret_inside_another_uncovers_nothing(secret: str) -> None:
    redaction.keep_secret(f"{secret}-and-more")
    redaction.keep_secret("")
    assert redaction.redact(f"a {secret}-and-more, a {secret}") == "a ***, a ***"


def test_a_background_program_ends_with_its_block(witness: Witness) -> None:
    with Running(["sh", "-c", family(witness)]) as background:
        alive = background.alive
        assert witness.holds()
    assert (alive, background.alive) == (True, False)
    assert witness.all_gone()
    background.stop()  # once more does no harm


def test_a_background_program_ends_with_its_block_when_that_fails(witness: Witness) -> None:
    def work() -> None:
        with Running(["sh", "-c", family(witness)]):
            assert witness.holds()
            raise RuntimeError("in the block")

    with pytest.raises(RuntimeError, match="in the block"):
        work()
    assert witness.all_gone()


def test_a_background_program_that_ended_still_has_its_data() -> None:
    with Running(["sh", "-c", "echo gone; exit 4"]) as background:
        done = background.wait(10)
    assert (done.exit_code, done.stdout, background.tail) == (4, "gone\n", "gone")


def test_many_at_once_do_not_mix() -> None:
    def one(number: int) -> str:
        return run(["sh", "-c", f"echo {number}; sleep 0.1; printf {number}"], timeout=20).stdout

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(one, range(32))) == [f"{number}\n{number}" for number in range(32)]


def test_nothing_leaks() -> None:
    def held() -> tuple[int, int]:
        return len(list(Path("/dev/fd").iterdir())), threading.active_count()

    run(["true"], timeout=10)
    before = held()
    for _ in range(30):
        run(["true"], timeout=10)
    deadline = time.monotonic() + 5
    while any(now > then for now, then in zip(held(), before, strict=True)) and time.monotonic() < deadline:
        time.sleep(0.05)  # timers and readers end a moment after the program
    assert all(now <= then for now, then in zip(held(), before, strict=True)), (before, held())


def test_a_command_can_be_pasted() -> None:
    assert process.paste(["kubectl", "get", Path("a b"), "--raw=$x"]) == "kubectl get 'a b' '--raw=$x'"
