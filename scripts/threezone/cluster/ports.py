"""Who holds a port of this machine: said before kind fails with `bind: address already in use`."""

from __future__ import annotations

import contextlib
import errno
import socket
from pathlib import Path

from threezone.core import process


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
    published = process.run(
        ["docker", "ps", "--filter", f"publish={port}", "--format", "{{.Names}} ({{.Image}})"], timeout=20, check=False
    ).stdout.split("\n")[0]
    if published:
        return f"the container {published}"
    inodes = _listening_inodes(port)
    for directory in Path("/proc").glob("[0-9]*/fd"):
        with contextlib.suppress(OSError):  # processes end, and other users' are not readable
            for link in directory.iterdir():
                if link.is_symlink() and str(link.readlink()) in inodes:
                    command = (directory.parent / "cmdline").read_text().replace("\0", " ").strip()
                    return f"process {directory.parent.name} ({command[:80]})"
    return "another program (run as root to see which)"


def _listening_inodes(port: int) -> set[str]:
    """The socket links (`socket:[N]`) of listeners on `port`, from /proc/net/tcp and tcp6 (proc(5))."""
    found = set()
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        with contextlib.suppress(OSError):
            for line in Path(table).read_text().splitlines()[1:]:
                fields = line.split()
                if fields[3] == "0A" and int(fields[1].rsplit(":", 1)[1], 16) == port:
                    found.add(f"socket:[{fields[9]}]")
    return found
