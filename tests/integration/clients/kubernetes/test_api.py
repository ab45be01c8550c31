import http.server
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import pytest
import urllib3

from threezone.clients.kubernetes import api as client
from threezone.clients.kubernetes import kube_proxy
from threezone.clients.kubernetes.api import Api, Forbidden, Refused

Answer = tuple[int, dict[str, str], str]
BUSY: Answer = (429, {"Retry-After": "1"}, '{"message": "storage is (re)initializing"}')
WELL: Answer = (200, {}, '{"items": []}')


@contextmanager
def serving(*answers: Answer) -> Iterator[tuple[Api, list[str]]]:
    """An API server that gives these answers one after the other, the last one for ever; and what it was asked."""
    asked: list[str] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, headers, body = answers[min(len(asked), len(answers) - 1)]
            asked.append(self.path)
            self.send_response(status)
            for name, value in {**headers, "Content-Length": str(len(body))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body.encode())

        def log_message(self, *_: object) -> None:
            """Keep quiet."""

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    pool = urllib3.PoolManager()
    try:
        yield Api(f"http://127.0.0.1:{server.server_port}", pool, lambda _method, _path: {}), asked
    finally:
        pool.clear()
        server.shutdown()
        server.server_close()


def test_a_server_that_is_busy_for_a_moment_is_asked_again_when_it_said() -> None:
    with serving(BUSY, WELL) as (api, asked):
        assert api.get("/apis/things") == {"items": []}
        assert asked == ["/apis/things"] * 2


def test_a_server_that_stays_busy_is_told_in_its_words(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "BUSY_SECONDS", 0.01)
    with serving(BUSY) as (api, asked), pytest.raises(Refused, match="storage is") as caught:
        api.get("/apis/things")
    assert caught.value.status == 429
    assert len(asked) == client.BUSY_TRIES


def test_a_refusal_that_names_no_time_is_final() -> None:
    with serving((429, {}, '{"message": "no"}'), WELL) as (api, asked), pytest.raises(Refused, match="429: no"):
        api.get("/apis/things")
    assert len(asked) == 1


def forbidden(user: str) -> Answer:
    words = f'User \\"{user}\\" cannot list resource \\"things\\" in API group \\"\\" at the cluster scope'
    return (403, {}, f'{{"message": "{words}"}}')


def test_the_administrator_is_asked_again_until_the_server_has_loaded_its_rules() -> None:
    with serving(forbidden("kubernetes-admin"), forbidden("kubernetes-admin"), WELL) as (api, asked):
        assert api.get("/apis/things") == {"items": []}
        assert len(asked) == 3


def test_anybody_is_asked_again_only_after_an_outage() -> None:
    job = forbidden("system:serviceaccount:prod:job")
    with serving(job, (503, {}, '{"message": "starting"}'), job, WELL) as (api, asked):
        with pytest.raises(Forbidden):
            api.get("/apis/things")
        with pytest.raises(Refused):
            api.get("/apis/things")
        assert api.get("/apis/things") == {"items": []}
        assert len(asked) == 4


def test_an_administrator_who_stays_forbidden_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "STARTING", 0.3)
    with serving(forbidden("kubernetes-admin")) as (api, asked), pytest.raises(Forbidden):
        api.get("/apis/things")
    assert len(asked) > 1


@pytest.mark.parametrize("status", [200, 500])
def test_only_the_beginning_of_a_long_answer_is_read(monkeypatch: pytest.MonkeyPatch, status: int) -> None:
    monkeypatch.setattr(client, "ANSWER_BYTES", 1000)
    with serving((status, {}, "x" * 5_000_000)) as (api, _):
        try:
            answer = api.text("/proxy")
        except Refused as refused:
            answer = str(refused)
    assert 100 < len(answer) < 2000


def test_an_answer_without_an_end_is_read_for_some_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "ANSWER_SECONDS", 0.5)
    with trickling() as api:
        began = time.monotonic()
        assert set(api.text("/proxy")) == {"x"}
        assert time.monotonic() - began < 5


@contextmanager
def trickling() -> Iterator[Api]:
    """An app that says a letter now and then."""
    ended = threading.Event()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            with suppress(OSError):
                while not ended.wait(0.05):
                    self.wfile.write(b"x")
                    self.wfile.flush()

        def log_message(self, *_: object) -> None:
            """Keep quiet."""

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield Api(f"http://127.0.0.1:{server.server_port}", urllib3.PoolManager(), lambda _method, _path: {})
    finally:
        ended.set()
        server.shutdown()
        server.server_close()


def test_kube_proxy_is_waited_for_while_it_has_changes_to_write() -> None:
    nodes: Answer = (200, {}, '{"items": [{"metadata": {"name": "one"}}]}')
    moments = [f"2026-11-21T13:58:0{second}Z" for second in (1, 2)]
    waits: Answer = (200, {}, f'{{"lastUpdated": "{moments[0]}", "currentTime": "{moments[1]}"}}')
    done: Answer = (200, {}, f'{{"lastUpdated": "{moments[1]}", "currentTime": "{moments[1]}"}}')
    with serving(nodes, waits, waits, done) as (api, asked):
        kube_proxy.wait_for_rules(api)
        assert asked == ["/api/v1/nodes", *["/api/v1/nodes/one:10256/proxy/healthz"] * 3]


def test_where_kube_proxy_does_not_answer_nothing_is_waited_for() -> None:
    nodes: Answer = (200, {}, '{"items": [{"metadata": {"name": "one"}}]}')
    with serving(nodes, (503, {}, '{"message": "no kube-proxy"}')) as (api, asked):
        kube_proxy.wait_for_rules(api)
        assert len(asked) == 2
