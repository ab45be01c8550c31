"""Find out where this process runs: on the engine's host (zone 2) or in a container (zone 1). The evidence is printed.

On the host a few files under /proc decide, and no program is started. In a container the engine is asked whether one
of the ids in the evidence is a container of its own; only then may it be joined to a network.
"""

from __future__ import annotations

import ipaddress
import json
import os
import re
import socket
import struct
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
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
# The kernel is the one thing that a container without the engine's socket sees of its engine.
_MACHINES = (("linuxkit", "Docker Desktop"), ("orbstack", "OrbStack"))
# Set by VS Code's Dev Containers extension and by GitHub Codespaces in the containers that they make.
_DEVCONTAINER = ("REMOTE_CONTAINERS", "CODESPACES")
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
    marks = tuple(dict.fromkeys(_marks(root)))  # with cgroup v1 the same path stands there once per hierarchy
    here = _engine_here(root) or (_left_over(root) if marks else "")
    evidence = [text for text, _ in marks]
    if here:
        evidence.append(here)
    elif not marks:
        evidence.append("no mark of a container in /.dockerenv, /run/.containerenv, mountinfo and cgroup")
    evidence += _kernel(root)
    ci = _ci()
    devcontainer = [name for name in _DEVCONTAINER if os.environ.get(name)] if marks else []
    if ci:
        evidence.append(f"the environment is a {ci} job's")
    if devcontainer:
        evidence.append(f"the environment is a devcontainer's ({', '.join(devcontainer)})")
    is_container = bool(marks) and not here
    container_id, networks, joined = "", tuple[str, ...](), False
    if is_container:
        ids = dict.fromkeys([found for _, found in marks if found] + _hostname_id())
        container_id, attached, answer = _confirm(tuple(ids))
        evidence.append(answer)
        networks = tuple(sorted(attached))
        joined = JOINED_ALIAS in attached.get(kind_network(), ())
    evidence += _engine_evidence(engine, ci)
    return Zone(
        kind="container" if is_container else "host",
        evidence=tuple(evidence),
        container_id=container_id,
        networks=networks,
        joined=joined,
        engine=engine_kind(engine),
        engine_host=_engine_host(engine),
        gateway=_default_gateway(root),
        gateway6=_default_gateway6(root),
        ci=ci,
        devcontainer=bool(devcontainer),
        system=_system(root),
    )


def _endpoint(engine: Engine | None) -> str:
    return engine.endpoint if engine else os.environ.get("DOCKER_HOST", "")


def engine_kind(engine: Engine | None) -> EngineKind:
    """Which kind of engine this is, as far as it decides where published ports appear."""
    endpoint = _endpoint(engine)
    if endpoint and not endpoint.startswith(("unix://", "npipe://")):
        return "remote"
    if engine is None or not engine.version:
        return "unknown"
    if "Docker Desktop" in engine.system:
        return "desktop"
    return "rootless" if engine.rootless else "native"


def _engine_evidence(engine: Engine | None, ci: Ci) -> list[str]:
    """Return what the engine says about itself, and what its address says about where it runs."""
    endpoint = _endpoint(engine)
    shown = _without_password(endpoint)
    found = []
    if engine is not None and engine.version:
        found.append(f"the engine at {shown} is {engine.version} on {engine.system or 'an unnamed system'}")
    if engine_kind(engine) == "remote":
        alias = ci == "gitlab" and _engine_host(engine) == "docker"
        service = ", the alias of GitLab's service docker:dind" if alias else ""
        found.append(f"the engine's address is {shown}{service}: its published ports are not here")
    return found


def _without_password(endpoint: str) -> str:
    scheme, slashes, rest = endpoint.partition("://")
    user, at, host = rest.rpartition("@")
    return f"{scheme}{slashes}{user.partition(':')[0]}{at}{host}"


def _engine_host(engine: Engine | None) -> str:
    endpoint = _endpoint(engine)
    return (urlsplit(endpoint).hostname or "") if endpoint.startswith(("tcp://", "ssh://", "http")) else ""


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:  # absent (another system), or hidden by a sandbox: no evidence either way
        return ""


def _system(root: Path) -> System:
    if sys.platform == "darwin":
        return "macos"
    if sys.platform == "win32":
        return "windows"
    return "wsl" if "microsoft" in _release(root) else "linux"


def _release(root: Path) -> str:
    return _read(root / "proc/sys/kernel/osrelease").strip().lower()


def _kernel(root: Path) -> list[str]:
    """Return what the system says about where its containers run: in a virtual machine, or here."""
    if sys.platform in ("darwin", "win32"):
        name = "macOS" if sys.platform == "darwin" else "Windows"
        return [f"the system is {name}: its engine is a virtual machine, which publishes ports here"]
    release = _release(root)
    found = ["the kernel is WSL's"] if "microsoft" in release else []
    machine = next((owner for word, owner in _MACHINES if word in release), "")
    return found + ([f"the kernel {release} is that of {machine}'s virtual machine"] if machine else [])


