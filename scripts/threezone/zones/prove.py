"""A route is used only when it is proved: name, TCP, TLS with the cluster's CA and the TLS name, /readyz, who we are.

Candidates race. The most preferred proof wins; a better candidate that has got through to TCP is waited for a moment,
one that hangs before that hardly at all. There is no connection whose certificate was not verified, not even to look.
"""

from __future__ import annotations

import http.client
import json
import socket
import ssl
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Literal, TypeVar
from urllib.parse import urlsplit

from threezone.kubeconfig.credentials import Trust
from threezone.zones.routes import Route

StageName = Literal["dns", "tcp", "tls", "readyz", "auth"]
STAGES: tuple[StageName, ...] = ("dns", "tcp", "tls", "readyz", "auth")

# Why a stage did not hold, for `explain.py`; a `silent` server is one that the deadline found waiting for it.
Cause = Literal[
    "", "address", "unknown-name", "refused", "unreachable", "authority", "name", "date", "plain-http", "handshake",
    "closed", "not-ready", "unauthorized", "forbidden", "not-an-api", "plugin", "silent", "other",
]  # fmt: skip

DEADLINE = 3.0  # seconds for all candidates together
_SETTLE = 1.0  # seconds that a better candidate which is connected may still take after the first proof
_GRACE = 0.1  # and one that is not yet connected, as a share of the time to the first proof: maybe a black hole
_NAME = 0.1  # and one whose name is just being resolved: names are preferred, but a resolver takes its time
_LATE = 0.02  # and one whose name came after the first proof, to be connected

_REVIEW = "/apis/authentication.k8s.io/v1/selfsubjectreviews"  # Kubernetes 1.28 and later: "who am I?"
_REVIEW_BODY = json.dumps({"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"})
_UNAUTHORIZED = "You must be logged in to the server (Unauthorized)"

_DATES = (9, 10)  # X509_V_ERR_CERT_NOT_YET_VALID, X509_V_ERR_CERT_HAS_EXPIRED
_PLAIN = ("WRONG_VERSION_NUMBER", "HTTP_REQUEST")  # what OpenSSL makes of an answer that is no TLS record

Value = TypeVar("Value")


@dataclass(frozen=True)
class Stage:
    """One step of a proof: whether it held, how long it took, and why not (or what was seen)."""

    name: StageName
    ok: bool
    seconds: float
    why: str = ""
    cause: Cause = ""


@dataclass(frozen=True)
class Proof:
    """What was tried on one route. `why` is empty when it is proved."""

    route: Route
    stages: tuple[Stage, ...]
    seconds: float
    why: str = ""

    @property
    def ok(self) -> bool:
        """Whether every stage held."""
        return len(self.stages) == len(STAGES) and all(stage.ok for stage in self.stages)

    def data(self) -> dict[str, Any]:
        """The proof as JSON has it; a stage that was not reached is null."""
        reached = {stage.name: stage for stage in self.stages}
        return {
            "name": self.route.name,
            "server": self.route.server,
            "tlsServerName": self.route.tls_server_name or None,
            "needs": self.route.needs or None,
            "stages": {
                name: {"ok": at.ok, "seconds": round(at.seconds, 4), "why": at.why or None}
                if (at := reached.get(name))
                else None
                for name in STAGES
            },
            "ok": self.ok,
            "seconds": round(self.seconds, 4),
            "why": self.why or None,
        }


@dataclass(frozen=True)
class Verdict:
    """The race's end: the proof that won, if any, and what became of every candidate, in their order."""

    chosen: Proof | None
    proofs: tuple[Proof, ...]
    seconds: float

    @property
    def evidence(self) -> str:
        """A line per candidate, for an error."""
        return "\n".join(f"{proof.route.server}: {proof.why or 'proved'}" for proof in self.proofs)


def prove(routes: Sequence[Route], trust: Trust, *, deadline: float = DEADLINE) -> Verdict:
    """Try all routes at once, at most `deadline` seconds. A route that fails is no exception: it is in the answer."""
    changed = threading.Condition()
    began = time.monotonic()
    attempts = [_Attempt(route, trust, began + deadline, changed) for route in routes]
    for attempt in attempts:
        threading.Thread(target=attempt.run, name=f"prove {attempt.route.server}", daemon=True).start()
    with changed:
        while (pause := _pause(attempts, began, began + deadline)) > 0:
            changed.wait(pause)
        winner = next((attempt for attempt in attempts if attempt.proved), None)
    proofs = tuple(attempt.finish(winner) for attempt in attempts)
    chosen = next((proof for proof in proofs if proof.ok), None)
    return Verdict(chosen, proofs, time.monotonic() - began)


