"""addon.proxy with the real kubectl, before API servers on loopback."""

import http.client
import http.server
import socket
import tempfile
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from tests.integration.zones.conftest import Behaviour, Pki, Serve, pki, serve

from threezone.core import daemon
from threezone.core.errors import RouteError, UsageError
from threezone.core.loopback import answers
from threezone.extras.addons import proxy
from threezone.toolchain import install
from threezone.zones.export.tokens import Token

__all__ = ["pki", "serve"]  # fixtures of the zones, which have API servers

CONTEXT = "kind-kind"


@pytest.fixture(scope="session")
def kubectl() -> Path:
    """The pinned kubectl, fetched or built when it is not there yet."""
    return install.ensure(("kubectl",))["kubectl"].path


@pytest.fixture(autouse=True)
def _none_left() -> Iterator[None]:
    yield
    for running in daemon.all():
        daemon.stop(running.name)


@pytest.fixture
def behaviour(pki: Pki, serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Behaviour:
    """A cluster that the user's kubeconfig leads to."""
    made = Behaviour()
    (tmp_path / "config").write_text(pki.kubeconfig(f"https://127.0.0.1:{serve(made)}"))
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "config"))
    return made


def viewer(hours: float = proxy.HOURS) -> Token:
    """What a cluster answers to a request for a token; e2e asks a real one."""
    return Token("kube-system/viewer", (datetime.now(UTC) + timedelta(hours=hours)).isoformat(), "a-token")


def ask(port: int, method: str, path: str = "/readyz") -> int:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request(method, path)
        return connection.getresponse().status
    finally:
        connection.close()


def test_one_proxy_serves_a_cluster_until_it_is_stopped(kubectl: Path, behaviour: Behaviour) -> None:
    made = proxy.start(kubectl, CONTEXT, viewer)
    assert ask(made.port, "GET") == 200
    assert behaviour.seen[-1][2] != "kubernetes-admin", "not with the rights of the entry"
    assert not list(Path(tempfile.gettempdir()).glob("threezone-*/kubeconfig")), "the token is in no file"
    assert proxy.start(kubectl, CONTEXT, viewer) == made
    assert proxy.find(CONTEXT) == made
    assert made.data()["answers"]
    assert proxy.find("kind-other") is None
    assert proxy.stop(CONTEXT)
    assert not proxy.stop(CONTEXT)
    assert (proxy.find(CONTEXT), answers(made.port, proxy.READY)) == (None, False)


def test_read_only_refuses_changes(kubectl: Path, behaviour: Behaviour) -> None:
    made = proxy.start(kubectl, CONTEXT, viewer)
    before = len(behaviour.seen)
    assert [ask(made.port, method, "/api/v1/pods") for method in ("POST", "PUT", "PATCH", "DELETE")] == [403] * 4
    pod, node = "/api/v1/namespaces/shop/pods/web", "/api/v1/nodes/one"
    refused = [
        f"{pod}/exec?command=sh", f"{pod}/attach", f"{pod}/portforward?ports=80", f"{pod}/proxy/", f"{pod}:80/proxy/x",
        f"{node}/proxy/exec/shop/web/app?command=sh", f"{node}/proxy/logs/", "/api/v1/namespaces/shop/services/a/proxy",
        "/api/v1/secrets", "/api/v1/namespaces/shop/secrets?watch=1", "/api/v1/namespaces/shop/secrets/key",
    ]  # fmt: skip
    assert [ask(made.port, "GET", path) for path in refused] == [403] * len(refused)
    assert len(behaviour.seen) == before
    for path in (
        "/api/v1/pods",
        f"{pod}/log",
        "/apis/apps/v1/deployments",
        "/api/v1/namespaces/secrets-of-a-shop/pods",
    ):
        assert ask(made.port, "GET", path) == 200, path


def test_a_token_that_is_about_to_end_is_renewed_on_the_same_port(kubectl: Path, behaviour: Behaviour) -> None:  # noqa: ARG001
    made = proxy.start(kubectl, CONTEXT, lambda: viewer(hours=0.5))
    renewed = proxy.start(kubectl, CONTEXT, viewer)
    assert (renewed.port, renewed.pid != made.pid) == (made.port, True)
    assert proxy.start(kubectl, CONTEXT, viewer) == renewed


def test_a_proxy_that_does_not_answer_is_replaced(
    kubectl: Path, behaviour: Behaviour, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("threezone.clients.kubectl.READY_SECONDS", 2.0)
    made = proxy.start(kubectl, CONTEXT, viewer)
    behaviour.ready = 500  # as when the cluster was made anew, with another CA
    found = proxy.find(CONTEXT)
    assert found is not None
    assert not found.data()["answers"]
    with pytest.raises(RouteError, match="no API server answers through a proxy"):
        proxy.start(kubectl, CONTEXT, viewer, port=made.port)
    assert proxy.find(CONTEXT) is None
    behaviour.ready = 200
    assert proxy.start(kubectl, CONTEXT, viewer, port=made.port).pid != made.pid


def test_a_taken_port_is_refused_and_the_default_falls_back_to_a_free_one(kubectl: Path, behaviour: Behaviour) -> None:  # noqa: ARG001
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = int(taken.getsockname()[1])
        with pytest.raises(UsageError, match=f"port {port} is taken"):
            proxy.start(kubectl, CONTEXT, viewer, port=port)
    chosen = proxy.start(kubectl, CONTEXT, viewer, port=port)
    assert chosen.port == port


def test_without_a_cluster_there_is_no_proxy(
    kubectl: Path, behaviour: Behaviour, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("threezone.clients.kubectl.READY_SECONDS", 2.0)
    behaviour.ready = 500
    with pytest.raises(RouteError, match="no API server answers") as refused:
        proxy.start(kubectl, CONTEXT, viewer)
    assert refused.value.fix == "./run invoke kubeconfig.check"
    assert daemon.all() == ()


def test_a_program_of_others_that_has_the_port_first_is_not_taken_for_ours(
    kubectl: Path,
    behaviour: Behaviour,  # noqa: ARG001
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Answer(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Keep quiet."""

    monkeypatch.setattr("threezone.clients.kubectl.is_free", lambda _: True)  # it was, a moment ago
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answer) as theirs:
        threading.Thread(target=theirs.serve_forever, daemon=True).start()
        port = int(theirs.server_address[1])
        assert answers(port, proxy.READY)
        with pytest.raises(RouteError) as refused:
            proxy.start(kubectl, CONTEXT, viewer, port=port)
        theirs.shutdown()
    assert "address already in use" in refused.value.evidence
    assert proxy.find(CONTEXT) is None
