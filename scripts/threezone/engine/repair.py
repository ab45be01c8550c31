"""Plan (pure) and carry out repairs of the engine, on Debian-like machines as root."""

from __future__ import annotations

import json
import os
import stat
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from threezone.core import process
from threezone.core.errors import EngineError
from threezone.core.events import step
from threezone.core.files import write_atomic
from threezone.core.plan import Step, StepKind
from threezone.engine import bounded_runtime
from threezone.engine.find import Engine, observe, require
from threezone.engine.prove import prove

PACKAGES = ("docker.io", "iptables", "iproute2")
RUNTIME = "threezone-bounded"
WRAPPER = Path("/usr/local/lib/threezone/bounded-runtime")
DAEMON_JSON = Path("/etc/docker/daemon.json")
FORMER = "default-runtime"  # beside the wrapper: the default runtime that was there before
PIDFILE = Path("/run/threezone-dockerd.pid")
LOG = Path("/var/log/threezone-dockerd.log")
START_DEADLINE = 60.0

INSTALL = ("apt-get", "install", "-y", "--no-install-recommends", "-o", "DPkg::Lock::Timeout=300", *PACKAGES)


def plan(
    engine: Engine, *, root: bool, debian: bool, systemd: bool, missing: Sequence[str], words: str
) -> tuple[Step, ...]:
    """The steps that make `engine` work; none if it works or we cannot repair it. Pure.

    `missing` lists capabilities outside the bounding set; `words` is the message of a failed proof, else "".
    """
    repairable = engine.state in ("missing", "stopped", "broken", "ok")  # others are the client's, or of permissions
    if not engine.local or not root or not repairable or (engine.state == "missing" and not debian):
        return ()
    steps = []
    if engine.state == "missing":
        sentence = f"install {', '.join(PACKAGES)} (Debian packages)"
        steps.append((StepKind.INSTALL_ENGINE, sentence, " ".join(INSTALL)))
    wraps = bool(missing) and engine.runtime != RUNTIME and (engine.state != "ok" or "unable to apply caps" in words)
    if wraps:
        sentence = (
            f"make {WRAPPER} the engine's default runtime, because this machine lacks {', '.join(missing)} "
            "(undo: engine.stop --restore)"
        )
        steps.append((StepKind.WRAP_RUNTIME, sentence, f"edit {DAEMON_JSON}: runtimes.{RUNTIME}, default-runtime"))
    if engine.state in ("missing", "stopped"):
        command = "systemctl start docker" if systemd else f"dockerd  (log: {LOG})"
        steps.append((StepKind.START_ENGINE, "start the engine", command))
    elif wraps:
        steps.append((StepKind.RELOAD_ENGINE, "restart the engine so that it reads the new runtime", ""))
    return tuple(Step(*fields, asks=True) for fields in steps)


def machine() -> tuple[bool, bool, bool]:
    """Whether we are root, this machine is Debian-like (apt-get), and systemd runs: the facts for `plan`."""
    return os.getuid() == 0, process.find("apt-get") is not None, Path("/run/systemd/system").is_dir()


def diagnose() -> tuple[Engine, tuple[Step, ...]]:
    """Observe, prove, and plan. The engine is `broken` if it answers but cannot run a privileged container."""
    engine = _proved(observe())
    words = engine.evidence if engine.state == "broken" else ""
    root, debian, systemd = machine()
    missing = bounded_runtime.missing() if sys.platform == "linux" else []
    return engine, plan(engine, root=root, debian=debian, systemd=systemd, missing=missing, words=words)


def _proved(engine: Engine) -> Engine:
    """The engine after a proof; its state is `broken` if that fails."""
    words = prove(engine.architecture) if engine.state == "ok" else None
    return replace(engine, state="broken", evidence=words) if words else engine


def apply(actions: Sequence[Step]) -> Engine:
    """Carry out the plan and prove the engine. Raises EngineError."""
    for action in actions:
        with step(action.sentence) as running:
            if action.kind is StepKind.INSTALL_ENGINE:
                _install(running.say)
            elif action.kind is StepKind.WRAP_RUNTIME:
                wrap()
            elif action.kind is StepKind.START_ENGINE:
                start()
            elif action.kind is StepKind.RELOAD_ENGINE:
                stop()
                start()
    return require(_proved(observe()))


def _install(say: Callable[[str], None]) -> None:
    def report(line: str) -> None:
        if line.startswith("Setting up "):
            say(line)

    quiet = {"DEBIAN_FRONTEND": "noninteractive"}
    process.run(["apt-get", "update", "-qq"], timeout=300, env=quiet, hint="check the machine's apt sources")
    # Finish the work of an interrupted package manager. Ours must not be interrupted.
    process.run(["dpkg", "--configure", "-a"], timeout=300, env=quiet, outlives_us=True)
    process.run(list(INSTALL), timeout=900, env=quiet, outlives_us=True, on_line=report)


