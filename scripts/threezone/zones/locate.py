"""Find out where this process runs: on the engine's host (zone 2) or in a container (zone 1). The evidence is printed.

On the host, files under /proc are enough, and no program is started. In a container, the engine is asked whether it has
a container with an id from the evidence; only such a container may be joined to a network.
"""

from __future__ import annotations

import ipaddress
import json
import os
import re
import socket
import struct
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, cast
from urllib.parse import urlsplit

from threezone.clients.docker.containers import show
from threezone.clients.docker.engine import program as docker_program
from threezone.engine.find import Engine

EngineKind = Literal["native", "desktop", "rootless", "remote", "unknown"]
System = Literal["linux", "wsl", "macos", "windows"]
Ci = Literal["", "gitlab", "github"]

JOINED_ALIAS = "threezone-joined"  # marks a network attachment as ours, on the attachment itself
_INSPECT = "{{.Id}} {{json .NetworkSettings.Networks}}"

_ID = re.compile(r"(?<![0-9a-f])([0-9a-f]{64})(?![0-9a-f])")
_SHORT_ID = re.compile(r"[0-9a-f]{12}")
_CONTAINER_GROUPS = ("docker", "libpod", "containerd", "kubepods", "crio", "lxc")
# Without the engine's socket, a container can see only the kernel of its engine.
_MACHINES = (("linuxkit", "Docker Desktop"), ("orbstack", "OrbStack"))
# Variables of VS Code's Dev Containers extension and of GitHub Codespaces.
_DEVCONTAINER = ("REMOTE_CONTAINERS", "CODESPACES")
_GATEWAY = 2  # RTF_GATEWAY, a flag of a route
_MOUNTED_BY_ENGINES = ("/etc/hostname", "/etc/hosts", "/etc/resolv.conf")


def kind_network() -> str:
    """The network of kind's nodes (kind reads the same variable)."""
    return os.environ.get("KIND_EXPERIMENTAL_DOCKER_NETWORK") or "kind"


@dataclass(frozen=True)
class Zone:
    """Where this process runs.

    `kind` is host when the engine's published ports are on our own 127.0.0.1. `container_id` is our own container's id
    when the engine here confirms it, else "". `networks` are that container's; `joined`: we put it on kind's network.
    `gateway` and `gateway6` are those of our default routes, `engine_host` is the engine's machine when DOCKER_HOST
    names one. `ci` and `devcontainer` come from the environment and are for messages only.
    """

    kind: Literal["host", "container"]
    evidence: tuple[str, ...]
    container_id: str = ""
    networks: tuple[str, ...] = ()
    joined: bool = False
    engine: EngineKind = "unknown"
    engine_host: str = ""
    gateway: str = ""
    gateway6: str = ""
    ci: Ci = ""
    devcontainer: bool = False
    system: System = "linux"


def locate(engine: Engine | None = None, *, root: Path = Path("/")) -> Zone:
    """Return where this process runs. `engine` is the observed engine, if any. Reads files below `root`."""
    signs = tuple(dict.fromkeys(_signs(root)))  # cgroup v1 repeats the path for each hierarchy
    on_host = _bridge(root) or (_copied_image(root) if signs else "")
    system, kernel = _system(root)
    ci: Ci = "gitlab" if os.environ.get("GITLAB_CI") else "github" if os.environ.get("GITHUB_ACTIONS") else ""
    devcontainer = [name for name in _DEVCONTAINER if os.environ.get(name)] if signs else []
    evidence = [sentence for sentence, _ in signs]
    if on_host:
        evidence.append(on_host)
    elif not signs:
        evidence.append("no sign of a container in /.dockerenv, /run/.containerenv, mountinfo and cgroup")
    evidence += kernel
    if ci:
        evidence.append(f"the environment is a {ci} job's")
    if devcontainer:
        evidence.append(f"the environment is a devcontainer's ({', '.join(devcontainer)})")
    container_id, networks = "", dict[str, tuple[str, ...]]()
    is_container = bool(signs) and not on_host
    if is_container:
        container_id, networks, answer = _ask_engine([container for _, container in signs if container])
        evidence.append(answer)
    return Zone(
        kind="container" if is_container else "host",
        evidence=(*evidence, *_engine_evidence(engine, ci)),
        container_id=container_id,
        networks=tuple(sorted(networks)),
        joined=JOINED_ALIAS in networks.get(kind_network(), ()),
        engine=engine_kind(engine),
        engine_host=_engine_host(_endpoint(engine)),
        gateway=_default_gateway(root),
        gateway6=_default_gateway6(root),
        ci=ci,
        devcontainer=bool(devcontainer),
        system=system,
    )


def engine_kind(engine: Engine | None) -> EngineKind:
    """Return the kind of engine, which decides where published ports appear."""
    endpoint = _endpoint(engine)
    if endpoint and not endpoint.startswith(("unix://", "npipe://")):
        return "remote"
    if engine is None or not engine.version:
        return "unknown"
    if "Docker Desktop" in engine.system:
        return "desktop"
    return "rootless" if engine.rootless else "native"


def _endpoint(engine: Engine | None) -> str:
    return engine.endpoint if engine else os.environ.get("DOCKER_HOST", "")


def _engine_host(endpoint: str) -> str:
    return (urlsplit(endpoint).hostname or "") if endpoint.startswith(("tcp://", "ssh://", "http")) else ""


