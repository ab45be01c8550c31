"""The one place that starts a program: argument lists, a process group of its own, a deadline, redaction.

Built on `sh` (its fork, pipes and line callbacks); what is added here is what the house needs everywhere: the whole
group is ended on a deadline or Ctrl-C, output is data, and a failure is a `CommandFailed` ready to be read.
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
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from threezone.core.errors import CommandFailed, ToolError

TAIL_LINES = 30
GRACE = 5.0  # seconds between asking a group to end and ending it

_secrets: set[str] = set()

# One fork at a time: on a newer Python, filelock's hook refuses a fork while another thread is forking. With 3.11 that
# does not happen, and waiting for one another would make programs that start together twice as slow to start.
_starting: AbstractContextManager[object] = threading.Lock() if sys.version_info >= (3, 12) else nullcontext()


def keep_secret(value: str) -> None:
    """From now on show `value` as *** in every command line, tail and streamed line."""
    if value:
        _secrets.add(value)


def redact(text: str) -> str:
    """`text` with every known secret replaced; the longest first, for one may be a part of another."""
    for value in sorted(_secrets, key=len, reverse=True):
        text = text.replace(value, "***")
    return text


@dataclass(frozen=True)
class Completed:
    """A program that ended. `stdout` and `stderr` are complete and not redacted: they are data, do not print them."""

    argv: tuple[str, ...]
    exit_code: int
    stdout: str
    stderr: str
    seconds: float


def find(program: str | Path, env: Mapping[str, str] | None = None) -> Path | None:
    """The program's absolute path as PATH (of `env`, else ours) finds it, or None."""
    found = shutil.which(str(program), path=(env or os.environ).get("PATH"))
    return Path(found).absolute() if found else None


def _environment(changes: Mapping[str, str | None] | None) -> dict[str, str]:
    merged: dict[str, str] = dict(os.environ)
    for key, value in (changes or {}).items():
        if value is None:
            merged.pop(key, None)
        else:
            merged[key] = value
    return merged


def _die_with_parent() -> None:
    """Ask Linux to end this program when we die, even by kill -9: a rerun must not meet what we had started."""
    import ctypes

    ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG, prctl(2)


@contextmanager
def _later_interrupt() -> Iterator[None]:
    """Let Ctrl-C wait for the end of the block: a program that is just starting has nobody yet who could end it."""
    if threading.current_thread() is not threading.main_thread():  # only there it is raised
        yield
        return
    came: list[int] = []
    before = signal.signal(signal.SIGINT, lambda number, _: came.append(number))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
    for number in came[:1]:
        signal.raise_signal(number)