def _pause(attempts: Sequence[_Attempt], began: float, end: float) -> float:
    """How long to wait for news; 0 when the race is decided."""
    now = time.monotonic()
    best = next((index for index, attempt in enumerate(attempts) if attempt.proved), None)
    if best is None:
        return 0.0 if all(attempt.ended for attempt in attempts) else end - now
    first = min(attempt.ended for attempt in attempts if attempt.proved)
    limits = [_limit(attempt, began, first) for attempt in attempts[:best] if not attempt.ended]
    return min(max(limits, default=now), end) - now


def _limit(attempt: _Attempt, began: float, first: float) -> float:
    """Until when a better candidate is waited for after the `first` proof."""
    if attempt.connected:
        return first + _SETTLE
    if not attempt.resolved:
        return first + _NAME
    return max(first + _GRACE * (first - began), attempt.resolved + _LATE if attempt.resolved > first else 0.0)


class _Failed(Exception):
    """A stage did not hold; the sentence says why."""

    def __init__(self, words: str, cause: Cause = "other") -> None:
        super().__init__(words)
        self.cause: Cause = cause


class _Attempt:
    """One candidate on its way, in a thread of its own."""

    def __init__(self, route: Route, trust: Trust, end: float, changed: threading.Condition) -> None:
        self.route = route
        self.resolved = 0.0
        self.connected = False
        self.proved = False
        self.ended = 0.0
        self._trust = trust
        self._end = end
        self._changed = changed
        self._began = time.monotonic()
        self._stages: list[Stage] = []
        self._current: tuple[StageName, float] = ("dns", self._began)
        self._why = ""
        self._cancelled = False
        self._sockets: list[socket.socket] = []

    def run(self) -> None:
        """Go through the stages until one fails."""
        proved = False
        try:
            self._run()
            proved = True
        except _Failed as failure:
            self._why = str(failure)
        except Exception as error:  # noqa: BLE001 - nobody is there to catch it in a thread: it belongs into the answer
            self._why = f"{type(error).__name__}: {error}"
        finally:
            self._close()
        with self._changed:
            self.proved = proved
            self.ended = time.monotonic()
            self._changed.notify_all()

    def _run(self) -> None:
        host, port, base, addresses = self._stage("dns", lambda: _resolve(self.route.server))
        with self._changed:
            self.resolved = time.monotonic()
            self._changed.notify_all()
        raw = self._stage("tcp", lambda: self._connect(addresses))
        with self._changed:
            self.connected = True
            self._changed.notify_all()
        name = self.route.tls_server_name or host
        tls = self._stage("tls", lambda: self._wrap(raw, name))
        connection = http.client.HTTPConnection(host, port)
        connection.sock = tls
        self._stage("readyz", lambda: self._readyz(connection, base))
        self._stage("auth", lambda: self._who(connection, base))

    def finish(self, winner: _Attempt | None) -> Proof:
        """The proof as far as it came; what still runs is cancelled."""
        with self._changed:
            stages, ended, why, (running, since) = list(self._stages), self.ended, self._why, self._current
            self._cancelled = True
        now = time.monotonic()
        if not ended:
            self._wake()
            if winner is None:
                why = f"no answer within {self._end - self._began:.1f} s ({running})"
                stages.append(Stage(running, ok=False, seconds=now - since, why="i/o timeout", cause="silent"))
            else:
                why = f"cancelled in {running}: {winner.route.server} was proved first"
        return Proof(self.route, tuple(stages), (ended or now) - self._began, why)

    def _stage(self, name: StageName, work: Callable[[], Value]) -> Value:
        began = time.monotonic()
        with self._changed:
            self._current = (name, began)
        try:
            value = work()
        except (OSError, http.client.HTTPException, _Failed, ValueError) as error:
            cause, why = _words(error, self.route, name)
            self._note(Stage(name, ok=False, seconds=time.monotonic() - began, why=why, cause=cause))
            raise _Failed(f"{name}: {why}") from None
        self._note(Stage(name, ok=True, seconds=time.monotonic() - began, why=value if isinstance(value, str) else ""))
        return value

    def _note(self, stage: Stage) -> None:
        with self._changed:
            self._stages.append(stage)

    def _remaining(self) -> float:
        return max(0.001, self._end - time.monotonic())

    def _keep(self, made: socket.socket) -> None:
        """Remember the socket, so that `finish` can end whatever waits on it."""
        with self._changed:
            self._sockets.append(made)
            if self._cancelled:
                raise _Failed("cancelled")

    def _wake(self) -> None:
        """End whatever our thread waits for.

        Only that thread closes its sockets: OpenSSL holds the descriptor's number, and after a close from outside that
        number may be another file's, which it would then read and write.
        """
        with self._changed:
            for made in self._sockets:
                with suppress(OSError):
                    socket.socket.shutdown(made, socket.SHUT_RDWR)  # an SSLSocket's own also drops its state

    def _close(self) -> None:
        with self._changed:
            for made in self._sockets:
                made.close()
            self._sockets.clear()

    def _connect(self, addresses: list[tuple[int, Any]]) -> socket.socket:
        problem: OSError = OSError("no address")
        for index, (family, address) in enumerate(addresses):
            made = socket.socket(family, socket.SOCK_STREAM)
            self._keep(made)
            made.settimeout(self._remaining() / (len(addresses) - index))
            try:
                made.connect(address)
            except OSError as error:
                problem = error
                continue
            made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            return made
        raise problem

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
        return answer.status, answer.read()

    def _readyz(self, connection: http.client.HTTPConnection, base: str) -> str:
        status, body = self._ask(connection, "GET", f"{base}/readyz")
        if status == http.HTTPStatus.UNAUTHORIZED:
            raise _Failed(f"HTTP 401: {_UNAUTHORIZED}", "unauthorized")
        if status != http.HTTPStatus.OK:
            failing = [line for line in body.decode(errors="replace").splitlines() if line.startswith("[-]")]
            raise _Failed(f"HTTP {status}: the API server is not ready {' '.join(failing)}".rstrip(), "not-ready")
        return ""

    def _who(self, connection: http.client.HTTPConnection, base: str) -> str:
        if self._trust.unusable:
            raise _Failed(self._trust.unusable, "plugin")
        status, body = self._ask(connection, "POST", f"{base}{_REVIEW}", _REVIEW_BODY)
        if status == http.HTTPStatus.NOT_FOUND:  # an API server before 1.28
            status, body = self._ask(connection, "GET", f"{base}/api/v1/nodes?limit=1")
            if status == http.HTTPStatus.OK:
                return "allowed to list nodes"
        if status == http.HTTPStatus.UNAUTHORIZED:
            raise _Failed(f"HTTP 401: {_UNAUTHORIZED}", "unauthorized")
        answer = json.loads(body)
        if not isinstance(answer, dict):
            raise _Failed(f"HTTP {status}: no answer of a Kubernetes API server", "not-an-api")
        user = str(((answer.get("status") or {}).get("userInfo") or {}).get("username") or "")
        if status != http.HTTPStatus.CREATED or user in ("", "system:anonymous"):
            raise _Failed(f"HTTP {status}: {answer.get('message') or 'not recognised as anybody'}", "forbidden")
        return f"as {user}"


