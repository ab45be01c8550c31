"""An API server that is restarted under a request: a server on loopback, and the client as it is."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import urllib3

from threezone.clients.kubernetes.api import Api, Refused
from threezone.core.errors import ClusterError

Answer = Callable[[BaseHTTPRequestHandler], None]


def say(status: int, body: bytes = b'{"kind": "Thing"}', *, promised: int = 0) -> Answer:
    """An answer; one that promises more bytes than it has is cut off in the middle."""

    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(status)
        handler.send_header("Content-Length", str(promised or len(body)))
        handler.end_headers()
        handler.wfile.write(body)
        handler.close_connection = True

    return answer


@pytest.fixture
def serve() -> Iterator[Callable[..., Api]]:
    """An API server that gives these answers, one for each request, the last one again and again."""
    servers = []

    def start(*answers: Answer) -> Api:
        left = list(answers)

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                (left.pop(0) if len(left) > 1 else left[0])(self)

            def log_message(self, *_: object) -> None:
                pass

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        servers.append(server)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        return Api(f"http://127.0.0.1:{server.server_port}", urllib3.PoolManager(), lambda _method, _path: {})

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


CUT = say(200, b'{"kind": ', promised=100)


def patient(api: Api, seconds: float = 5.0) -> Api:
    deadline = time.monotonic() + seconds
    return api.retrying(lambda: deadline)


@pytest.mark.parametrize("trouble", [CUT, say(500), say(503)], ids=["cut off", "500", "503"])
def test_a_server_that_is_not_up_yet_is_asked_again_by_the_patient(serve: Callable[..., Api], trouble: Answer) -> None:
    assert patient(serve(trouble, trouble, say(200))).get("/x") == {"kind": "Thing"}
    with pytest.raises(ClusterError):
        serve(trouble, say(200)).get("/x")


def test_an_answer_is_an_answer(serve: Callable[..., Api]) -> None:
    with pytest.raises(Refused, match="403"):
        patient(serve(say(403), say(200))).get("/x")
    assert patient(serve(say(404), say(200))).get("/x") is None


def test_patience_ends_at_its_deadline(serve: Callable[..., Api]) -> None:
    began = time.monotonic()
    with pytest.raises(ClusterError, match="does not answer"):
        patient(serve(CUT), 0.5).get("/x")
    assert 0.5 <= time.monotonic() - began < 3
