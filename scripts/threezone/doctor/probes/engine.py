"""Probes of the engine, its networks and its machine."""

from __future__ import annotations

import contextlib
import ipaddress
import json
import os
import shutil
import socket
import struct
import sys
from datetime import UTC, datetime
from pathlib import Path

from threezone.clients.docker import engine as docker
from threezone.clients.docker import networks
from threezone.cluster import preflight
from threezone.cluster.containers import moment
from threezone.core import redaction
from threezone.core.errors import CommandFailed, EngineError, ToolError
from threezone.doctor.facts import EngineFacts, Host, Networks
from threezone.engine import bounded_runtime, find, repair
from threezone.zones.locate import kind_network

PATIENCE = 6.0  # seconds for the engine; less than the deadline of all probes
FIELDS = 8  # of a line of /proc/net/route


def observe() -> EngineFacts:
    """The engine's state and what its client adds, by one `docker info`."""
    address = docker.endpoint()
    if docker.program() is None:
        return EngineFacts(find.Engine("missing", redaction.redact(address), "the program docker is not on PATH"))
    before = datetime.now(UTC)
    try:
        done = docker.info(PATIENCE)
    except CommandFailed as overdue:
        return EngineFacts(find.Engine("unreachable", redaction.redact(address), overdue.message))
    between = before + (datetime.now(UTC) - before) / 2
    engine = find.read(done, address)
    return EngineFacts(
        engine,
        skew=_skew(done.stdout, between),
        proxies=docker.container_proxies(),
        program=str(docker.program() or ""),
        init=engine.local and _init(),
        podman=_other_provider(),
    )


def _skew(text: str, here: datetime) -> float | None:
    with contextlib.suppress(ValueError, TypeError):
        clock = moment(str(json.loads(text).get("SystemTime", "")))
        return (clock - here).total_seconds() if clock else None
    return None


def _init() -> bool:
    try:
        return bool(json.loads(repair.DAEMON_JSON.read_text(encoding="utf-8")).get("init"))
    except (OSError, ValueError, AttributeError):
        return False


def _other_provider() -> str:
    asked = os.environ.get("KIND_EXPERIMENTAL_PROVIDER", "")
    return asked if asked not in ("", "docker") else ""


def networks_of() -> Networks | None:
    """The engine's networks; None without an engine, which its own probe explains."""
    try:
        names = tuple(networks.names())
        network = networks.inspect(kind_network()) if kind_network() in names else None
    except (EngineError, ToolError):
        return None
    ranges = ((network or {}).get("IPAM") or {}).get("Config") or []
    options = (network or {}).get("Options") or {}
    interface = str(options.get("com.docker.network.bridge.name") or f"br-{str((network or {}).get('Id', ''))[:12]}")
    return Networks(names, tuple(str(each["Subnet"]) for each in ranges if each.get("Subnet")), interface)


def host(proc: Path = Path("/proc"), system: Path = Path("/sys")) -> Host | None:
    """The limits of this machine; None where the engine is on another one, or the system is not Linux."""
    if sys.platform != "linux" or not docker.endpoint().startswith("unix://"):
        return None
    kernel = proc / "sys"
    root = "/var/lib/docker" if Path("/var/lib/docker").is_dir() else "/"
    ipv6 = kernel / "net/ipv6"
    return Host(
        free_inotify=preflight.free_inotify(proc, kernel / "fs/inotify/max_user_instances"),
        inotify_watches=_number(kernel / "fs/inotify/max_user_watches"),
        disk_root=root,
        disk_free=shutil.disk_usage(root).free,
        memory_available=_memory(proc),
        pids=_pair(_threads(proc), _least(kernel / "kernel/threads-max", kernel / "kernel/pid_max")),
        conntrack=_pair(
            _number(kernel / "net/netfilter/nf_conntrack_count"), _number(kernel / "net/netfilter/nf_conntrack_max")
        ),
        cgroups=_cgroups(system / "fs/cgroup"),
        wsl="microsoft" in _text(kernel / "kernel/osrelease").lower(),
        ipv6=ipv6.is_dir() and _number(ipv6 / "conf/all/disable_ipv6") == 0,
        missing_capabilities=tuple(bounded_runtime.missing()),
        routes=_routes(proc),
    )


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:  # hidden by a sandbox, or a module that is not loaded
        return ""


def _number(path: Path) -> int | None:
    text = _text(path).strip()
    return int(text) if text.isdigit() else None


def _least(*paths: Path) -> int | None:
    return min((value for value in map(_number, paths) if value is not None), default=None)


def _pair(used: int | None, most: int | None) -> tuple[int, int] | None:
    return (used, most) if used is not None and most else None


def _memory(proc: Path) -> int | None:
    for line in _text(proc / "meminfo").splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    return None


def _threads(proc: Path) -> int | None:
    """All threads of the machine: the second number of the fourth field of /proc/loadavg (proc(5))."""
    fields = _text(proc / "loadavg").split()
    total = fields[3].partition("/")[2] if len(fields) > 3 else ""  # noqa: PLR2004
    return int(total) if total.isdigit() else None


def _cgroups(root: Path) -> str:
    if (root / "cgroup.controllers").exists():
        return "v2"
    return "hybrid" if (root / "unified").is_dir() else "v1"


def _routes(proc: Path) -> tuple[tuple[str, str], ...]:
    """The IPv4 routes except the default one (proc(5): /proc/net/route, little-endian hexadecimal)."""
    found = []
    for line in _text(proc / "net/route").splitlines()[1:]:
        fields = line.split()
        if len(fields) >= FIELDS and fields[1] != "00000000":
            address, mask = (socket.inet_ntoa(struct.pack("<L", int(fields[index], 16))) for index in (1, 7))
            found.append((fields[0], str(ipaddress.ip_network(f"{address}/{mask}", strict=False))))
    return tuple(found)
