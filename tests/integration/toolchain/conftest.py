"""A release server on loopback that can fail in every way, and projects whose pins point at it."""

import hashlib
import io
import socket
import ssl
import struct
import tarfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

import threezone
from threezone.core import net
from threezone.toolchain import channel, golang, release

KIND = b"#!/bin/sh\necho kind v0.31.0 go1.26.8 linux/amd64\n" + b"# padding\n" * 50_000
FLUX = b'#!/bin/sh\necho \'{"flux": "v2.7.3"}\'\n'


def archive(*files: tuple[str, bytes]) -> bytes:
    """A .tar.gz of the given files."""
    into = io.BytesIO()
    with tarfile.open(fileobj=into, mode="w:gz") as tar:
        for name, content in files:
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
    return into.getvalue()


PACKAGE = {"PYTHONPATH": str(Path(threezone.__file__).parents[1])}  # for a Python of a test's own
STATUS = {"missing": 404, "forbidden": 403, "moved": 302, "broken": 503}
CERTIFICATE = Path(__file__).with_name("loopback.pem")  # for 127.0.0.1, signed by itself, with its key
FLUX_ARCHIVE = archive(("LICENSE", b"text"), ("flux", FLUX), ("../escaped", b"never written"))


@dataclass
class Server:
    """What it serves and how; what it was asked. `way` is a behaviour, `failures` how many requests it applies to."""

    content: bytes = KIND
    way: str = "good"
    failures: int = 1_000_000
    target: str = "/moved"
    requests: list[str] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    half_sent: threading.Event = field(default_factory=threading.Event)
    go_on: threading.Event = field(default_factory=threading.Event)
    port: int = 0
    tls: bool = False

    @property
    def base(self) -> str:
        return f"http{'s' * self.tls}://127.0.0.1:{self.port}"


class Handler(BaseHTTPRequestHandler):
    """Answers as `state` says."""

    protocol_version = "HTTP/1.1"
    state: Server

    def log_message(self, *args: object) -> None:
        pass

    def head(self, status: int = 200, location: str = "") -> None:
        self.send_response(status)
        self.send_header("Connection", "close")
        self.send_header("Content-Length", str(len(self.state.content) if status == 200 else 0))
        if location:
            self.send_header("Location", location)
        self.end_headers()

    def note(self) -> None:
        self.state.requests.append(self.path)
        self.state.headers.append({name.lower(): value for name, value in self.headers.items()})
        self.close_connection = True

    def do_CONNECT(self) -> None:
        self.note()
        self.send_error(403)

    def do_GET(self) -> None:
        self.note()
        way = self.state.way if len(self.state.requests) <= self.state.failures else "good"
        if way == "silent":
            self.state.go_on.wait(30)
        elif way in STATUS and self.path != "/moved":
            self.head(STATUS[way], self.state.target if way == "moved" else "")
        elif way in ("truncated", "dropped", "held"):
            self.halves(way)
        else:
            self.head()
            self.wfile.write(self.state.content)

    def halves(self, way: str) -> None:
        half = len(self.state.content) // 2
        self.head()
        self.wfile.write(self.state.content[:half])
        self.wfile.flush()
        self.state.half_sent.set()
        if way == "dropped":  # a reset instead of a proper end
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.connection.close()
        elif way == "held":
            self.state.go_on.wait(30)
            self.wfile.write(self.state.content[half:])


@contextmanager
def serving(server: Server, *, tls: bool = False) -> Iterator[Server]:
    """Serve on a free port of loopback until the block ends."""
    with ThreadingHTTPServer(("127.0.0.1", 0), type("Bound", (Handler,), {"state": server})) as http:
        http.daemon_threads = True
        http.handle_error = lambda *_: None  # type: ignore[method-assign]  # clients that hang up are the point
        server.port, server.tls = http.server_address[1], tls
        if tls:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(CERTIFICATE)
            http.socket = context.wrap_socket(http.socket, server_side=True)
        thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield server
        finally:
            server.go_on.set()
            http.shutdown()
            thread.join()


@pytest.fixture(autouse=True)
def _fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    """No proxy, no memory of an earlier test's network."""
    for variable in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(variable, raising=False)
        monkeypatch.delenv(variable.upper(), raising=False)
    monkeypatch.setattr(channel, "_answers", {})
    net._pool.cache_clear()


@pytest.fixture
def server() -> Iterator[Server]:
    with serving(Server()) as started:
        yield started


@pytest.fixture
def project(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project whose kind and flux come from `server`, with a cache of its own and nothing suitable on PATH."""
    monkeypatch.setenv("THREEZONE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    platform = f"{release.system()}-{golang.architecture()}"
    root = tmp_path / "project"
    (root / "local").mkdir(parents=True)
    (root / "tasks.py").write_text("from threezone.tasks import collection\nnamespace = collection()\n")
    (root / "local" / "pins.toml").write_text(
        f"""
[tools.kind]
base = "{server.base}"
[tools.kind.sha256]
{platform} = "{hashlib.sha256(KIND).hexdigest()}"
[tools.flux]
base = "{server.base}"
[tools.flux.sha256]
{platform} = "{hashlib.sha256(FLUX_ARCHIVE).hexdigest()}"
"""
    )
    return root