def _engine_evidence(engine: Engine | None, ci: Ci) -> Iterator[str]:
    """Yield the engine's version, and what its address reveals about its machine."""
    endpoint = _endpoint(engine)
    scheme, slashes, rest = endpoint.partition("://")
    login, separator, host = rest.rpartition("@")
    shown = f"{scheme}{slashes}{login.partition(':')[0]}{separator}{host}"  # without a password
    if engine is not None and engine.version:
        yield f"the engine at {shown} is {engine.version} on {engine.system or 'an unnamed system'}"
    if engine_kind(engine) == "remote":
        is_service = ci == "gitlab" and _engine_host(endpoint) == "docker"
        service = ", the alias of GitLab's service docker:dind" if is_service else ""
        yield f"the engine's address is {shown}{service}: its published ports are not here"


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:  # missing on this system, or hidden by a sandbox: no evidence
        return ""


def _rows(path: Path, length: int) -> list[list[str]]:
    """Return the fields of each line that has at least `length` of them."""
    return [fields for line in _read(path).splitlines() if len(fields := line.split()) >= length]


def _system(root: Path) -> tuple[System, list[str]]:
    """Return the system, and its evidence whether containers run in a virtual machine or here."""
    for platform, system, name in (("darwin", "macos", "macOS"), ("win32", "windows", "Windows")):
        if sys.platform == platform:
            sentence = f"the system is {name}: its engine is a virtual machine, which publishes ports here"
            return cast("System", system), [sentence]
    release = _read(root / "proc/sys/kernel/osrelease").strip().lower()
    evidence = [
        f"the kernel {release} is that of {name}'s virtual machine" for word, name in _MACHINES if word in release
    ]
    return ("wsl", ["the kernel is WSL's", *evidence]) if "microsoft" in release else ("linux", evidence)


def _signs(root: Path) -> Iterator[tuple[str, str]]:
    """Yield the signs of a container: a sentence, and the id in it, or ""."""
    for name in (".dockerenv", "run/.containerenv"):
        if (root / name).exists():
            yield f"/{name} exists", ""
    for source, target in _engine_mounts(root):
        if match := _ID.search(source):
            yield f"{target} is mounted from {_shortened(source)}", match[1]
    for line in _read(root / "proc/self/cgroup").splitlines():
        path = line.partition(":")[2].partition(":")[2]
        if (match := _ID.search(path)) and any(word in path for word in _CONTAINER_GROUPS):
            yield f"the control group is {_shortened(path)}", match[1]


def _engine_mounts(root: Path) -> list[tuple[str, str]]:
    """Return source and target of the mounts that engines make (proc(5): id, parent, device, source, target, …)."""
    rows = _rows(root / "proc/self/mountinfo", 5)
    return [(row[3], row[4]) for row in rows if row[4] in _MOUNTED_BY_ENGINES]


def _shortened(path: str) -> str:
    """Return the path with its long ids as the docker client shows them."""
    return _ID.sub(lambda match: match[1][:12], path)


def _copied_image(root: Path) -> str:
    """Return the evidence that /.dockerenv is part of a copied image, or "": engines mount these files."""
    if _engine_mounts(root) or not _read(root / "proc/self/mountinfo"):
        return ""
    return f"but none of {', '.join(_MOUNTED_BY_ENGINES)} is mounted, as every engine does: this is a copied image"


def _bridge(root: Path) -> str:
    """Return the evidence that the engine's network is ours, or "": its published ports are on our own 127.0.0.1."""
    interfaces = {line.partition(":")[0].strip() for line in _read(root / "proc/net/dev").splitlines() if ":" in line}
    return "the engine's bridge docker0 is an interface of this network" if "docker0" in interfaces else ""


def _ask_engine(ids: list[str]) -> tuple[str, dict[str, tuple[str, ...]], str]:
    """Ask the engine for our container: its id, its networks with our aliases, and the evidence as a sentence."""
    if _SHORT_ID.fullmatch(name := socket.gethostname()):  # engines use the short id as hostname
        ids = [*ids, name]
    if not ids:
        return "", {}, "the id of this container is unknown"
    if docker_program() is None:
        return "", {}, "no docker client is installed here to look up this container"
    words = ""
    for candidate in dict.fromkeys(ids):
        answer = show(candidate, _INSPECT)
        full_id, _, networks = answer.stdout.strip().partition(" ")
        if answer.exit_code == 0 and full_id.startswith(candidate):
            attached = {name: tuple((own or {}).get("Aliases") or ()) for name, own in json.loads(networks).items()}
            listed = ", ".join(attached) or "no network"
            return full_id, attached, f"the engine knows this container as {full_id[:12]} on {listed}"
        words = answer.stderr.strip().splitlines()[-1] if answer.stderr.strip() else "no answer"
    return "", {}, f"the engine does not know this container: {words}"


def _default_gateway(root: Path) -> str:
    """Return the gateway of the IPv4 default route, or "" (proc(5): /proc/net/route, little-endian hexadecimal)."""
    for _, target, gateway, flags, *_ in _rows(root / "proc/net/route", 4)[1:]:
        if target == "00000000" and int(flags, 16) & _GATEWAY:
            return socket.inet_ntoa(struct.pack("<L", int(gateway, 16)))
    return ""


def _default_gateway6(root: Path) -> str:
    """Return the gateway of the IPv6 default route, or "". A link-local one is of no use: it needs an interface.

    /proc/net/ipv6_route has destination, length, source, length, next hop, metric, references, use and flags.
    """
    for target, length, _, _, gateway, _, _, _, flags, *_ in _rows(root / "proc/net/ipv6_route", 9):
        if target == "0" * 32 and length == "00" and int(flags, 16) & _GATEWAY:
            address = ipaddress.IPv6Address(bytes.fromhex(gateway))
            if not address.is_link_local:
                return str(address)
    return ""
