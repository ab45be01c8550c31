"""Start programs from argument lists, each in a process group with a deadline. Built on `sh`.

A deadline, Ctrl-C, SIGTERM or SIGHUP ends the whole group. Output is redacted before it is shown. A failure raises
`CommandFailed`.
"""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from threezone.core.errors import CommandFailed, ToolError
from threezone.core.redaction import redact
from threezone.core.signals import delayed_signals

TAIL_LINES = 30
GRACE = 5.0  # seconds between asking a group to end and killing it


# Python 3.12 and later fork once at a time: there, filelock's hook refuses a fork while another thread is forking. With
# 3.11 the lock would only double the time to start several programs.
_fork_lock: AbstractContextManager[object] = threading.Lock() if sys.version_info >= (3, 12) else nullcontext()


@dataclass(frozen=True)
class Completed:
    """A program that has ended. `stdout` and `stderr` are not redacted: do not print them."""

    argv: tuple[str, ...]
    exit_code: int
    stdout: str
    stderr: str
    seconds: float


class MissingProgram(ToolError):
    """A program of the system is not on PATH."""


def find(program: str | Path, env: Mapping[str, str] | None = None) -> Path | None:
    """The program's absolute path, or None; it is looked up in the PATH of `env`, by default ours."""
    path = shutil.which(str(program), path=(env or os.environ).get("PATH"))
    return Path(path).absolute() if path else None


def _require(program: str | Path, env: Mapping[str, str]) -> Path:
    if path := find(program, env):
        return path
    raise MissingProgram(
        f"the program {program} is not on PATH", fix=f"install {program}, or add its directory to PATH"
    )


def _environment(changes: Mapping[str, str | None] | None) -> dict[str, str]:
    merged = {**os.environ, **(changes or {})}
    return {key: value for key, value in merged.items() if value is not None}


def _die_with_parent() -> None:
    """Ask Linux to kill this program when we die, even by kill -9, so that it does not disturb the next run."""
    import ctypes

    ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG, prctl(2)


class Running:
    """A program in the background, in its own process group. Use it as a context manager, or call `stop`.

    On Linux it ends with the thread that started it (for prctl(2) the parent is a thread), unless it `outlives_us`.
    A number as `stdin` is an open file descriptor. Raises `ToolError` when it is missing or cannot be started.
    """

    def __init__(
        self,
        argv: Sequence[str | Path],
        *,
        cwd: Path | None = None,
        env: Mapping[str, str | None] | None = None,
        stdin: str | bytes | int | None = None,
        on_line: Callable[[str], None] | None = None,
        outlives_us: bool = False,
    ) -> None:
        import sh

        self.argv = tuple(str(part) for part in argv)
        environment = _environment(env)
        program = _require(self.argv[0], environment)
        self.started = time.monotonic()
        self._stdout: list[str] = []
        self._stderr: list[str] = []
        self._tail: deque[str] = deque(maxlen=TAIL_LINES)
        self._line_error: Exception | None = None  # raised by on_line, in sh's thread

        def collect(into: list[str]) -> Callable[[str], None]:
            def line(text: str) -> None:
                into.append(text)
                self._tail.append(text)
                if on_line is None or self._line_error is not None:
                    return
                try:
                    on_line(redact(text.rstrip("\n")))
                except Exception as error:  # noqa: BLE001 - `wait` raises it; raised here, it would stop the reading
                    self._line_error = error

            return line

        options: dict[str, Any] = {
            "_bg": True,
            "_bg_exc": False,
            "_new_session": True,
            "_env": environment,
            "_out": collect(self._stdout),
            "_err": collect(self._stderr),
            "_no_out": True,
            "_no_err": True,
            "_no_pipe": True,
            "_tty_out": False,
            "_encoding": "utf-8",
            "_decode_errors": "replace",
            "_ok_code": range(256),
            "_return_cmd": True,
        }
        if cwd is not None:
            options["_cwd"] = str(cwd)
        if not outlives_us and sys.platform == "linux":
            options["_preexec_fn"] = _die_with_parent
        # By default an empty input: a program must never wait for the user's keyboard.
        options["_in"] = b"" if stdin is None else stdin
        try:
            with delayed_signals(), _fork_lock:
                self._command = sh.Command(str(program))(*self.argv[1:], **options)
                self.pid: int = self._command.pid
        except sh.ForkException as error:
            cause = str(error).strip().splitlines()[-1].strip()
            raise ToolError(f"{program} cannot be started: {cause}", evidence=paste(self.argv)) from None
        except KeyboardInterrupt:
            self.stop()
            raise

    @property
    def alive(self) -> bool:
        """Whether the program still runs."""
        return bool(self._command.is_alive())

    @property
    def tail(self) -> str:
        """The last lines of output so far, redacted."""
        return redact("".join(self._tail)).rstrip()

    def wait(self, timeout: float) -> Completed:
        """Wait for the end. After `timeout` seconds, or on Ctrl-C, end the whole group and raise.

        A timer ends the group, because `sh`'s own timeout polls and may return before the last output was read.
        """
        overdue = threading.Event()

        def expire() -> None:
            overdue.set()
            self._end_group()

        timer = threading.Timer(max(0.0, timeout - (time.monotonic() - self.started)), expire)
        timer.daemon = True
        try:
            timer.start()
            exit_code = int(self._command.process.wait())
        except BaseException:
            self.stop()
            raise
        finally:
            timer.cancel()
        if overdue.is_set():
            raise CommandFailed([redact(part) for part in self.argv], None, self.tail, seconds=timeout)
        if self._line_error is not None:
            raise self._line_error
        seconds = time.monotonic() - self.started
        return Completed(self.argv, exit_code, "".join(self._stdout), "".join(self._stderr), seconds)

    def stop(self) -> None:
        """End the group and collect its exit status."""
        self._end_group()
        self._command.process.wait()

    def _end_group(self) -> None:
        end_group(self.pid, self._group_exists, GRACE)

    def _group_exists(self) -> bool:
        try:
            os.killpg(self.pid, 0)
        except (ProcessLookupError, PermissionError):
            return bool(self._command.is_alive())
        return True

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


