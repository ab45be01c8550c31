"""A cluster's certificates, and API servers on loopback that behave or misbehave."""

import base64
import http.server
import json
import socket
import socketserver
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import pytest

from threezone.kubeconfig import document
from threezone.kubeconfig.credentials import Trust, trust

CERTIFICATES = Path(__file__).with_name("pki")


@dataclass(frozen=True)
class Pki:
    """A cluster's certificates: its CA, the API server's, and a client's for kubernetes-admin."""

    directory: Path

    def data(self, name: str) -> str:
        return base64.b64encode((self.directory / name).read_bytes()).decode()

    def kubeconfig(self, server: str, name: str = "kind", user: str = "") -> str:
        """What `kind get kubeconfig` would print; `user` replaces the client certificate."""
        key = f"{{client-certificate-data: {self.data('client.crt')}, client-key-data: {self.data('client.key')}}}"
        return f"""
apiVersion: v1
kind: Config
clusters:
- cluster: {{certificate-authority-data: {self.data("ca.crt")}, server: "{server}"}}
  name: kind-{name}
contexts:
- context: {{cluster: kind-{name}, user: kind-{name}}}
  name: kind-{name}
current-context: kind-{name}
users:
- name: kind-{name}
  user: {user or key}
"""

    def trust(self, user: str = "") -> Trust:
        entry = document.entry(document.parse(self.kubeconfig("https://unused", user=user).encode()), "kind-kind")
        assert entry is not None
        return trust(entry)


@pytest.fixture(scope="session")
def pki() -> Pki:
    """The certificates of the cluster `kind`, with the names that kind gives its API server."""
    return Pki(CERTIFICATES / "kind")


@pytest.fixture(scope="session")
def other_pki() -> Pki:
    """Another cluster's certificates."""
    return Pki(CERTIFICATES / "other")


@pytest.fixture
def expired_pki() -> Pki:
    """A cluster whose CA is valid, and whose server's certificate ended long ago."""
    return Pki(CERTIFICATES / "expired")


@dataclass
class Behaviour:
    """How a server answers; `seen` collects (method, path, certificate's name, token)."""

    ready: int = 200
    ready_body: str = "ok"
    review: int = 201
    user: str = ""
    nodes: int = 200
    body: str = ""
    anonymous: bool = False
    seen: list[tuple[str, str, str, str]] = field(default_factory=list)


def handler(behaviour: Behaviour) -> type[http.server.BaseHTTPRequestHandler]:
    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True  # an answer is two writes here, and would wait for an acknowledgement

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name is the base class's
            del format, args

        def answer(self, status: int, body: str) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body.encode())

        def who(self) -> str:
            assert isinstance(self.connection, ssl.SSLSocket)
            presented: Any = self.connection.getpeercert() or {}
            names = [value for part in presented.get("subject", ()) for key, value in part if key == "commonName"]
            token = self.headers.get("Authorization", "")
            behaviour.seen.append((self.command, self.path, "".join(names), token))
            return "".join(names) or token.removeprefix("Bearer ")

        def do_GET(self) -> None:
            self.who()
            if self.path.partition("?")[0].endswith("/readyz"):
                self.answer(behaviour.ready, behaviour.ready_body)
            else:
                self.answer(behaviour.nodes, "{}")

        def do_POST(self) -> None:
            user = behaviour.user or self.who()
            sent = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            assert sent["kind"] == "SelfSubjectReview"
            self.answer(behaviour.review, behaviour.body or json.dumps({"status": {"userInfo": {"username": user}}}))

    return Handler


Serve = Callable[..., int]


@pytest.fixture
def serve(pki: Pki) -> Iterator[Serve]:
    """Start an API server on loopback with a cluster's certificates and a behaviour; the answer is its port."""
    with ExitStack() as running:

        def start(behaviour: Behaviour | None = None, certificates: Pki | None = None) -> int:
            return running.enter_context(api_server(behaviour or Behaviour(), certificates or pki))

        yield start


def api_server(behaviour: Behaviour, certificates: Pki) -> AbstractContextManager[int]:
    """An API server with a cluster's certificates, which asks its clients for theirs."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificates.directory / "server.crt", certificates.directory / "server.key")
    context.load_verify_locations(certificates.directory / "ca.crt")
    context.verify_mode = ssl.CERT_OPTIONAL
    return serving(behaviour, context)


@contextmanager
def serving(behaviour: Behaviour, context: ssl.SSLContext) -> Iterator[int]:
    """Serve on a port of loopback while the block runs."""

    class Server(http.server.ThreadingHTTPServer):
        def finish_request(self, request: socket.socket | tuple[bytes, socket.socket], client_address: object) -> None:
            assert isinstance(request, socket.socket)
            # A client that refuses our certificate, or goes away in the middle, is what some tests are about.
            with suppress(OSError), context.wrap_socket(request, server_side=True) as tls:
                super().finish_request(tls, client_address)

    server = Server(("127.0.0.1", 0), handler(behaviour))
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield int(server.server_address[1])
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class Speak(Protocol):
    """Start a server that reads what comes, says `answer` and goes; over TLS when asked to. Returns its port."""

    def __call__(self, answer: bytes, *, tls: bool = False) -> int: ...


@pytest.fixture
def speaks(pki: Pki) -> Iterator[Speak]:
    """Servers that say one thing to every connection, whatever was asked, and then close it."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pki.directory / "server.crt", pki.directory / "server.key")
    with ExitStack() as running:

        def start(answer: bytes, *, tls: bool = False) -> int:
            class Server(socketserver.ThreadingTCPServer):
                def finish_request(self, request: Any, client_address: object) -> None:
                    del client_address
                    with suppress(OSError), context.wrap_socket(request, server_side=True) if tls else request as at:
                        at.recv(65536)
                        at.sendall(answer)

            server = running.enter_context(Server(("127.0.0.1", 0), socketserver.BaseRequestHandler))
            thread = threading.Thread(target=server.serve_forever, args=(0.02,))
            thread.start()
            running.callback(thread.join)
            running.callback(server.shutdown)
            return int(server.server_address[1])

        yield start


@pytest.fixture
def silent() -> Iterator[int]:
    """A port that accepts connections (the kernel does) and never says a word."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen(16)
        yield int(listening.getsockname()[1])


@pytest.fixture
def closed() -> int:
    """A port where nobody listens."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        return int(unused.getsockname()[1])


@pytest.fixture
def full() -> Iterator[int]:
    """A black hole: a listener whose queue is full, so that further connections get no answer at all."""
    with ExitStack() as stack:
        listening = stack.enter_context(socket.socket())
        listening.bind(("127.0.0.1", 0))
        listening.listen(0)
        for _ in range(4):
            filler = stack.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex(listening.getsockname())
        yield int(listening.getsockname()[1])
