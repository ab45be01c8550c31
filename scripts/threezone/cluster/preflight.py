"""The checks before kind creates nodes: ports, mounts, inotify instances, disk. Each would make kind fail later."""

from __future__ import annotations

import contextlib
import errno
import shlex
import shutil
import socket
from collections.abc import Collection, Sequence
from pathlib import Path

from threezone.clients.docker import containers
from threezone.clients.kind import Node
from threezone.cluster.spec import validate
from threezone.cluster.spec.declared import Declared, Overlay, published
from threezone.core.errors import CommandFailed, EngineError, UsageError
from threezone.engine.find import Engine
from threezone.zones.locate import engine_kind, locate

SPACE_NEEDED = 3 * 1024**3  # bytes: a node's volume with its images, and enough that the kubelet does not evict
# inotify instances of systemd and the system pods, measured on running nodes (22 to 27, and 14). Without them a node
# or its pods do not start: kind's known issue "too many open files".
INOTIFY_PER_NODE = {"control-plane": 22, "worker": 14}
INOTIFY_LIMIT = Path("/proc/sys/fs/inotify/max_user_instances")
INOTIFY_FIX = "sudo sysctl fs.inotify.max_user_instances=512 fs.inotify.max_user_watches=524288; or delete a cluster"
INOTIFY_LINK = "anon_inode:inotify"  # as /proc shows an instance (proc(5))
_SOCKETS = {"TCP": socket.SOCK_STREAM, "UDP": socket.SOCK_DGRAM}


def check(declared: Declared, added: Sequence[Overlay], engine: Engine, replaced: Sequence[Node] = ()) -> None:
    """Raise UsageError or EngineError for what would make kind fail. Ports of the `replaced` nodes count as free."""
    if not engine.local:
        return  # the ports and disks of a remote engine are not visible here
    freed = {(each[0], each[1], each[3].upper()) for node in replaced for each in containers.published(node.ports)}
    _ports(declared, published(declared, added), freed)
    if locate(engine).kind == "host":  # elsewhere the engine's files are not visible
        mounts(declared)
    needed = sum(INOTIFY_PER_NODE.get(str(node.get("role", "control-plane")), 0) for node in declared.nodes)
    free = free_inotify() if engine_kind(engine) == "native" else None
    if free is not None and free < needed:
        raise EngineError(
            f"the declared cluster needs about {needed} inotify instances, and this machine has {free} left for root",
            fix=INOTIFY_FIX,
        )
    root = engine.root
    if root and Path(root).exists() and (space := shutil.disk_usage(root).free) < SPACE_NEEDED:
        raise EngineError(
            f"the disk below {root} is nearly full: {space / 1024**3:.1f} GiB free, "
            f"{SPACE_NEEDED / 1024**3:.0f} needed",
            fix="docker system prune, or free some space",
        )


def _ports(declared: Declared, api_address: str, freed: Collection[tuple[str, int, str]]) -> None:
    for keys, address, port, protocol in validate.ports(declared.content):
        is_api = keys[0] == "networking"
        on = api_address if is_api else address
        if (on, port, protocol) in freed or not is_taken(on, port, protocol):
            continue
        place = "" if is_api else f"{declared.spots.at(*keys, 'hostPort')}: "
        field = f"networking.apiServerPort in {declared.path}" if is_api else "hostPort"
        shown = str(port) if protocol == "TCP" else f"{port}/{protocol}"
        raise UsageError(
            f"{place}port {shown} on {on} is taken by {holder(port, protocol)}",
            fix=f"free it, or declare another {field}",
        )


def mounts(declared: Declared) -> None:
    """Raise UsageError for a missing directory: the engine would create an empty one, owned by root."""
    for index, node in enumerate(declared.nodes):
        for number, mount in enumerate(node.get("extraMounts") or []):
            if not Path(mount["hostPath"]).exists():
                place = declared.spots.at("nodes", index, "extraMounts", number, "hostPath")
                raise UsageError(
                    f"{place}: there is no {mount['hostPath']} here to mount at {mount['containerPath']}",
                    fix=f"mkdir -p {shlex.quote(mount['hostPath'])}, or correct hostPath",
                )


def is_taken(address: str, port: int, protocol: str = "TCP") -> bool:
    """Whether a program here has `port` of `address`. In a container the engine's addresses are not visible.

    SCTP, which this machine may not know, is never taken.
    """
    if protocol not in _SOCKETS:
        return False
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, _SOCKETS[protocol]) as attempt:
        if protocol == "TCP":  # ignore closed connections in TIME_WAIT; for UDP it would share the port
            attempt.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            attempt.bind((address, port))
        except OSError as error:  # the engine may be able to bind a low port, or an address of its own machine
            return error.errno == errno.EADDRINUSE
    return False


def holder(port: int, protocol: str = "TCP") -> str:
    """The owner of `port`: a container that publishes it, else a process of this machine, if we may see it."""
    import psutil

    with contextlib.suppress(EngineError, CommandFailed):
        for name, image in containers.ls(
            f"publish={port}/{protocol.lower()}", fields=("Names", "Image"), stopped=False
        ):
            return f"the container {name} ({image})"
    for other in psutil.process_iter():
        with contextlib.suppress(psutil.Error):  # the process ended, or belongs to another user
            connections = other.net_connections(protocol.lower())
            open_ = (psutil.CONN_LISTEN, psutil.CONN_NONE)  # of TCP, of UDP
            if any(each.status in open_ and each.laddr and each.laddr.port == port for each in connections):
                return f"process {other.pid} ({' '.join(other.cmdline())[:80]})"
    return "another program (run as root to see which)"


def free_inotify(proc: Path = Path("/proc"), limit: Path = INOTIFY_LIMIT) -> int | None:
    """The inotify instances that root may still open here; None where that is not visible.

    The limit is one per user, and nodes run as root. Without root's rights only the limit itself is visible.
    """
    try:
        free = int(limit.read_text())
    except (OSError, ValueError):  # not Linux
        return None
    for process in proc.glob("[0-9]*"):
        with contextlib.suppress(OSError):  # the process ended
            if process.stat().st_uid == 0:
                for link in (process / "fd").iterdir():
                    with contextlib.suppress(OSError):
                        free -= str(link.readlink()) == INOTIFY_LINK
    return free
