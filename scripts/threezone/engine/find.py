"""Zone 2 observed: which engine answers, and if none does, why. Reads only; `repair.py` plans what to do about it."""

from __future__ import annotations

import ipaddress
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from threezone.clients.docker import engine as docker
from threezone.clients.docker import networks
from threezone.clients.docker.engine import FIX, MESSAGE, State, classify, endpoint
from threezone.core import process, versions
from threezone.core.errors import CommandFailed, EngineError

# kind 0.31 asks for nothing newer; 20.10 (December 2020) is the oldest engine that we have run.
OLDEST = (20, 10)

PATIENCE = 30.0  # seconds; an engine that is busy pulling answers late, a dropped address never


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


def observe() -> Engine:
    """Ask the engine who it is (one `docker info`). Never raises: what is wrong is in the answer."""
    where = endpoint()
    if docker.program() is None:
        return Engine("missing", where, "the program docker is not on PATH")
    try:
        seen = docker.info(PATIENCE)
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
    new_enough = versions.parse(version) >= OLDEST
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
    bridge = networks.inspect("bridge")
    ranges = (bridge or {}).get("IPAM", {}).get("Config") or []
    found = bridge_address(ranges)
    if not found:
        raise EngineError(
            "the engine has no default bridge with an IPv4 address",
            evidence=f"the address ranges of the network bridge: {ranges}" if bridge else "no network bridge",
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


def require(engine: Engine) -> Engine:
    """The same engine when it is usable; raises EngineError with cause, evidence and fix otherwise."""
    if engine.state == "ok":
        return engine
    raise EngineError(
        f"{MESSAGE[engine.state]} (looked at {engine.endpoint})", evidence=engine.evidence, fix=FIX[engine.state]
    )