def end_group(group: int, exists: Callable[[], bool], grace: float) -> None:
    """Ask a process group to end, and kill it after `grace` seconds; `exists` says whether it still runs."""
    for signal_number in (signal.SIGTERM, signal.SIGKILL):
        if not exists():
            return
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(group, signal_number)
        deadline = time.monotonic() + grace
        while exists() and time.monotonic() < deadline:
            time.sleep(0.02)  # a process group cannot be waited for


def run(
    argv: Sequence[str | Path],
    *,
    timeout: float,
    cwd: Path | None = None,
    env: Mapping[str, str | None] | None = None,
    stdin: str | bytes | None = None,
    check: bool = True,
    hint: str = "",
    on_line: Callable[[str], None] | None = None,
    outlives_us: bool = False,
) -> Completed:
    """Run a program to its end.

    `timeout` is in seconds, `env` has changes to our environment (None unsets). `on_line` receives each line of output,
    redacted. The program ends with us, unless it `outlives_us` (as a package manager must). With `check`, a non-zero
    exit raises `CommandFailed` with `hint` as its fix. Raises `ToolError` when the program is missing or cannot be
    started, and any exception of `on_line`.
    """
    running = Running(argv, cwd=cwd, env=env, stdin=stdin, on_line=on_line, outlives_us=outlives_us)
    done = running.wait(timeout)
    if check and done.exit_code != 0:
        shown = [redact(part) for part in done.argv]
        raise CommandFailed(shown, done.exit_code, running.tail, seconds=done.seconds, hint=hint)
    return done


def run_in_foreground(argv: Sequence[str | Path], *, env: Mapping[str, str | None] | None = None) -> int:
    """Run a program that a person uses, such as an editor, on our terminal. Returns its exit code.

    It has our input, output and process group, so that it may read the keyboard; there is no deadline. It ends with us,
    except for a kill -9. Raises `ToolError` when it is missing.
    """
    environment = _environment(env)
    program = _require(argv[0], environment)
    process_id = os.posix_spawn(program, [str(part) for part in argv], environment, setsigdef=(signal.SIGPIPE,))
    try:
        return os.waitstatus_to_exitcode(os.waitpid(process_id, 0)[1])
    except KeyboardInterrupt:
        with suppress(ProcessLookupError):
            os.kill(process_id, signal.SIGTERM)
        os.waitpid(process_id, 0)
        raise


def start_detached(argv: Sequence[str | Path], *, env: Mapping[str, str], log: Path) -> int:
    """Start a program that continues after our end. Returns its process id, which is also its group's.

    It has its own session, an empty input, `env` as its whole environment and none of our open files. Its output is
    appended to `log` (0600). Only daemon.py calls this. Raises `ToolError` when it is missing or cannot be started.
    """
    program = _require(argv[0], env)
    with ExitStack() as open_files:
        empty = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
        open_files.callback(os.close, empty)
        output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        open_files.callback(os.close, output)
        try:
            return os.posix_spawn(
                program,
                [str(part) for part in argv],
                env,
                file_actions=[
                    (os.POSIX_SPAWN_DUP2, empty, 0),
                    (os.POSIX_SPAWN_DUP2, output, 1),
                    (os.POSIX_SPAWN_DUP2, output, 2),
                    *((os.POSIX_SPAWN_CLOSE, descriptor) for descriptor in _inherited_files()),
                ],
                setsid=True,
                setsigmask=(),
                # Ignored signals are inherited: Python ignores SIGPIPE, a shell's background job SIGINT.
                setsigdef=(signal.SIGPIPE, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM, signal.SIGHUP),
            )
        except OSError as error:
            raise ToolError(f"{program} cannot be started: {error.strerror}", evidence=paste(argv)) from None


def _inherited_files() -> list[int]:
    """The open files that a child would inherit from our parent. A daemon with an open pipe would block a pipeline."""
    inherited = []
    for path in Path("/dev/fd").iterdir():
        with suppress(OSError):  # the descriptor of this directory
            if (descriptor := int(path.name)) > 2 and os.get_inheritable(descriptor):  # noqa: PLR2004
                inherited.append(descriptor)
    return inherited


def paste(argv: Sequence[str | Path]) -> str:
    """The command to paste into a shell, redacted."""
    return redact(shlex.join(str(part) for part in argv))


def browse(url: str) -> bool:
    """Open a page in the browser. Returns False without a browser."""
    import webbrowser

    return webbrowser.open(url)
