"""Zone 2 observed: which engine answers, and if none does, why. Reads only; `repair.py` plans what to do about it."""

from __future__ import annotations

import ipaddress
import json
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from threezone.core import process
from threezone.core.errors import CommandFailed, EngineError

# kind 0.31 asks for nothing newer; 20.10 (December 2020) is the oldest engine that we have run.
OLDEST = (20, 10)

PATIENCE = 30.0  # seconds; an engine that is busy pulling answers late, a dropped address never

State = Literal["ok", "missing", "stopped", "forbidden", "too-old", "old-client", "unreachable", "broken"]


@dataclass(frozen=True)
class Engine:
    """The engine as seen now. `evidence` holds its own words; the facts are empty unless `state` is ok or broken."""

    state: State
    endpoint: str
    evidence: str = ""
    version: str = ""
    system: str = ""
    architecture: str = ""
    cgroup: str = ""
    runtime: str = ""
    rootless: bool = False
    root: str = ""  # where it keeps images and volumes, on its own host

    @property
    def local(self) -> bool:
        """Whether the engine is reached through a socket file of this machine."""
        return self.endpoint.startswith("unix://")


def endpoint() -> str:
    """Where the docker client will look: DOCKER_HOST, else the current context's address, else the default socket."""
    host = os.environ.get("DOCKER_HOST")
    if host:
        return host
    name = os.environ.get("DOCKER_CONTEXT") or _configured_context()
    if name and name != "default" and process.find("docker"):
        seen = process.run(
            ["docker", "context", "inspect", name, "--format", "{{.Endpoints.docker.Host}}"], timeout=10, check=False
        )
        if seen.exit_code == 0 and seen.stdout.strip():
            return seen.stdout.strip()
    return "unix:///var/run/docker.sock"


def _configured_context() -> str:
    home = Path(os.environ.get("HOME", "/"))
    directory = Path(os.environ.get("DOCKER_CONFIG") or home / ".docker")
    try:
        return str(json.loads((directory / "config.json").read_text()).get("currentContext") or "")
    except (OSError, ValueError, AttributeError):
        return ""


def classify(words: str, *, daemon_installed: bool) -> State:
    """Which state the docker client's error message means (docker/cli and moby/client, `errors.go`)."""
    lowered = words.lower()
    if "command [ssh " in lowered:  # ssh's own permission denied or connection refused: nobody asked the engine yet
        return "unreachable"
    if "permission denied" in lowered:
        return "forbidden"
    if "is too old. minimum supported api version" in lowered:
        return "old-client"
    if "is too new. maximum supported api version" in lowered or "not supported by this client" in lowered:
        return "too-old"
    if "is the docker daemon running" in lowered or "connection refused" in lowered or "no such file" in lowered:
        return "stopped" if daemon_installed else "missing"
    return "unreachable"


def observe() -> Engine:
    """Ask the engine who it is (one `docker info`). Never raises: what is wrong is in the answer."""
    where = endpoint()
    if process.find("docker") is None:
        return Engine("missing", where, "the program docker is not on PATH")
    try:
        seen = process.run(["docker", "info", "--format", "{{json .}}"], timeout=PATIENCE, check=False)
    except CommandFailed as overdue:  # an address that swallows everything
        return Engine("unreachable", where, overdue.message)
    try:
        info: dict[str, Any] = json.loads(seen.stdout)
    except ValueError:
        info = {}
    errors = "\n".join(info.get("ServerErrors") or [])
    words = errors or seen.stderr.strip()
    if not info.get("ServerVersion"):
        installed = process.find("dockerd") is not None or not where.startswith("unix://")
        return Engine(classify(words, daemon_installed=installed), where, words)
    version = str(info["ServerVersion"])
    new_enough = tuple(int(part) for part in re.findall(r"\d+", version)[:2]) >= OLDEST
    machine = str(info.get("Architecture", ""))
    return Engine(
        state="ok" if new_enough else "too-old",
        endpoint=where,
        evidence="" if new_enough else f"its version is {version}",
        version=version,
        system=str(info.get("OperatingSystem", "")),
        architecture={"x86_64": "amd64", "aarch64": "arm64"}.get(machine, machine),
        cgroup=str(info.get("CgroupVersion", "")),
        runtime=str(info.get("DefaultRuntime", "")),
        root=str(info.get("DockerRootDir", "")),
        rootless=any("rootless" in str(option) for option in info.get("SecurityOptions") or []),
    )


def gateway() -> str:
    """The IPv4 address of the engine's default bridge, where containers' `host-gateway` leads. Raises EngineError."""
    argv = ["docker", "network", "inspect", "bridge", "--format", "{{json .IPAM.Config}}"]
    seen = process.run(argv, timeout=20, check=False)
    if seen.exit_code != 0 and "network" not in seen.stderr.lower():
        raise explain(seen.stderr.strip())
    found = bridge_address(json.loads(seen.stdout) or []) if seen.exit_code == 0 else ""
    if not found:
        raise EngineError(
            "the engine has no default bridge with an IPv4 address",
            evidence=seen.stderr.strip() or seen.stdout.strip(),
            fix="start the engine without `bridge: none`, or attach containers to kind's network instead",
        )
    return found


def bridge_address(ranges: Sequence[Mapping[str, str]]) -> str:
    """The gateway among a bridge's address ranges (`IPAM.Config`), IPv4 only; "" without one. Pure.

    A daemon that has just made its bridge lists no gateway until its next start (seen with 20.10): it is then the
    range's first address, which is what the engine's address management gives out first.
    """
    for one in ranges:
        network = ipaddress.ip_network(one.get("Subnet") or "::/128", strict=False)
        if network.version == 4:  # noqa: PLR2004  IPv4
            return one.get("Gateway") or str(next(network.hosts()))
    return ""


_FIX: dict[str, str] = {
    "missing": "./run invoke engine.start --yes installs and starts Docker on Debian and Ubuntu as root; elsewhere "
    "install Docker Engine or Docker Desktop (https://docs.docker.com/engine/install/)",
    "stopped": "./run invoke engine.start, or start Docker Desktop",
    "forbidden": "sudo usermod -aG docker $USER, then log in again (or use rootless Docker)",
    "too-old": "upgrade Docker Engine to 20.10 or newer; where it is, unset DOCKER_API_VERSION",
    "old-client": "upgrade the docker client to the engine's version; where it is new enough, unset DOCKER_API_VERSION",
    "unreachable": "check DOCKER_HOST and `docker context ls`",
    "broken": "./run invoke engine.start",
}

_MESSAGE: dict[str, str] = {
    "missing": "no container engine is installed here",
    "stopped": "the container engine is installed but not running",
    "forbidden": "this user may not talk to the container engine",
    "too-old": "the container engine is too old",
    "old-client": "the docker client here is too old for the container engine",
    "unreachable": "the container engine does not answer",
    "broken": "the container engine cannot start a privileged container",
}


def require(engine: Engine) -> Engine:
    """The same engine when it is usable; raises EngineError with cause, evidence and fix otherwise."""
    if engine.state == "ok":
        return engine
    raise EngineError(
        f"{_MESSAGE[engine.state]} (looked at {engine.endpoint})", evidence=engine.evidence, fix=_FIX[engine.state]
    )


def explain(words: str) -> EngineError:
    """The error for a docker command that failed with `words` because of the engine itself."""
    state = classify(words, daemon_installed=process.find("dockerd") is not None)
    return EngineError(f"{_MESSAGE[state]} (looked at {endpoint()})", evidence=words, fix=_FIX[state])
