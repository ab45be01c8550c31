"""Programs of ours that go on after a task has ended: a tunnel, a proxy. Each is found again by its name.

A record `<state>/daemons/<name>.json` (0600) says which process it is. A process id alone would not: ids are given
again. So the record holds the moment of the process's start too, and a process that started at another moment is
somebody else's, never taken for ours and never ended. State that several machines or containers share shows each
only its own daemons.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import signal
import socket
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from threezone.core import paths, process
from threezone.core.errors import CommandFailed, ToolError, UsageError
from threezone.core.files import write_atomic

GRACE = 5.0  # seconds between asking a daemon to end and ending it
_POLL = 0.02  # neither a process of somebody else's nor a process group can be waited for, only asked
_DEAD = ("zombie", "dead")  # psutil's words
# What programs need to find their files, the user's ssh agent and the user's language; everything else may be a secret.
_INHERITED = (
    "PATH", "HOME", "USER", "LOGNAME", "LANG", "LC_ALL", "LC_CTYPE", "TZ", "TMPDIR", "SSH_AUTH_SOCK",
    "XDG_CONFIG_HOME", "XDG_RUNTIME_DIR",
)  # fmt: skip


@dataclass(frozen=True)
class Daemon:
    """One running program. `argv` is redacted, `since` in seconds since 1970, `facts` what its starter noted."""

    name: str
    pid: int
    argv: tuple[str, ...]
    since: float
    facts: Mapping[str, str]
    started: str  # when, in words that no later process with the same id can have
    ready: bool = False

    @property
    def log(self) -> Path:
        """The file with everything it printed (0600)."""
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
    """Start the daemon `name` and wait until it is `ready`; one that runs already is returned as it is.

    Of our environment it gets what programs need to find their files; `env` adds to that. `ready` is asked again and
    again for at most `timeout` seconds; what it raises ends the daemon. Of two starts at once one waits for the other
    and returns the other's daemon. Raises CommandFailed when the program ends before it is ready, ToolError when it is
    not there or not ready in time (then it is ended); the evidence is the end of its log.
    """
    with _locked(name, timeout + GRACE):
        found = _read(name)
        if found is not None and found.ready:
            return found
        if found is not None:  # its starter was killed: nobody else could have the lock
            _end(found)
        log = _file(name, "log")
        log.unlink(missing_ok=True)
        environment = {key: os.environ[key] for key in _INHERITED if key in os.environ} | dict(env or {})
        pid = process.start_detached(argv, env=environment, log=log)
        shown = tuple(process.redact(str(part)) for part in argv)
        made = Daemon(name, pid, shown, time.time(), dict(facts or {}), _started(pid))
        try:
            _write(made)
            _wait(made, ready, timeout)
            made = replace(made, ready=True)
            _write(made)
        except BaseException:
            _end(made)
            _file(name, "json").unlink(missing_ok=True)
            raise
        return made


def find(name: str) -> Daemon | None:
    """The daemon `name` if it runs here and is ready, else None; the record of one that has ended is removed."""
    found = _read(name)
    if found is None and _file(name, "json").exists():
        # Under the lock, and only when nobody is starting it at this moment: else a new record would be removed.
        with suppress(ToolError), _locked(name, 0):
            found = _read(name)
            if found is None:
                _file(name, "json").unlink(missing_ok=True)
    return found if found is not None and found.ready else None


def stop(name: str, *, pid: int = 0) -> bool:
    """End the daemon `name` with all of its process group, and wait for that; False when it did not run.

    With `pid`, only when it is still that process: somebody may have replaced it meanwhile.
    """
    if not _file(name, "json").exists():
        return False
    with _locked(name, 10 * GRACE):
        found = _read(name)
        if found is not None and pid not in (0, found.pid):
            return False
        if found is not None:
            _end(found)
        _file(name, "json").unlink(missing_ok=True)
    return found is not None


def all() -> tuple[Daemon, ...]:  # noqa: A001 - read as daemon.all()
    """Every daemon that runs here, by name."""
    suffix = f".{_here()}.json"
    names = sorted(path.name.removesuffix(suffix) for path in _directory().glob(f"*{suffix}"))
    return tuple(found for found in map(find, names) if found is not None)


def for_kubectl() -> dict[str, str]:
    """What a daemon that starts kubectl is given beside what every program needs: kubectl finds its way with these."""
    names = ("KUBECONFIG", "HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy", "NO_PROXY", "no_proxy")
    return {name: os.environ[name] for name in names if name in os.environ}


def tail(name: str) -> str:
    """The last lines of what the daemon printed, redacted; it may have ended."""
    try:
        text = _file(name, "log").read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return ""
    return process.redact("\n".join(text.splitlines()[-process.TAIL_LINES :]))


def _directory() -> Path:
    path = paths.state_dir() / "daemons"
    path.mkdir(exist_ok=True, mode=0o700)
    return path


def _here() -> str:
    """The set of process ids that we see, in eight characters: the machine's, or this container's."""
    try:
        namespace = str(Path("/proc/self/ns/pid").readlink())  # pid_namespaces(7)
    except OSError:
        namespace = ""
    return hashlib.sha256(f"{socket.gethostname()} {namespace}".encode()).hexdigest()[:8]


def _file(name: str, kind: str) -> Path:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", name):
        raise UsageError(f"{name!r} cannot be the name of a daemon")
    return _directory() / f"{name}.{_here()}.{kind}"


@contextmanager
def _locked(name: str, timeout: float) -> Iterator[None]:
    """Alone with this daemon's record; the kernel releases the lock of a holder that dies."""
    from filelock import FileLock, Timeout

    lock = FileLock(_file(name, "lock"), timeout=timeout, mode=0o600)
    try:
        lock.acquire()
    except Timeout:
        raise ToolError(f"somebody else has been starting or ending {name} for {timeout:.0f} s") from None
    try:
        yield
    finally:
        lock.release()


