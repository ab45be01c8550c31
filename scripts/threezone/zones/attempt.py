"""Try one route: resolve the name, TCP, TLS with the cluster's CA and the TLS name, /readyz, and "who am I?".

The certificate is verified on every connection, always.
"""

from __future__ import annotations

import http.client
import json
import socket
import ssl
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from http import HTTPStatus
from typing import Any, TypeVar, cast
from urllib.parse import unquote, urlsplit

from threezone.kubeconfig.credentials import Trust
from threezone.zones.proof import Cause, Proof, Stage, StageName
from threezone.zones.routes import Route

_REVIEW = "/apis/authentication.k8s.io/v1/selfsubjectreviews"  # Kubernetes 1.28 and later: "who am I?"
_REVIEW_BODY = json.dumps({"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"})
_DATES = (9, 10)  # X509_V_ERR_CERT_NOT_YET_VALID, X509_V_ERR_CERT_HAS_EXPIRED
_PLAIN = ("WRONG_VERSION_NUMBER", "HTTP_REQUEST")  # OpenSSL's reasons for an answer without TLS

_LATER = 0.5  # seconds after the end of a stage: `prove` ends it first, and says which stage it was
_LONGEST = 2**20  # bytes of an answer: it may be no API server's

Value = TypeVar("Value")
Address = tuple[int, Any]  # family and address, for `socket`


class _Failed(Exception):
    """A stage failed; the sentence says why."""

    def __init__(self, words: str, cause: Cause = "other") -> None:
        super().__init__(words)
        self.cause: Cause = cause