def wrap() -> None:
    """Install the runtime wrapper and add it to daemon.json, which keeps its other settings."""
    source = Path(bounded_runtime.__file__).read_text(encoding="utf-8")
    # -I -S: no user site, no .pth files; the wrapper starts several times per container.
    write_atomic(WRAPPER, f"#!{_interpreter()} -IS\n{source}", 0o755)
    settings = _daemon_settings()
    settings.setdefault("runtimes", {})[RUNTIME] = {"path": str(WRAPPER)}
    if (before := settings.get("default-runtime", RUNTIME)) != RUNTIME:
        write_atomic(WRAPPER.with_name(FORMER), str(before), None)
    settings["default-runtime"] = RUNTIME
    write_atomic(DAEMON_JSON, json.dumps(settings, indent=2) + "\n", None)


def unwrap() -> bool:
    """Undo `wrap`. Returns False when there is nothing to undo."""
    settings = _daemon_settings()
    runtimes = settings.get("runtimes") or {}
    is_wrapped = runtimes.pop(RUNTIME, None) is not None or WRAPPER.exists()
    if not runtimes:
        settings.pop("runtimes", None)
    former = WRAPPER.with_name(FORMER)
    if settings.get("default-runtime") == RUNTIME:
        del settings["default-runtime"]
        if former.exists():
            settings["default-runtime"] = former.read_text(encoding="utf-8")
    if is_wrapped:
        if settings:
            write_atomic(DAEMON_JSON, json.dumps(settings, indent=2) + "\n", None)
        else:
            DAEMON_JSON.unlink(missing_ok=True)
        WRAPPER.unlink(missing_ok=True)
        former.unlink(missing_ok=True)
    return is_wrapped


def _interpreter() -> Path:
    """A Python that only root can change, for a program that root's daemon starts: the system's, else ours."""
    ours = Path(getattr(sys, "_base_executable", sys.executable)).resolve()
    for python in (Path("/usr/bin/python3").resolve(), ours):
        if python.exists() and all(_is_of_root(path) for path in (python, *python.parents)):
            test = process.run(
                [python, "-IS", "-c", "import sys; sys.exit(sys.version_info < (3, 11))"], timeout=30, check=False
            )
            if test.exit_code == 0:
                return python
    raise EngineError(
        f"the runtime wrapper needs a Python 3.11 or newer that only root can change, and {ours} is not",
        fix="apt-get install python3",
    )


def _is_of_root(path: Path) -> bool:
    facts = path.stat()
    others_may_write = facts.st_mode & 0o022 and not facts.st_mode & stat.S_ISVTX
    return facts.st_uid == 0 and not others_may_write


def _daemon_settings() -> dict[str, Any]:
    try:
        text = DAEMON_JSON.read_text(encoding="utf-8")
    except FileNotFoundError:
        return {}
    try:
        loaded = json.loads(text or "{}")
    except ValueError as error:
        raise EngineError(
            f"{DAEMON_JSON} is not valid JSON", evidence=str(error), fix=f"correct {DAEMON_JSON}"
        ) from None
    return dict(loaded)


def start() -> None:
    """Start dockerd (by systemd if it runs, else as our own daemon) and wait until it answers."""
    if machine()[2]:
        process.run(["systemctl", "start", "docker"], timeout=120, hint="journalctl -u docker")
    else:
        process.run(
            # start-stop-daemon comes with dpkg: it detaches the daemon and keeps its log.
            ["start-stop-daemon", "--start", "--background", "--make-pidfile", "--pidfile", str(PIDFILE),
             "--output", str(LOG), "--exec", _dockerd()],
            timeout=30,
        )  # fmt: skip
    deadline = time.monotonic() + START_DEADLINE
    while (engine := observe()).state != "ok":
        if time.monotonic() > deadline:
            tail = "\n".join(LOG.read_text(errors="replace").splitlines()[-15:]) if LOG.exists() else engine.evidence
            message = f"the engine did not answer within {START_DEADLINE:.0f} s"
            raise EngineError(message, evidence=tail, fix=f"see {LOG}")
        time.sleep(0.1)  # dockerd creates its socket when it is ready; a missing file cannot be watched


def _dockerd() -> str:
    """The path of dockerd. With it, start-stop-daemon ignores a stale pidfile of another process."""
    return str(process.find("dockerd") or "/usr/sbin/dockerd")


def stop() -> bool:
    """Stop the engine that `start` started. Returns False when it is not ours."""
    if machine()[2]:
        process.run(["systemctl", "stop", "docker.socket", "docker"], timeout=120)
        return True
    if not PIDFILE.exists():
        return False
    process.run(
        ["start-stop-daemon", "--stop", "--oknodo", "--retry", "60", "--remove-pidfile", "--pidfile", str(PIDFILE),
         "--exec", _dockerd()],
        timeout=120,
    )  # fmt: skip
    return True
