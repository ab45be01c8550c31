"""Daemons: programs such as a tunnel or a proxy that continue after a task has ended. Each is found by its name.

The record `<state>/daemons/<name>.json` (0600) has the process id and the time of the process's start, as ids are
reused: a process with another start is not ours and is never ended. The file names differ by machine and container, so
that each sees only its own daemons in a shared state directory.
"""

from __future__ import annotations

import functools
import hashlib
import json
import os
import re
import signal
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from threezone.core import paths, process, redaction
from threezone.core.errors import CommandFailed, ToolError, UsageError
from threezone.core.files import write_atomic

if TYPE_CHECKING:
    import psutil

GRACE = 5.0  # seconds between asking a daemon to end and killing it
_POLL = 0.02
_DEAD = ("zombie", "dead")  # as psutil calls them
# What programs need for their files, the ssh agent and the language; any other variable may be a secret.
_INHERITED = (
    "PATH", "HOME", "USER", "LOGNAME", "LANG", "LC_ALL", "LC_CTYPE", "TZ", "TMPDIR", "SSH_AUTH_SOCK",
    "XDG_CONFIG_HOME", "XDG_RUNTIME_DIR",
)  # fmt: skip


@dataclass(frozen=True)
class Daemon:
    """A running daemon. `argv` is redacted, `since` in seconds since 1970, `facts` are its starter's notes."""

    name: str
    pid: int
    argv: tuple[str, ...]
    since: float
    facts: Mapping[str, str]
    started: str  # its start time, which tells it from a later process with the same id
    ready: bool = False

    @property
    def log(self) -> Path:
        """The file with its output (0600)."""
        return _file(self.name, "log")


def start(
    name: str,
    argv: Sequence[str | Path],
    *,
    ready: Callable[[], bool],
    timeout: float,
    env: Mapping[str, str] | None = None,
    facts: Mapping[str, str] | None = None,
) -> Daemon:
    """Start the daemon `name` and wait until it is `ready`; a running one is returned as it is.

    It gets `env` and what programs need of our environment. `ready` is called for at most `timeout` seconds; the daemon
    is ended when it raises. Of two starts at the same time one waits and returns the other's daemon. Raises
    CommandFailed when the program ends before it is ready, ToolError when it is missing or not ready in time; the
    evidence is the end of its log.
    """
    with _locked(name, timeout + GRACE):
        if (running := _read(name)) is not None:
            if running.ready:
                return running
            _end(running)  # whoever started it was killed: the lock was free
        log = _file(name, "log")
        log.unlink(missing_ok=True)
        environment = {key: os.environ[key] for key in _INHERITED if key in os.environ} | dict(env or {})
        pid = process.start_detached(argv, env=environment, log=log)
        redacted = tuple(redaction.redact(str(part)) for part in argv)
        daemon = Daemon(name, pid, redacted, time.time(), dict(facts or {}), _start_time(pid))
        try:
            _write(daemon)
            _wait(daemon, ready, timeout)
            daemon = replace(daemon, ready=True)
            _write(daemon)
        except BaseException:
            _end(daemon)
            _file(name, "json").unlink(missing_ok=True)
            raise
        return daemon


def find(name: str) -> Daemon | None:
    """The daemon `name` if it runs here and is ready, else None; the record of an ended one is removed."""
    daemon = _read(name)
    if daemon is None and _file(name, "json").exists():
        with suppress(ToolError), _locked(name, 0):  # unless somebody is starting it now, and writes a new record
            daemon = _read(name)
            if daemon is None:
                _file(name, "json").unlink(missing_ok=True)
    return daemon if daemon is not None and daemon.ready else None


def stop(name: str, *, pid: int = 0) -> bool:
    """End the daemon `name` with its whole process group. Returns False when it did not run.

    With `pid`, only that process is ended, not a later daemon of the same name.
    """
    if not _file(name, "json").exists():
        return False
    with _locked(name, 10 * GRACE):
        daemon = _read(name)
        if daemon is not None and pid not in (0, daemon.pid):
            return False
        if daemon is not None:
            _end(daemon)
        _file(name, "json").unlink(missing_ok=True)
    return daemon is not None


def all() -> tuple[Daemon, ...]:  # noqa: A001 - read as daemon.all()
    """Every daemon that runs here, by name."""
    suffix = f".{_namespace_hash()}.json"
    names = sorted(path.name.removesuffix(suffix) for path in _directory().glob(f"*{suffix}"))
    return tuple(daemon for daemon in map(find, names) if daemon is not None)


def for_kubectl() -> dict[str, str]:
    """The additional environment of a daemon that starts kubectl."""
    names = ("KUBECONFIG", "HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy", "NO_PROXY", "no_proxy")
    return {name: os.environ[name] for name in names if name in os.environ}