class Attempt:
    """One route being tried, in a thread of its own. `changed` guards and announces every change of its state.

    `passed` has the time at which each stage succeeded, `ended` the end of the attempt, 0 before that; `end` is the
    time at which the stage that runs is given up.
    """

    def __init__(self, route: Route, trust: Trust, seconds: float, changed: threading.Condition) -> None:
        """Each stage has `seconds`."""
        self.route = route
        self.passed: dict[StageName, float] = {}
        self.ended = 0.0
        self._trust = trust
        # TLS within TLS is more than Python's ssl can do: such a route is tried directly.
        self._proxy = "" if trust.proxy.startswith("https:") else trust.proxy
        self._seconds = seconds
        self._changed = changed
        self._began = time.monotonic()
        self._stages: list[Stage] = []
        self._current: tuple[StageName, float] = ("dns", self._began)
        self._why = ""
        self._cancelled = False
        self.end = self._began + seconds  # of the stage that runs
        self._sockets: list[socket.socket] = []

    @property
    def proved(self) -> bool:
        """Whether every stage succeeded."""
        return self.ended > 0 and "auth" in self.passed

    def run(self) -> None:
        """Run the stages until one fails."""
        try:
            self._run()
        except _Failed as failure:
            self._why = str(failure)
        except Exception as error:  # noqa: BLE001 - in a thread nobody else catches it; the proof reports it
            self._why = f"{type(error).__name__}: {error}"
        with self._changed:
            for opened in self._sockets:
                opened.close()
            self._sockets.clear()
            self.ended = time.monotonic()
            self._changed.notify_all()

    def _run(self) -> None:
        host, port, base, addresses = self._stage("dns", lambda: _resolve(self.route.server, self._proxy))
        raw = self._stage(
            "tcp", lambda: self._connect_by_proxy(host, port) if self._proxy else self._connect(addresses)
        )
        connection = http.client.HTTPConnection(host, port)
        connection.sock = self._stage("tls", lambda: self._wrap(raw, self.route.tls_server_name or host))
        self._stage("readyz", lambda: self._readyz(connection, base))
        self._stage("auth", lambda: self._who(connection, base))

    def finish(self, winner: Attempt | None) -> Proof:
        """Return the proof of the stages so far, and cancel the rest."""
        now = time.monotonic()
        with self._changed:
            stages, ended, why, (running, since) = list(self._stages), self.ended, self._why, self._current
            self._cancelled = True
            # Only the attempt's own thread closes its sockets: OpenSSL keeps the descriptor's number, which may belong
            # to another file after a close by another thread.
            for opened in self._sockets:
                with suppress(OSError):
                    socket.socket.shutdown(opened, socket.SHUT_RDWR)  # an SSLSocket's own also drops its state
        if not ended and winner is None:
            why = f"no answer within {self._seconds:.1f} s ({running})"
            stages.append(Stage(running, ok=False, seconds=now - since, why="i/o timeout", cause="silent"))
        elif not ended and winner is not None:
            why = f"cancelled in {running}: {winner.route.server} was proved first"
        return Proof(self.route, tuple(stages), (ended or now) - self._began, why)

    def _stage(self, name: StageName, work: Callable[[], Value]) -> Value:
        began = time.monotonic()
        with self._changed:
            self._current = (name, began)
            self.end = began + self._seconds
        try:
            value = work()
        except (OSError, http.client.HTTPException, _Failed, ValueError) as error:
            cause, why = _explain(error, self.route, name)
            self._note(Stage(name, ok=False, seconds=time.monotonic() - began, why=why, cause=cause))
            raise _Failed(f"{name}: {why}") from None
        self._note(Stage(name, ok=True, seconds=time.monotonic() - began, why=value if isinstance(value, str) else ""))
        return value

    def _note(self, stage: Stage) -> None:
        with self._changed:
            self._stages.append(stage)
            if stage.ok:
                self.passed[stage.name] = time.monotonic()
            self._changed.notify_all()

    def _remaining(self) -> float:
        return max(0.001, self.end + _LATER - time.monotonic())

    def _keep(self, opened: socket.socket) -> None:
        """Remember the socket, so that `finish` can cancel its operations."""
        with self._changed:
            self._sockets.append(opened)
            if self._cancelled:
                raise _Failed("cancelled")

    def _connect(self, addresses: list[Address]) -> socket.socket:
        problem = OSError("no address")
        for index, (family, address) in enumerate(addresses):
            opened = socket.socket(family, socket.SOCK_STREAM)
            self._keep(opened)
            opened.settimeout(self._remaining() / (len(addresses) - index))
            try:
                opened.connect(address)
            except OSError as error:
                problem = error
                continue
            opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            return opened
        raise problem

    def _connect_by_proxy(self, host: str, port: int) -> socket.socket:
        import socks  # type: ignore[import-untyped]

        proxy = urlsplit(self._proxy)
        kind, usual = (socks.HTTP, 80) if proxy.scheme == "http" else (socks.SOCKS5, 1080)
        user, password = (unquote(part) if part else None for part in (proxy.username, proxy.password))
        opened: Any = socks.socksocket()
        opened.set_proxy(kind, proxy.hostname, proxy.port or usual, username=user, password=password)
        self._keep(opened)
        opened.settimeout(self._remaining())
        opened.connect((host, port))
        return cast("socket.socket", opened)

    def _wrap(self, raw: socket.socket, name: str) -> ssl.SSLSocket:
        raw.settimeout(self._remaining())
        # The handshake comes after `_keep`, so that it can be ended from outside.
        tls = self._trust.context.wrap_socket(raw, server_hostname=name, do_handshake_on_connect=False)
        self._keep(tls)
        tls.do_handshake()
        return tls

    def _ask(self, connection: http.client.HTTPConnection, method: str, path: str, body: str = "") -> tuple[int, bytes]:
        if connection.sock is None:
            raise _Failed("EOF: the server closed the connection", "closed")
        connection.sock.settimeout(self._remaining())
        headers = {"Accept": "application/json", "User-Agent": "threezone", **self._trust.headers}
        if body:
            headers["Content-Type"] = "application/json"
        connection.request(method, path, body or None, headers)
        answer = connection.getresponse()
        if answer.status == HTTPStatus.UNAUTHORIZED:
            raise _Failed("HTTP 401: You must be logged in to the server (Unauthorized)", "unauthorized")
        content = answer.read(_LONGEST)
        if answer.length and len(content) < _LONGEST:
            raise http.client.IncompleteRead(content, answer.length)
        return answer.status, content

    def _readyz(self, connection: http.client.HTTPConnection, base: str) -> str:
        status, body = self._ask(connection, "GET", f"{base}/readyz")
        if status != HTTPStatus.OK:
            failing = [line for line in body.decode(errors="replace").splitlines() if line.startswith("[-]")]
            raise _Failed(f"HTTP {status}: the API server is not ready {' '.join(failing)}".rstrip(), "not-ready")
        return ""

    def _who(self, connection: http.client.HTTPConnection, base: str) -> str:
        if self._trust.unusable:
            raise _Failed(self._trust.unusable, "plugin")
        status, body = self._ask(connection, "POST", f"{base}{_REVIEW}", _REVIEW_BODY)
        if status == HTTPStatus.NOT_FOUND:  # an API server before 1.28
            status, body = self._ask(connection, "GET", f"{base}/api/v1/nodes?limit=1")
            if status == HTTPStatus.OK:
                return "allowed to list nodes"
        answer = json.loads(body)
        if not isinstance(answer, dict):
            raise _Failed(f"HTTP {status}: no answer of a Kubernetes API server", "not-an-api")
        user = str(((answer.get("status") or {}).get("userInfo") or {}).get("username") or "")
        if status != HTTPStatus.CREATED or user in ("", "system:anonymous"):
            raise _Failed(f"HTTP {status}: {answer.get('message') or 'not recognised as anybody'}", "forbidden")
        return f"as {user}"


