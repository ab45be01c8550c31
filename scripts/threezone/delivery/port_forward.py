"""Forward a loopback port to the Git server, by a `kubectl port-forward` that is started again when it breaks.

kubectl forwards to one pod. It notices the end of that pod (or its node) only when the next connection fails, and then
it ends. So a request to the Git server goes before each connection, and kubectl is started again until one succeeds;
the client waits for that and sees no failure. `git_forward.py` starts this file as a daemon. Standard library only, and
started by its path: it may outlive the environment.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import re
import signal
import sys

PATIENCE = 120.0  # seconds that a client waits; a restarted node needs half a minute
RETRY = 0.5
ANSWER = 5.0  # seconds for one answer of the Git server
SIZE = 65536


class PortForward:
    """One kubectl at a time, and the connections through it."""

    def __init__(self, command: list[str]) -> None:
        self._command = command
        self._kubectl: asyncio.subprocess.Process | None = None
        self._port = 0
        self._lock = asyncio.Lock()
        self._printed = ""
        self._output: asyncio.Task[None] | None = None

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one client to its end."""
        try:
            port = await asyncio.wait_for(self._working_port(), PATIENCE)
            pod_reader, pod_writer = await asyncio.open_connection("127.0.0.1", port)
        except OSError:  # a TimeoutError is one
            writer.close()
            return
        with contextlib.suppress(OSError):  # one side is gone: so are both
            await asyncio.gather(_copy(reader, pod_writer), _copy(pod_reader, writer))
        pod_writer.close()
        writer.close()

    async def _working_port(self) -> int:
        """The port of a kubectl through which the Git server has just answered."""
        async with self._lock:
            while True:
                if self._kubectl is None or self._kubectl.returncode is not None:
                    await self._start()
                if self._port and await _is_healthy(self._port):
                    return self._port
                await self._stop()
                await asyncio.sleep(RETRY)

    async def _start(self) -> None:
        self._port = 0
        self._kubectl = await asyncio.create_subprocess_exec(
            *self._command, stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT, preexec_fn=_die_with_parent if sys.platform == "linux" else None,
        )  # fmt: skip
        lines = self._kubectl.stdout
        assert lines is not None  # noqa: S101  it is a pipe
        with contextlib.suppress(asyncio.TimeoutError):
            first = (await asyncio.wait_for(lines.readline(), PATIENCE / 2)).decode(errors="replace")
            if match := re.match(r"Forwarding from 127\.0\.0\.1:(\d+)", first):
                self._port = int(match[1])
            self._print(first)
        self._output = asyncio.create_task(self._print_all(lines))

    async def _stop(self) -> None:
        if self._kubectl is not None and self._kubectl.returncode is None:
            self._kubectl.kill()
            await self._kubectl.wait()
        if self._output is not None:
            await self._output

    async def _print_all(self, lines: asyncio.StreamReader) -> None:
        async for line in lines:
            self._print(line.decode(errors="replace"))

    def _print(self, text: str) -> None:
        """Print what is new: one line for many equal failures, nothing for each connection."""
        text = text.strip()
        if text and text != self._printed and not text.startswith(("Handling connection", "Forwarding from")):
            self._printed = text
            sys.stderr.write(f"{text}\n")


async def _is_healthy(port: int) -> bool:
    """Whether the Git server answers its health check through this port."""
    try:
        async with asyncio.timeout(ANSWER):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            try:
                writer.write(b"GET /healthz HTTP/1.0\r\n\r\n")
                return b" 200 " in await reader.readline()
            finally:
                writer.close()
    except OSError:
        return False


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(SIZE):
        writer.write(data)
        await writer.drain()
    writer.write_eof()


_libc = ctypes.CDLL(None)


def _die_with_parent() -> None:
    _libc.prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG, prctl(2)


async def main(port: int, command: list[str]) -> None:
    """Serve `127.0.0.1:port` until SIGTERM."""
    ended = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, ended.set)
    await asyncio.start_server(PortForward(command).serve, "127.0.0.1", port)
    # As kubectl says it: whoever started this waits for the line, and takes no other program on the port for this one.
    sys.stderr.write(f"Forwarding from 127.0.0.1:{port}\n")
    sys.stderr.flush()
    await ended.wait()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), sys.argv[2:]))
