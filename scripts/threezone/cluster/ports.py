"""Who holds a port of this machine: said before kind fails with `bind: address already in use`."""

from __future__ import annotations

import contextlib
import errno
import socket

from threezone.clients.docker import containers
from threezone.core.errors import CommandFailed, EngineError


def is_taken(address: str, port: int) -> bool:
    """Whether somebody here holds `port` on `address`. In a container the engine's addresses are not ours to see."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as attempt:
        attempt.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # a closed connection's rest does not count
        try:
            attempt.bind((address, port))
        except OSError as error:  # a low port, or an address of another place, may still be the engine's to bind
            return error.errno == errno.EADDRINUSE
    return False


def holder(port: int) -> str:
    """Who listens on `port`: a container that publishes it, else a process of this machine, as far as we may see."""
    import psutil

    with contextlib.suppress(EngineError, CommandFailed):
        for name, image in containers.ls(f"publish={port}", fields=("Names", "Image"), stopped=False):
            return f"the container {name} ({image})"
    for other in psutil.process_iter():
        with contextlib.suppress(psutil.Error):  # processes end, and other users' are not readable
            connections = other.net_connections("tcp")
            if any(each.status == psutil.CONN_LISTEN and each.laddr.port == port for each in connections):
                return f"process {other.pid} ({' '.join(other.cmdline())[:80]})"
    return "another program (run as root to see which)"
