"""Observe the container engine (zone 2): which engine answers, or why none does. Read-only."""

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
from threezone.core.process import Completed

# Enough for kind 0.31; 20.10 (December 2020) is the oldest engine that we have tested.
OLDEST = (20, 10)

PATIENCE = 30.0  # seconds; a busy engine answers slowly


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
    address = endpoint()
    if docker.program() is None:
        return Engine("missing", address, "the program docker is not on PATH")
    try:
        done = docker.info(PATIENCE)
    except CommandFailed as overdue:  # an address that drops every packet
        return Engine("unreachable", address, overdue.message)
    return read(done, address)


def read(done: Completed, address: str) -> Engine:
    """The engine in the answer of `docker info`."""
    try:
        info: dict[str, Any] = json.loads(done.stdout)
    except ValueError:
        info = {}
    words = "\n".join(info.get("ServerErrors") or []) or done.stderr.strip()
    if not info.get("ServerVersion"):
        if "host" in info:  # the facts of `podman info`
            words = f"the facts are those of a client {docker.PODMAN}\n{words}".strip()
        return Engine(classify(words, address, daemon_installed=process.find("dockerd") is not None), address, words)
    version = str(info["ServerVersion"])
    new_enough = versions.parse(version) >= OLDEST
    machine = str(info.get("Architecture", ""))
    return Engine(
        state="ok" if new_enough else "too-old",
        endpoint=address,
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

    Docker 20.10 lists no gateway for a new bridge: it is the first address of the range.
    """
    for address_range in ranges:
        network = ipaddress.ip_network(address_range.get("Subnet") or "::/128", strict=False)
        if network.version == 4:  # noqa: PLR2004  IPv4
            return address_range.get("Gateway") or str(next(network.hosts()))
    return ""


def require(engine: Engine) -> Engine:
    """Return the engine if it is usable. Raises EngineError."""
    if engine.state == "ok":
        return engine
    raise failure(engine.state, engine.endpoint, engine.evidence)
