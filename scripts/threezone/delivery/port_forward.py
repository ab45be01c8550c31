"""Carry TCP connections from a loopback port to the Git server, by a `kubectl port-forward` that begins anew.

kubectl's forward leads to one pod, and notices the end of that pod (or of its node) only when the next connection
fails, and then it ends. So the way is tried with a request before each connection is passed on, and opened again until
it is; the client waits for that and sees no failure. `forward.py` starts this file as a daemon. Standard library only,
and started by its path: it may outlive the environment.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import re
import signal
import sys

PATIENCE = 120.0  # seconds that a client waits for a way; a node that was restarted needs half a minute
AGAIN = 0.5
ANSWER = 5.0  # seconds for one answer of the Git server
SIZE = 65536


class Carrier:
    """One kubectl at a time, and the connections that go through it."""

    def __init__(self, kubectl: list[str]) -> None:
        self._argv = kubectl
        self._kubectl: asyncio.subprocess.Process | None = None
        self._port = 0
        self._lock = asyncio.Lock()
        self._last = ""
        self._hearing: asyncio.Task[None] | None = None

    async def carry(self, near: asyncio.StreamReader, out: asyncio.StreamWriter) -> None:
        """Serve one client to its end."""
        try:
            port = await asyncio.wait_for(self._way(), PATIENCE)
            far, into = await asyncio.open_connection("127.0.0.1", port)
        except OSError:  # a TimeoutError is one
            out.close()
            return
        try:
            await asyncio.gather(_copy(near, into), _copy(far, out))
        except OSError:
            pass  # one side is gone: so are both
        finally:
            into.close()
            out.close()

    async def _way(self) -> int:
        """The port of a forward through which the Git server has just answered."""
        async with self._lock:
            while not await self._open():  # noqa: ASYNC110  the far end announces nothing
                await asyncio.sleep(AGAIN)
            return self._port

    async def _open(self) -> bool:
        if self._kubectl is None or self._kubectl.returncode is not None:
            await self._start()
        if self._port and await _answers(self._port):
            return True
        await self._end()
        return False

    async def _start(self) -> None:
        self._port = 0
        self._kubectl = await asyncio.create_subprocess_exec(
            *self._argv, stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT, preexec_fn=_die_with_us if sys.platform == "linux" else None,
        )  # fmt: skip
        lines = self._kubectl.stdout
        assert lines is not None  # noqa: S101  it was asked for
        with contextlib.suppress(asyncio.TimeoutError):
            first = (await asyncio.wait_for(lines.readline(), PATIENCE / 2)).decode(errors="replace")
            found = re.match(r"Forwarding from 127\.0\.0\.1:(\d+)", first)
            self._port = int(found.group(1)) if found else 0
            if not found:
                self._say(first)
        self._hearing = asyncio.create_task(self._hear(lines))

    async def _hear(self, lines: asyncio.StreamReader) -> None:
        async for line in lines:
            self._say(line.decode(errors="replace"))

    async def _end(self) -> None:
        if self._kubectl is not None and self._kubectl.returncode is None:
            self._kubectl.kill()
            await self._kubectl.wait()
        if self._hearing is not None:
            await self._hearing

    def _say(self, text: str) -> None:
        """Print what is new: one line for many failures alike, nothing for each connection."""
        text = text.strip()
        if text and text != self._last and not text.startswith(("Handling connection", "Forwarding from")):
            self._last = text
            sys.stderr.write(f"{text}\n")


async def _answers(port: int) -> bool:
    """Whether the Git server says that it is well, through this port."""
    try:
        return await asyncio.wait_for(_ask(port), ANSWER)
    except OSError:
        return False


async def _ask(port: int) -> bool:
    near, out = await asyncio.open_connection("127.0.0.1", port)
    try:
        out.write(b"GET /healthz HTTP/1.0\r\n\r\n")
        return b" 200 " in await near.readline()
    finally:
        out.close()


async def _copy(near: asyncio.StreamReader, out: asyncio.StreamWriter) -> None:
    while data := await near.read(SIZE):
        out.write(data)
        await out.drain()
    out.write_eof()


_c = ctypes.CDLL(None)


def _die_with_us() -> None:
    _c.prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG, prctl(2)


async def main(port: int, kubectl: list[str]) -> None:
    """Serve `127.0.0.1:port` until SIGTERM."""
    ended = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, ended.set)
    carrier = Carrier(kubectl)
    await asyncio.start_server(carrier.carry, "127.0.0.1", port)
    await ended.wait()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), sys.argv[2:]))
