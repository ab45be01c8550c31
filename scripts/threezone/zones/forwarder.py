"""Forward TCP connections from a loopback port, each to a program of its own, as inetd does for a nowait service.

The connection is stdin and stdout of the program, so this process copies no data, and the connection ends with the
program. `tunnel.py` starts this file as a daemon, with `docker exec -i …` as the program. It uses the standard library
only and is started by its path: it may outlive the environment.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import selectors
import signal
import socket
import subprocess
import sys
from dataclasses import dataclass
from types import FrameType

MOST = 100  # connections at once, each a program; more wait in the listening socket's queue
_LAST = 1000  # characters kept of a program's stderr
_GRACE = 2.0


def main(arguments: list[str]) -> None:
    """Serve `127.0.0.1:PORT` with the program that follows, until SIGTERM. New failures are printed on stderr."""
    port, command = int(arguments[0]), arguments[1:]
    signal.signal(signal.SIGTERM, _leave)
    with socket.socket() as listening:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # a former forwarder's closed connections
        listening.bind(("127.0.0.1", port))
        listening.listen(MOST)
        listening.setblocking(False)
        Forwarder(listening, command).serve()


def _leave(number: int, frame: FrameType | None) -> None:
    del number, frame
    sys.exit(0)


@dataclass(eq=False)
class Child:
    """A connection's program, the reading end of its stderr, and the last output on it."""

    program: subprocess.Popen[bytes]
    stderr: int
    output: str = ""


class Forwarder:
    """One listening socket and the programs of its connections, in one thread (so that a fork is safe)."""

    def __init__(self, listening: socket.socket, command: list[str]) -> None:
        self._listening = listening
        self._command = command
        self._children: set[Child] = set()
        self._selector = selectors.DefaultSelector()
        self._last = ""
        self._c = ctypes.CDLL(None)  # loaded here: only little is safe after a fork

    def serve(self) -> None:
        """Serve until an exception, such as `SystemExit`, is raised; then end every program."""
        self._selector.register(self._listening, selectors.EVENT_READ)
        try:
            while True:
                for key, _ in self._selector.select():
                    if key.data is None:
                        self._accept()
                    else:
                        self._read_stderr(key.data)
        finally:
            self._end_all()

    def _accept(self) -> None:
        try:
            connection, _ = self._listening.accept()
        except OSError:  # the client is gone already
            return
        reading, writing = os.pipe()
        with connection:
            connection.setblocking(True)  # the flag is the socket's, and the program expects a plain file
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            try:
                program = subprocess.Popen(
                    self._command,
                    stdin=connection.fileno(),
                    stdout=connection.fileno(),
                    stderr=writing,
                    preexec_fn=self._die_with_parent if sys.platform == "linux" else None,  # noqa: PLW1509 - one thread
                )
            except OSError as error:
                os.close(reading)
                self._report(f"{self._command[0]}: {error.strerror}")
                return
            finally:
                os.close(writing)
        child = Child(program, reading)
        self._children.add(child)
        self._selector.register(reading, selectors.EVENT_READ, child)
        if len(self._children) == MOST:
            self._selector.unregister(self._listening)

    def _die_with_parent(self) -> None:
        self._c.prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG, prctl(2)

    def _read_stderr(self, child: Child) -> None:
        """Read the program's output. The end of its stderr is the end of the program."""
        text = os.read(child.stderr, 4096).decode(errors="replace")
        child.output = (child.output + text)[-_LAST:]
        if text:
            return
        self._selector.unregister(child.stderr)
        os.close(child.stderr)
        try:
            child.program.wait(_GRACE)
        except subprocess.TimeoutExpired:
            child.program.kill()
            child.program.wait()
        if len(self._children) == MOST:
            self._selector.register(self._listening, selectors.EVENT_READ)
        self._children.remove(child)
        if child.output.strip():
            self._report(child.output.strip())

    def _report(self, text: str) -> None:
        """Print the text unless it repeats the last one: a client that retries must not fill the disk."""
        if text != self._last:
            self._last = text
            sys.stderr.write(f"{text}\n")

    def _end_all(self) -> None:
        for child in self._children:
            child.program.terminate()
        for child in self._children:
            with contextlib.suppress(subprocess.TimeoutExpired):
                child.program.wait(_GRACE)
            child.program.kill()
            child.program.wait()


if __name__ == "__main__":
    main(sys.argv[1:])
