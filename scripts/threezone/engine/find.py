"""Observe the container engine (zone 2): which one answers, and if none does, why. Read-only."""

from __future__ import annotations

import ipaddress
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from threezone.clients.docker import engine as docker
from threezone.clients.docker import networks
from threezone.clients.docker.engine import State, classify, endpoint, failure
from threezone.core import process, versions
from threezone.core.errors import CommandFailed, EngineError

# kind 0.31 needs nothing newer; 20.10 (December 2020) is the oldest engine that we have tried.
OLDEST = (20, 10)

PATIENCE = 30.0  # seconds; an engine that pulls images answers late


@dataclass(frozen=True)
class Engine:
    """The engine's state and facts, which are empty unless `state` is ok or broken; `evidence` is its own message."""

    state: State
    endpoint: str
    evidence: str = ""
    version: str = ""
    system: str = ""
    architecture: str = ""
    cgroup: str = ""
    runtime: str = ""
    rootless: bool = False
    root: str = ""  # the directory of its images and volumes, on its own host

    @property
    def local(self) -> bool:
        """Whether the engine is reached through a socket file of this machine."""
        return self.endpoint.startswith("unix://")


def observe() -> Engine:
    """Ask the engine for its facts with one `docker info`. Raises nothing: the state says what is wrong."""
    where = endpoint()
    if docker.program() is None:
        return Engine("missing", where, "the program docker is not on PATH")
    try:
        done = docker.info(PATIENCE)
    except CommandFailed as overdue:  # an address that drops every packet
        return Engine("unreachable", where, overdue.message)
    try:
        info: dict[str, Any] = json.loads(done.stdout)
    except ValueError:
        info = {}
    words = "\n".join(info.get("ServerErrors") or []) or done.stderr.strip()
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
    """The IPv4 address of the engine's default bridge, which `host-gateway` means. Raises EngineError."""
    bridge = networks.inspect("bridge")
    ranges = (bridge or {}).get("IPAM", {}).get("Config") or []
    if address := bridge_address(ranges):
        return address
    raise EngineError(
        "the engine has no default bridge with an IPv4 address",
        evidence=f"the address ranges of the network bridge: {ranges}" if bridge else "no network bridge",
        fix="start the engine without `bridge: none`, or attach containers to kind's network instead",
    )


def bridge_address(ranges: Sequence[Mapping[str, str]]) -> str:
    """The IPv4 gateway in a bridge's address ranges (`IPAM.Config`), "" without one. Pure.

    Docker 20.10 lists no gateway for a bridge that it has just made: it is then the range's first address.
    """
    for one in ranges:
        network = ipaddress.ip_network(one.get("Subnet") or "::/128", strict=False)
        if network.version == 4:  # noqa: PLR2004  IPv4
            return one.get("Gateway") or str(next(network.hosts()))
    return ""


def require(engine: Engine) -> Engine:
    """The engine itself if it is usable. Raises EngineError."""
    if engine.state == "ok":
        return engine
    raise failure(engine.state, engine.endpoint, engine.evidence)