class Running:
    """A program in the background, in a process group of its own. Use as a context manager, or call `stop`.

    On Linux it ends when the thread that started it ends (for prctl(2) the parent is a thread, not a process), so start
    it where it is used, unless it `outlives_us`. Raises `ToolError` when it is not there or cannot be started.
    """

    def __init__(
        self,
        argv: Sequence[str | Path],
        *,
        cwd: Path | None = None,
        env: Mapping[str, str | None] | None = None,
        stdin: str | bytes | None = None,
        on_line: Callable[[str], None] | None = None,
        outlives_us: bool = False,
    ) -> None:
        import sh

        self.argv = tuple(str(part) for part in argv)
        environment = _environment(env)
        program = find(self.argv[0], environment)
        if program is None:
            raise ToolError(
                f"the program {self.argv[0]} is not on PATH", fix="./run invoke tools.install, or install it"
            )
        self.started = time.monotonic()
        self._stdout: list[str] = []
        self._stderr: list[str] = []
        self._tail: deque[str] = deque(maxlen=TAIL_LINES)
        self._trouble: Exception | None = None  # what on_line raised, in sh's thread

        def collect(into: list[str]) -> Callable[[str], None]:
            def line(text: str) -> None:
                into.append(text)
                self._tail.append(text)
                if on_line is None or self._trouble is not None:
                    return
                try:
                    on_line(redact(text.rstrip("\n")))
                except Exception as error:  # noqa: BLE001 - `wait` raises it; here it would only cut the output short
                    self._trouble = error

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
        # Without an input of its own a program gets an empty one: it must never wait for the user's keyboard.
        options["_in"] = stdin or b""
        try:
            with _later_interrupt(), _starting:
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
        """Wait for the end, at most `timeout` seconds; then, or on Ctrl-C, end the whole group and raise.

        `sh`'s own wait with a timeout polls every 0.1 s and may return before the last output was read; a timer that
        ends the group and a blocking wait have neither fault.
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
        if self._trouble is not None:
            raise self._trouble
        seconds = time.monotonic() - self.started
        return Completed(self.argv, exit_code, "".join(self._stdout), "".join(self._stderr), seconds)

    def stop(self) -> None:
        """Ask the group to end, end it after a grace period, and collect what is left of it."""
        self._end_group()
        self._command.process.wait()

    def _end_group(self) -> None:
        for sign in (signal.SIGTERM, signal.SIGKILL):
            try:
                os.killpg(self.pid, sign)
            except (ProcessLookupError, PermissionError):
                return
            deadline = time.monotonic() + GRACE
            while time.monotonic() < deadline:
                if not (self._command.is_alive() or self._group_exists()):
                    return
                time.sleep(0.02)  # a process group cannot be waited for, only asked

    def _group_exists(self) -> bool:
        try:
            os.killpg(self.pid, 0)
        except (ProcessLookupError, PermissionError):
            return False
        return True

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


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

    `argv` is an argument list (never a shell string), `timeout` a deadline in seconds for the whole run, `env` changes
    to our environment (None unsets). `on_line` receives every output line, redacted, as it comes. The program ends when
    we end, unless it `outlives_us` (a package manager must not be cut off). With `check`, a non-zero exit raises
    `CommandFailed` with `hint` as its fix. Raises `ToolError` when the program is not there or cannot be started, and
    what `on_line` raised.
    """
    running = Running(argv, cwd=cwd, env=env, stdin=stdin, on_line=on_line, outlives_us=outlives_us)
    done = running.wait(timeout)
    if check and done.exit_code != 0:
        shown = [redact(part) for part in done.argv]
        raise CommandFailed(shown, done.exit_code, running.tail, seconds=done.seconds, hint=hint)
    return done


def start_detached(argv: Sequence[str | Path], *, env: Mapping[str, str], log: Path) -> int:
    """Start a program that goes on after we have ended, and return its process id, which is also its group's.

    It has a session of its own (no terminal, no Ctrl-C of ours), an empty input, `env` as its whole environment and no
    open file of ours; what it prints goes to the end of `log` (0600). Only daemon.py calls this: it keeps the record by
    which the program is found and ended. Raises `ToolError` when it is not there or cannot be started.
    """
    program = find(argv[0], env)
    if program is None:
        raise ToolError(f"the program {argv[0]} is not on PATH", fix="./run invoke tools.install, or install it")
    with ExitStack() as ours:
        empty = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
        ours.callback(os.close, empty)
        output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        ours.callback(os.close, output)
        try:
            return os.posix_spawn(
                program,
                [str(part) for part in argv],
                env,
                file_actions=[
                    (os.POSIX_SPAWN_DUP2, empty, 0),
                    (os.POSIX_SPAWN_DUP2, output, 1),
                    (os.POSIX_SPAWN_DUP2, output, 2),
                    *((os.POSIX_SPAWN_CLOSE, descriptor) for descriptor in _inherited()),
                ],
                setsid=True,
                setsigmask=(),
                # Python ignores SIGPIPE, a shell's background job SIGINT; what is ignored would be inherited.
                setsigdef=(signal.SIGPIPE, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM, signal.SIGHUP),
            )
        except OSError as error:
            raise ToolError(f"{program} cannot be started: {error.strerror}", evidence=paste(argv)) from None


def _inherited() -> list[int]:
    """The open files that a program started by us would get: those that our own parent left open for us.

    Python's are closed on exec. A pipeline's pipe that a daemon holds open never comes to its end.
    """
    found = []
    for path in Path("/dev/fd").iterdir():
        with suppress(OSError):  # the one by which this is read
            if (descriptor := int(path.name)) > 2 and os.get_inheritable(descriptor):  # noqa: PLR2004
                found.append(descriptor)
    return found


def paste(argv: Sequence[str | Path]) -> str:
    """The command as one would type it, redacted."""
    return redact(shlex.join(str(part) for part in argv))


def browse(url: str) -> bool:
    """Open a page in the browser; False where there is none. The standard library knows $BROWSER and desktops."""
    import webbrowser

    return webbrowser.open(url)