def _resolve(server: str) -> tuple[str, int, str, list[tuple[int, Any]]]:
    """The server's host, port and path, and every address of the host, none twice, in the system's order."""
    try:
        parts = urlsplit(server)
        host, port = parts.hostname or "", parts.port or 443
    except ValueError:  # a port that is no number, a bracket that is not closed
        raise _Failed(f"{server!r} is not an https address", "address") from None
    if parts.scheme != "https" or not host:
        raise _Failed(f"{server!r} is not an https address", "address")
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return host, port, parts.path.rstrip("/"), list(dict.fromkeys((int(at[0]), at[4]) for at in found))


def _words(error: Exception, route: Route, stage: StageName) -> tuple[Cause, str]:
    """What happened: its cause, and the words that kubectl and curl use for it."""
    if isinstance(error, _Failed):
        return error.cause, str(error)
    host = urlsplit(route.server).hostname or route.server
    if isinstance(error, ssl.SSLError):
        return _tls_words(error, route.tls_server_name or host, stage)
    cause: Cause = "other"
    match error:
        case socket.gaierror():
            cause, words = "unknown-name", f"Could not resolve host: {host} (no such host)"
        case TimeoutError():
            cause, words = "silent", "i/o timeout"
        case ConnectionRefusedError():
            cause, words = "refused", "connection refused"
        case http.client.HTTPException() | ConnectionError() if stage in ("readyz", "auth"):
            ended = isinstance(error, (ConnectionError, http.client.IncompleteRead))
            cause, words = (
                ("closed" if ended else "not-an-api"),
                f"no HTTP answer: {type(error).__name__} {error}".rstrip(),
            )
        case json.JSONDecodeError():
            cause, words = "not-an-api", "the answer is not JSON: this is no Kubernetes API server"
        case OSError():
            cause = "handshake" if stage == "tls" else "unreachable" if stage == "tcp" else "other"
            words = (error.strerror or str(error)).lower()
        case _:
            words = str(error)
    return cause, words


def _tls_words(error: ssl.SSLError, name: str, stage: StageName) -> tuple[Cause, str]:
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