def tail(name: str) -> str:
    """The last lines of a daemon's output, redacted, even after its end."""
    try:
        text = _file(name, "log").read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return ""
    return redaction.redact("\n".join(text.splitlines()[-process.TAIL_LINES :]))


def _directory() -> Path:
    path = paths.state_dir() / "daemons"
    path.mkdir(exist_ok=True, mode=0o700)
    return path


def _namespace_hash() -> str:
    """A short hash of this boot and of the process id namespace: a host's name changes, with DHCP for example."""
    try:
        namespace = str(Path("/proc/self/ns/pid").readlink())  # pid_namespaces(7)
    except OSError:
        namespace = ""
    machine = _boot() or f"{uuid.getnode():x}"
    return hashlib.sha256(f"{machine} {namespace}".encode()).hexdigest()[:8]


@functools.cache
def _boot() -> str:
    """What identifies this boot of the machine; "" on macOS, which has no such file."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except FileNotFoundError:
        return ""


def _file(name: str, kind: str) -> Path:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", name):
        raise UsageError(f"{name!r} cannot be the name of a daemon")
    return _directory() / f"{name}.{_namespace_hash()}.{kind}"


@contextmanager
def _locked(name: str, timeout: float) -> Iterator[None]:
    """Hold the lock of this daemon's record; the kernel releases it when its holder dies."""
    from filelock import FileLock, Timeout

    lock = FileLock(_file(name, "lock"), timeout=timeout, mode=0o600)
    try:
        lock.acquire()
    except Timeout:
        raise ToolError(
            f"another process has been starting or ending the daemon {name} for {timeout:.0f} s", fix="try again later"
        ) from None
    try:
        yield
    finally:
        lock.release()


def _read(name: str) -> Daemon | None:
    """The daemon of the record, if it still runs."""
    try:
        data = json.loads(_file(name, "json").read_text(encoding="utf-8"))
        daemon = Daemon(**{**data, "pid": int(data["pid"]), "argv": tuple(data["argv"])})
    except (FileNotFoundError, ValueError, TypeError, KeyError):
        return None
    return daemon if daemon.started and _start_time(daemon.pid) == daemon.started else None


def _write(daemon: Daemon) -> None:
    write_atomic(_file(daemon.name, "json"), json.dumps(asdict(daemon), indent=1))


def _start_time(pid: int) -> str:
    """The start time of the process `pid`; "" when it does not run or is a zombie."""
    import psutil

    try:
        running = psutil.Process(pid)
        if _has_ended(running):
            return ""
        # psutil adds the boot time, which changes when the clock is set.
        ticks = round((running.create_time() - psutil.boot_time()) * os.sysconf("SC_CLK_TCK"))
    except (psutil.Error, ValueError, OverflowError):
        return ""
    return f"{ticks} ticks after the boot {_boot() or f'at {psutil.boot_time():.0f}'}"


def _has_ended(running: psutil.Process) -> bool:
    """Whether a process is a zombie without threads: while one runs, it still holds its files and ports."""
    return running.status() in _DEAD and running.num_threads() <= 1


def _exit_code(daemon: Daemon) -> int | None:
    """The exit code of a daemon that we started, negative for a signal; None while it runs."""
    try:
        pid, status = os.waitpid(daemon.pid, os.WNOHANG)
    except ChildProcessError:
        return None if _start_time(daemon.pid) == daemon.started else -signal.SIGKILL
    return os.waitstatus_to_exitcode(status) if pid else None


def _wait(daemon: Daemon, ready: Callable[[], bool], timeout: float) -> None:
    began = time.monotonic()
    while not ready():
        if (code := _exit_code(daemon)) is not None:
            raise CommandFailed(daemon.argv, code, tail(daemon.name), seconds=time.monotonic() - began)
        if time.monotonic() - began > timeout:
            raise ToolError(f"{daemon.name} is not ready after {timeout:.0f} s", evidence=tail(daemon.name))
        time.sleep(_POLL)


def _end(daemon: Daemon) -> None:
    """End the process group; the caller has checked that it is ours."""
    process.end_group(daemon.pid, lambda: _group_exists(daemon), GRACE)


def _group_exists(daemon: Daemon) -> bool:
    """Whether a process of the group runs. Zombies, as in a container without an init, do not count."""
    import psutil

    with suppress(ChildProcessError):
        os.waitpid(daemon.pid, os.WNOHANG)
    for pid in psutil.pids():
        with suppress(psutil.Error, OSError):  # it ended meanwhile
            if os.getpgid(pid) == daemon.pid and not _has_ended(psutil.Process(pid)):
                return True
    return False