def _read(name: str) -> Daemon | None:
    """The daemon of the record, if it still runs."""
    try:
        data = json.loads(_file(name, "json").read_text(encoding="utf-8"))
        found = Daemon(**{**data, "pid": int(data["pid"]), "argv": tuple(data["argv"])})
    except (FileNotFoundError, ValueError, TypeError, KeyError):
        return None  # what cannot be read names nobody whom we might end
    return found if found.started and _started(found.pid) == found.started else None


def _write(daemon: Daemon) -> None:
    write_atomic(_file(daemon.name, "json"), json.dumps(asdict(daemon), indent=1))


def _started(pid: int) -> str:
    """When the process `pid` started, as no later one with that id can have; "" when none runs (a zombie does not)."""
    import psutil

    try:
        found = psutil.Process(pid)
        if found.status() in _DEAD:
            return ""
        # psutil adds the time of the boot, which moves when the clock is set; without it the start never changes.
        ticks = round((found.create_time() - psutil.boot_time()) * os.sysconf("SC_CLK_TCK"))
    except (psutil.Error, ValueError, OverflowError):
        return ""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except FileNotFoundError:  # macOS
        boot = f"at {psutil.boot_time():.0f}"
    return f"{ticks} ticks after the boot {boot}"


def _exit_code(daemon: Daemon) -> int | None:
    """The exit code of a daemon that we started ourselves, negative for a signal; None while it runs."""
    try:
        pid, status = os.waitpid(daemon.pid, os.WNOHANG)
    except ChildProcessError:
        return None if _started(daemon.pid) == daemon.started else -signal.SIGKILL
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
    """Ask the process group to end, end it after a grace period; the caller has seen that it is ours."""
    for sign in (signal.SIGTERM, signal.SIGKILL):
        if not _group_exists(daemon):
            return
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(daemon.pid, sign)
        deadline = time.monotonic() + GRACE
        while _group_exists(daemon) and time.monotonic() < deadline:
            time.sleep(_POLL)


def _group_exists(daemon: Daemon) -> bool:
    """Whether a process of the group runs. The dead that nobody collects (a container without an init) do not count."""
    import psutil

    with suppress(ChildProcessError):
        os.waitpid(daemon.pid, os.WNOHANG)
    for pid in psutil.pids():
        with suppress(psutil.Error, OSError):  # it ended meanwhile
            if os.getpgid(pid) == daemon.pid and psutil.Process(pid).status() not in _DEAD:
                return True
    return False