def _resolve(server: str, proxy: str) -> tuple[str, int, str, list[Address]]:
    """Return the server's host, port and path, and every address of the host once, in the system's order.

    A `proxy` resolves the name itself.
    """
    try:
        parts = urlsplit(server)
        host, port = parts.hostname or "", parts.port or 443
    except ValueError:  # an invalid port, a missing bracket
        host, port = "", 0
    if not host or parts.scheme != "https":
        raise _Failed(f"{server!r} is not an https address", "address")
    if proxy:
        return host, port, parts.path.rstrip("/"), []
    answers = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return host, port, parts.path.rstrip("/"), list(dict.fromkeys((int(answer[0]), answer[4]) for answer in answers))


def _explain(error: Exception, route: Route, stage: StageName) -> tuple[Cause, str]:
    """Return the cause, and the message of kubectl and curl for it."""
    if isinstance(error, _Failed):
        return error.cause, str(error)
    host = urlsplit(route.server).hostname or route.server
    cause: Cause = "other"
    words = str(error)
    match error:
        case ssl.SSLError():
            cause, words = _explain_tls(error, route.tls_server_name or host, stage)
        case socket.gaierror():
            cause, words = "unknown-name", f"Could not resolve host: {host} (no such host)"
        case TimeoutError():
            cause, words = "silent", "i/o timeout"
        case ConnectionRefusedError():
            cause, words = "refused", "connection refused"
        case http.client.HTTPException() | ConnectionError() if stage in ("readyz", "auth"):
            cause = "closed" if isinstance(error, ConnectionError | http.client.IncompleteRead) else "not-an-api"
            words = f"no HTTP answer: {type(error).__name__} {error}".rstrip()
        case json.JSONDecodeError():
            cause, words = "not-an-api", "the answer is not JSON: this is no Kubernetes API server"
        case OSError():
            cause = "handshake" if stage == "tls" else "unreachable" if stage == "tcp" else "other"
            words = (error.strerror or words).lower()
    return cause, words


def _explain_tls(error: ssl.SSLError, name: str, stage: StageName) -> tuple[Cause, str]:
    match error:
        case ssl.SSLCertVerificationError() if "mismatch" in error.verify_message:
            return "name", f"x509: the certificate is not valid for {name}"
        case ssl.SSLCertVerificationError() if error.verify_code in _DATES:
            return "date", f"x509: certificate has expired or is not yet valid ({error.verify_message})"
        case ssl.SSLCertVerificationError():
            reason = error.verify_message
            return "authority", f"x509: certificate signed by unknown authority ({reason}), not by the cluster's CA"
        case ssl.SSLEOFError() | ssl.SSLZeroReturnError():
            return ("handshake" if stage == "tls" else "closed"), "EOF: the server closed the connection"
        case _ if error.reason in _PLAIN:
            return "plain-http", "TLS handshake failed: the server gave a plain HTTP response to an HTTPS client"
    return "handshake", f"TLS handshake failed: {error.reason or error}"
