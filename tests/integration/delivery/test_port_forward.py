"""The port-forward that starts kubectl again, with a program that behaves as kubectl's port-forward does."""

import http.client
import http.server
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from threezone.core import daemon
from threezone.core.loopback import free_port
from threezone.delivery import git_forward, port_forward

# As kubectl: one line when it listens, one for each connection, and an end with an error as soon as its pod, whose
# port stands in a file, is not there any more; it notices that only when it is used.
KUBECTL = """
import pathlib, socket, sys, threading
file = pathlib.Path(sys.argv[1])
pod = file.read_text() if file.exists() else ""
if not pod:
    sys.exit("Error from server (NotFound): services \\"git\\" not found")
listening = socket.create_server(("127.0.0.1", 0))
print(f"Forwarding from 127.0.0.1:{listening.getsockname()[1]} -> 8080", flush=True)
def copy(source, target):
    while data := source.recv(65536):
        target.sendall(data)
    target.shutdown(socket.SHUT_WR)
while True:
    client = listening.accept()[0]
    print("Handling connection for 8080", flush=True)
    try:
        server = socket.create_connection(("127.0.0.1", int(pod)))
    except OSError:
        sys.exit("error: lost connection to pod")
    for pair in ((client, server), (server, client)):
        threading.Thread(target=copy, args=pair, daemon=True).start()
"""
BODY = b"x" * 5_000_000


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        body = b"ok\n" if self.path == "/healthz" else BODY
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_POST(self) -> None:
        size = len(self.rfile.read(int(self.headers["Content-Length"])))
        self.send_response(200)
        self.end_headers()
        self.wfile.write(str(size).encode())

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def pod(where: Path) -> Iterator[None]:
    """A Git server, as far as the port-forward can tell."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        where.write_text(str(server.server_port))
        yield
        where.unlink()
        server.shutdown()


def ask(port: int, method: str = "GET", body: bytes | None = None) -> bytes:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    connection.request(method, "/", body)
    answer = connection.getresponse().read()
    connection.close()
    return answer


@pytest.fixture
def port(tmp_path: Path) -> Iterator[int]:
    """The port-forward as a daemon, on a free port, with the stand-in for kubectl."""
    program = tmp_path / "kubectl.py"
    program.write_text(KUBECTL)
    chosen = free_port()
    argv: list[str | Path] = [sys.executable, "-I", port_forward.__file__, str(chosen), sys.executable, program]
    daemon.start("git", [*argv, tmp_path / "pod"], ready=lambda: _listens(chosen), timeout=20)
    yield chosen
    daemon.stop("git")


def _listens(port: int) -> bool:
    import socket

    with socket.socket() as tried:
        return tried.connect_ex(("127.0.0.1", port)) == 0


def test_much_goes_both_ways(port: int, tmp_path: Path) -> None:
    with pod(tmp_path / "pod"):
        assert ask(port) == BODY
        assert ask(port, "POST", BODY) == str(len(BODY)).encode()


def test_a_client_never_sees_that_the_pod_was_another_one(port: int, tmp_path: Path) -> None:
    for _ in range(2):
        with pod(tmp_path / "pod"):
            assert ask(port, "POST", b"12") == b"2"


def test_a_client_waits_for_a_server_that_is_away_and_the_log_tells_it_once(port: int, tmp_path: Path) -> None:
    answers: list[bytes] = []
    waiting = threading.Thread(target=lambda: answers.append(ask(port, "POST", b"123")))
    waiting.start()
    waiting.join(2)
    assert waiting.is_alive()
    with pod(tmp_path / "pod"):
        waiting.join(20)
        assert answers == [b"3"]
    assert daemon.tail("git").count("NotFound") == 1
    assert "Handling" not in daemon.tail("git")


def test_the_forward_of_a_lab_is_open_when_its_server_answers(tmp_path: Path) -> None:
    kubectl = tmp_path / "kubectl"
    kubectl.write_text(f"#!{sys.executable}\n" + KUBECTL.replace("sys.argv[1]", repr(str(tmp_path / "pod"))))
    kubectl.chmod(0o755)
    lab: Any = SimpleNamespace(tools={"kubectl": kubectl}, context="kind-it")
    with pod(tmp_path / "pod"):
        opened = git_forward.open_forward(lab)
        try:
            assert ask(opened.port) == BODY
            assert git_forward.open_forward(lab) == opened
        finally:
            assert git_forward.close(lab.context)