def _ci() -> Ci:
    return "gitlab" if os.environ.get("GITLAB_CI") else "github" if os.environ.get("GITHUB_ACTIONS") else ""


def _marks(root: Path) -> Iterator[tuple[str, str]]:
    """Give the signs of a container: a sentence, and the id in it, or ""."""
    for name in (".dockerenv", "run/.containerenv"):
        if (root / name).exists():
            yield f"/{name} exists", ""
    for line in _read(root / "proc/self/mountinfo").splitlines():
        fields = line.split(" ")  # proc(5): id, parent, device, root of the mount, mount point, …
        if len(fields) > 4 and fields[4] in _MOUNTED_BY_ENGINES and (found := _ID.search(fields[3])):  # noqa: PLR2004
            yield f"{fields[4]} is mounted from {_shortened(fields[3])}", found[1]
    for line in _read(root / "proc/self/cgroup").splitlines():
        path = line.partition(":")[2].partition(":")[2]
        if (found := _ID.search(path)) and any(word in path for word in _CONTAINER_GROUPS):
            yield f"the control group is {_shortened(path)}", found[1]


def _shortened(path: str) -> str:
    """The path with its long ids as the docker client shows them."""
    return _ID.sub(lambda found: found[1][:12], path)


def _left_over(root: Path) -> str:
    """Return the evidence that /.dockerenv is part of a copied image, or "": engines mount these files."""
    mounts = [line.split(" ") for line in _read(root / "proc/self/mountinfo").splitlines()]
    if not mounts or any(len(fields) > 4 and fields[4] in _MOUNTED_BY_ENGINES for fields in mounts):  # noqa: PLR2004
        return ""
    return f"but none of {', '.join(_MOUNTED_BY_ENGINES)} is mounted, as every engine does: this is a copied image"


def _engine_here(root: Path) -> str:
    """Return the evidence that the engine's network is ours, or "": its published ports are on our own 127.0.0.1."""
    interfaces = {line.partition(":")[0].strip() for line in _read(root / "proc/net/dev").splitlines() if ":" in line}
    return "the engine's bridge docker0 is an interface of this network" if "docker0" in interfaces else ""


def _hostname_id() -> list[str]:
    """The short id that engines give a container as its hostname: a guess, which the engine must confirm."""
    name = socket.gethostname()
    return [name] if _SHORT_ID.fullmatch(name) else []


def _confirm(ids: tuple[str, ...]) -> tuple[str, Mapping[str, tuple[str, ...]], str]:
    """Ask the engine for our container: its id, its networks with our aliases, and the evidence as a sentence."""
    if not ids:
        return "", {}, "nothing names this container's id"
    if docker_program() is None:
        return "", {}, "there is no docker client here to ask for this container"
    words = ""
    for candidate in ids:
        answer = show(candidate, _INSPECT)
        full, _, networks = answer.stdout.strip().partition(" ")
        if answer.exit_code == 0 and full.startswith(candidate):
            attached = {name: tuple((own or {}).get("Aliases") or ()) for name, own in json.loads(networks).items()}
            listed = ", ".join(attached) or "no network"
            return full, attached, f"the engine knows this container as {full[:12]} on {listed}"
        words = answer.stderr.strip().splitlines()[-1] if answer.stderr.strip() else "no answer"
    return "", {}, f"the engine does not know this container: {words}"


def _default_gateway(root: Path) -> str:
    """The IPv4 default route's gateway (proc(5): /proc/net/route, little-endian hexadecimal), or ""."""
    for line in _read(root / "proc/net/route").splitlines()[1:]:
        fields = line.split()
        if len(fields) > 3 and fields[1] == "00000000" and int(fields[3], 16) & 2:  # noqa: PLR2004
            return socket.inet_ntoa(struct.pack("<L", int(fields[2], 16)))
    return ""


def _default_gateway6(root: Path) -> str:
    """The IPv6 default route's gateway (/proc/net/ipv6_route: destination, length, source, length, next hop, …), or "".

    A link-local one is left out: no address that is valid beyond this machine can be made from it.
    """
    for line in _read(root / "proc/net/ipv6_route").splitlines():
        fields = line.split()
        if len(fields) > 8 and fields[0] == "0" * 32 and fields[1] == "00" and int(fields[8], 16) & 2:  # noqa: PLR2004
            gateway = ipaddress.IPv6Address(bytes.fromhex(fields[4]))
            if not gateway.is_link_local:
                return str(gateway)
    return ""
