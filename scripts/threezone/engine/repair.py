"""From an observed engine to a working one: the plan (pure) and its application on Debian-like machines as root."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Sequence
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
PIDFILE = Path("/run/threezone-dockerd.pid")
LOG = Path("/var/log/threezone-dockerd.log")
START_DEADLINE = 60.0

INSTALL = ("apt-get", "install", "-y", "--no-install-recommends", "-o", "DPkg::Lock::Timeout=300", *PACKAGES)


def plan(
    engine: Engine, *, root: bool, debian: bool, systemd: bool, missing: Sequence[str], words: str
) -> tuple[Step, ...]:
    """What makes `engine` work. Pure.

    `missing` lists capabilities outside the bounding set, `words` the failed proof's message (empty: proved or not yet
    tried). An empty plan means: nothing that we can do, or nothing to do.
    """
    if not engine.local or not root:
        return ()
    actions: list[Step] = []
    if engine.state == "missing":
        if not debian:
            return ()
        actions.append(
            Step(
                StepKind.INSTALL_ENGINE,
                f"install {', '.join(PACKAGES)} (Debian packages)",
                " ".join(INSTALL),
                asks=True,
            )
        )
    wrap = bool(missing) and engine.runtime != RUNTIME and (engine.state != "ok" or "unable to apply caps" in words)
    if wrap:
        actions.append(
            Step(
                StepKind.WRAP_RUNTIME,
                f"make {WRAPPER} the engine's default runtime, because this machine lacks {', '.join(missing)} "
                "(undo: engine.stop --restore)",
                f"edit {DAEMON_JSON}: runtimes.{RUNTIME}, default-runtime",
                asks=True,
            )
        )
    if engine.state in ("missing", "stopped"):
        command = "systemctl start docker" if systemd else f"dockerd  (log: {LOG})"
        actions.append(Step(StepKind.START_ENGINE, "start the engine", command, asks=True))
    elif wrap:
        actions.append(
            Step(StepKind.RELOAD_ENGINE, "restart the engine so that it reads the new runtime", "", asks=True)
        )
    return tuple(actions)


def machine() -> tuple[bool, bool, bool]:
    """Facts for `plan`: are we root, is this Debian-like (apt-get), does systemd run here."""
    return os.getuid() == 0, process.find("apt-get") is not None, Path("/run/systemd/system").is_dir()


def diagnose() -> tuple[Engine, tuple[Step, ...]]:
    """Observe, prove, and plan. The engine's state is `broken` when it answers but a privileged container fails."""
    engine = observe()
    words = ""
    if engine.state == "ok":
        words = prove(engine.architecture) or ""
        if words:
            engine = _broken(engine, words)
    root, debian, systemd = machine()
    missing = bounded_runtime.missing() if sys.platform == "linux" else []
    return engine, plan(engine, root=root, debian=debian, systemd=systemd, missing=missing, words=words)


def _broken(engine: Engine, words: str) -> Engine:
    from dataclasses import replace

    return replace(engine, state="broken", evidence=words)


def apply(actions: Sequence[Step]) -> Engine:
    """Carry the plan out and prove the engine. Raises EngineError with the engine's words when it still fails."""
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
    engine = require(observe())
    words = prove(engine.architecture)
    if words:
        require(_broken(engine, words))
    return engine


def _progress(line: str, say: Callable[[str], None]) -> None:
    if line.startswith("Setting up "):
        say(line)


def _install(say: Callable[[str], None]) -> None:
    quiet = {"DEBIAN_FRONTEND": "noninteractive"}
    process.run(["apt-get", "update", "-qq"], timeout=300, env=quiet, hint="check the machine's apt sources")
    # A package manager that was cut off earlier is set right first; ours is never cut off half-way.
    process.run(["dpkg", "--configure", "-a"], timeout=300, env=quiet, outlives_us=True)
    process.run(list(INSTALL), timeout=900, env=quiet, outlives_us=True, on_line=lambda line: _progress(line, say))


def wrap() -> None:
    """Install the runtime wrapper and name it in daemon.json, keeping everything else that stands there."""
    source = Path(bounded_runtime.__file__).read_text(encoding="utf-8")
    # -I -S: no user site, no .pth files; the wrapper starts several times per container.
    interpreter = Path(getattr(sys, "_base_executable", sys.executable)).resolve()
    write_atomic(WRAPPER, f"#!{interpreter} -IS\n{source}", 0o755)
    settings = _daemon_settings()
    settings.setdefault("runtimes", {})[RUNTIME] = {"path": str(WRAPPER)}
    settings["default-runtime"] = RUNTIME
    write_atomic(DAEMON_JSON, json.dumps(settings, indent=2) + "\n", None)


def unwrap() -> bool:
    """Undo `wrap`. Returns whether there was anything to undo."""
    settings = _daemon_settings()
    runtimes = settings.get("runtimes") or {}
    found = runtimes.pop(RUNTIME, None) is not None or WRAPPER.exists()
    if not runtimes:
        settings.pop("runtimes", None)
    if settings.get("default-runtime") == RUNTIME:
        del settings["default-runtime"]
    if found:
        if settings:
            write_atomic(DAEMON_JSON, json.dumps(settings, indent=2) + "\n", None)
        else:
            DAEMON_JSON.unlink(missing_ok=True)
        WRAPPER.unlink(missing_ok=True)
    return found


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
    """Start dockerd (by systemd where it runs, else as a daemon of its own) and wait until it answers."""
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
            raise EngineError(
                f"the engine did not answer within {START_DEADLINE:.0f} s", evidence=tail, fix=f"see {LOG}"
            )
        time.sleep(0.1)  # the socket appears when dockerd is ready; its file cannot be watched before it exists


def _dockerd() -> str:
    """The daemon's path: with it a stale pidfile, whose number another process has by now, is not believed."""
    return str(process.find("dockerd") or "/usr/sbin/dockerd")


def stop() -> bool:
    """Stop the engine that `start` started. False when it is not ours to stop."""
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
