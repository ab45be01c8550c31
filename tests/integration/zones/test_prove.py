"""Every stage of a proof against a real TLS server, and the race between candidates."""

import base64
import select
import socket
import socketserver
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.integration.zones.conftest import Behaviour, Pki, Serve, Speak

from threezone.core.errors import UsageError
from threezone.core.process import run
from threezone.kubeconfig import document
from threezone.kubeconfig.credentials import trust
from threezone.zones.proof import Proof, Verdict
from threezone.zones.prove import prove
from threezone.zones.routes import Route


def local(port: int, tls_server_name: str = "", host: str = "127.0.0.1") -> Route:
    return Route("test", f"https://{host}:{port}", tls_server_name)


def only(verdict: Verdict) -> Proof:
    assert len(verdict.proofs) == 1
    return verdict.proofs[0]


def reached(proof: Proof) -> list[tuple[str, bool]]:
    return [(stage.name, stage.ok) for stage in proof.stages]


ALL = [("dns", True), ("tcp", True), ("tls", True), ("readyz", True), ("auth", True)]


def test_a_route_is_proved_through_all_stages_as_the_user_of_the_certificate(pki: Pki, serve: Serve) -> None:
    behaviour = Behaviour()
    verdict = prove([local(serve(behaviour))], pki.trust())
    assert verdict.chosen == only(verdict)
    assert reached(only(verdict)) == ALL
    assert only(verdict).stages[-1].why == "as kubernetes-admin"
    assert 0 < sum(stage.seconds for stage in only(verdict).stages) <= only(verdict).seconds <= verdict.seconds < 3
    assert [(method, path, who) for method, path, who, _ in behaviour.seen] == [
        ("GET", "/readyz", "kubernetes-admin"),
        ("POST", "/apis/authentication.k8s.io/v1/selfsubjectreviews", "kubernetes-admin"),
    ]


def test_a_token_serves_as_well(pki: Pki, serve: Serve) -> None:
    behaviour = Behaviour()
    verdict = prove([local(serve(behaviour))], pki.trust("{token: somebody}"))
    assert verdict.chosen is not None
    assert behaviour.seen[-1][2:] == ("", "Bearer somebody")


def test_a_path_in_the_server_s_address_is_kept(pki: Pki, serve: Serve) -> None:
    behaviour = Behaviour()
    route = Route("proxied", f"https://127.0.0.1:{serve(behaviour)}/clusters/one/")
    assert prove([route], pki.trust()).chosen is not None
    assert behaviour.seen[0][1] == "/clusters/one/readyz"


@pytest.mark.parametrize("name", ["localhost", "kind-control-plane"])
def test_the_tls_name_is_what_the_certificate_must_carry(pki: Pki, serve: Serve, name: str) -> None:
    assert prove([local(serve(), name)], pki.trust()).chosen is not None


def test_a_name_that_the_certificate_lacks_is_refused_without_a_request(pki: Pki, serve: Serve) -> None:
    behaviour = Behaviour()
    verdict = prove([local(serve(behaviour), "host.docker.internal")], pki.trust())
    assert verdict.chosen is None
    assert reached(only(verdict)) == [("dns", True), ("tcp", True), ("tls", False)]
    assert only(verdict).why == "tls: x509: the certificate is not valid for host.docker.internal"
    assert behaviour.seen == []


def test_another_cluster_s_ca_is_refused_without_a_request(pki: Pki, other_pki: Pki, serve: Serve) -> None:
    behaviour = Behaviour()
    verdict = prove([local(serve(behaviour, other_pki))], pki.trust())
    assert reached(only(verdict)) == [("dns", True), ("tcp", True), ("tls", False)]
    assert only(verdict).why.startswith("tls: x509: certificate signed by unknown authority")
    assert behaviour.seen == []


def test_an_entry_that_wants_no_verification_is_verified_all_the_same(pki: Pki, serve: Serve) -> None:
    text = pki.kubeconfig("https://unused", user="{token: t0ken}")
    text = text.replace("server:", "insecure-skip-tls-verify: true, server:")
    entry = document.entry(document.parse(text.replace("certificate-authority-data", "x").encode()), "kind-kind")
    assert entry is not None
    assert entry.cluster["insecure-skip-tls-verify"] is True
    behaviour = Behaviour()
    proof = only(prove([local(serve(behaviour))], trust(entry)))
    assert (proof.stages[-1].cause, behaviour.seen) == ("authority", [])
    with_both = document.entry(document.parse(text.encode()), "kind-kind")
    assert with_both is not None
    with pytest.raises(UsageError, match="kubectl refuses"):
        trust(with_both)


def test_without_a_ca_of_its_own_an_entry_trusts_the_system_s(pki: Pki, serve: Serve) -> None:
    text = pki.kubeconfig("https://unused").replace("certificate-authority-data", "unknown")
    entry = document.entry(document.parse(text.encode()), "kind-kind")
    assert entry is not None
    verdict = prove([local(serve())], trust(entry))
    assert "unknown authority" in only(verdict).why


@pytest.mark.parametrize(
    ("behaviour", "stage", "words"),
    [
        (Behaviour(ready=500, ready_body="[+]ping\n[-]etcd"), "readyz", "HTTP 500: the API server is not ready [-]et"),
        (Behaviour(ready=401), "readyz", "HTTP 401: You must be logged in to the server (Unauthorized)"),
        (Behaviour(review=401), "auth", "HTTP 401: You must be logged in to the server (Unauthorized)"),
        (Behaviour(review=403, body='{"message": "forbidden: anonymous"}'), "auth", "HTTP 403: forbidden: anonymous"),
        (Behaviour(user="system:anonymous"), "auth", "HTTP 201: not recognised as anybody"),
        (Behaviour(body="<html>"), "auth", "the answer is not JSON"),
        (Behaviour(body="[]"), "auth", "no answer of a Kubernetes API server"),
        (Behaviour(review=404, nodes=403), "auth", "HTTP 403"),
    ],
)  # fmt: skip
def test_a_server_that_is_not_ready_or_does_not_know_us_is_no_route(
    pki: Pki, serve: Serve, behaviour: Behaviour, stage: str, words: str
) -> None:
    proof = only(prove([local(serve(behaviour))], pki.trust()))
    assert reached(proof)[-1] == (stage, False)
    assert words in proof.why


def test_an_older_server_proves_itself_by_its_nodes(pki: Pki, serve: Serve) -> None:
    verdict = prove([local(serve(Behaviour(review=404)))], pki.trust())
    assert verdict.chosen is not None
    assert verdict.chosen.stages[-1].why == "allowed to list nodes"


def test_a_credential_plugin_is_never_run_to_look(pki: Pki, serve: Serve, tmp_path: Path) -> None:
    witness = tmp_path / "ran"
    plugin = f"{{exec: {{apiVersion: client.authentication.k8s.io/v1, command: touch, args: ['{witness}']}}}}"
    proof = only(prove([local(serve())], pki.trust(plugin)))
    assert reached(proof)[-2:] == [("readyz", True), ("auth", False)]
    assert "credential plugin (exec)" in proof.why
    assert not witness.exists()


def test_a_refused_connection_says_so_at_once(pki: Pki, closed: int) -> None:
    verdict = prove([local(closed)], pki.trust())
    assert (reached(only(verdict)), only(verdict).why) == ([("dns", True), ("tcp", False)], "tcp: connection refused")
    assert verdict.seconds < 1


def test_an_unknown_name_says_so(pki: Pki) -> None:
    proof = only(prove([Route("test", "https://kind-control-plane.invalid:6443")], pki.trust()))
    assert reached(proof) == [("dns", False)]
    assert "Could not resolve host: kind-control-plane.invalid" in proof.why


@pytest.mark.parametrize("server", ["http://127.0.0.1:1", "", "https://", "https://127.0.0.1:port", "127.0.0.1:6443"])
def test_only_https_addresses_are_routes(pki: Pki, server: str) -> None:
    proof = only(prove([Route("test", server)], pki.trust()))
    assert reached(proof) == [("dns", False)]


def test_a_server_that_accepts_and_says_nothing_is_given_up_at_the_deadline(pki: Pki, silent: int) -> None:
    verdict = prove([local(silent)], pki.trust(), deadline=0.4)
    assert 0.4 <= verdict.seconds < 1
    assert reached(only(verdict)) == [("dns", True), ("tcp", True), ("tls", False)]
    assert "i/o timeout" in only(verdict).why or "no answer within 0.4 s (tls)" in only(verdict).why


def test_a_black_hole_is_given_up_at_the_deadline(pki: Pki, full: int) -> None:
    verdict = prove([local(full)], pki.trust(), deadline=0.4)
    assert 0.4 <= verdict.seconds < 1
    assert reached(only(verdict)) == [("dns", True), ("tcp", False)]


@pytest.mark.parametrize(
    ("answer", "cause", "words"),
    [
        (b"", "handshake", "EOF: the server closed the connection"),
        (b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n", "plain-http", "plain HTTP response"),
        (b"\x15\x03\x01\x00\x02\x02\x28", "handshake", "TLS handshake failed"),  # the alert "handshake failure"
    ],
)
def test_a_server_that_speaks_no_tls_or_leaves_is_told_apart(
    pki: Pki, speaks: Speak, answer: bytes, cause: str, words: str
) -> None:
    stage = only(prove([local(speaks(answer))], pki.trust())).stages[-1]
    assert (stage.name, stage.ok, stage.cause) == ("tls", False, cause)
    assert words in stage.why


@pytest.mark.parametrize(
    ("answer", "stage", "cause"),
    [
        (b"", "readyz", "closed"),
        (b"HTTP/1.1 200 OK\r\nContent-Len", "auth", "closed"),  # half a header passes for an empty answer
        (b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\nok", "readyz", "closed"),
        (b"220 mail.example ESMTP\r\n", "readyz", "not-an-api"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", "auth", "closed"),
        (b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n", "readyz", "not-ready"),
    ],
)
def test_a_server_that_stops_in_the_middle_of_an_answer_is_told(
    pki: Pki, speaks: Speak, answer: bytes, stage: str, cause: str
) -> None:
    verdict = prove([local(speaks(answer, tls=True))], pki.trust())
    last = only(verdict).stages[-1]
    assert (last.name, last.ok, last.cause) == (stage, False, cause)
    assert verdict.seconds < 1


def test_a_certificate_that_is_not_valid_any_more_is_refused_without_a_request(expired_pki: Pki, serve: Serve) -> None:
    behaviour = Behaviour()
    text = f"clusters: [{{name: c, cluster: {{server: x, certificate-authority-data: {expired_pki.data('ca.crt')}}}}}]"
    entry = document.entry(document.parse(f"{text}\ncontexts: [{{name: a, context: {{cluster: c}}}}]".encode()), "a")
    assert entry is not None
    proof = only(prove([local(serve(behaviour, expired_pki))], trust(entry)))
    assert (proof.stages[-1].name, proof.stages[-1].cause) == ("tls", "date")
    assert "x509: certificate has expired or is not yet valid" in proof.why
    assert behaviour.seen == []


def test_what_went_wrong_is_data_too(pki: Pki, other_pki: Pki, serve: Serve, closed: int, full: int) -> None:
    routes = [
        local(closed), local(serve(), "nobody"), local(serve(None, other_pki)), Route("test", "http://x"),
        Route("test", "https://nowhere.invalid:1"), local(full), local(serve(Behaviour(ready=500))),
        local(serve(Behaviour(review=401))), local(serve(Behaviour(user="system:anonymous"))),
    ]  # fmt: skip
    causes = [proof.stages[-1].cause for proof in prove(routes, pki.trust(), deadline=1.5).proofs]
    assert causes == [
        "refused", "name", "authority", "address", "unknown-name", "silent", "not-ready", "unauthorized", "forbidden",
    ]  # fmt: skip


def test_a_preferred_name_that_is_resolved_a_little_later_still_wins(
    pki: Pki, serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    port, real, gone = serve(), socket.getaddrinfo, threading.Event()

    def slowly(host: str, *rest: Any, **more: Any) -> Any:
        if host == "localhost":  # a resolver behind two networks, say
            gone.wait(0.05)
        return real(host, *rest, **more)

    monkeypatch.setattr(socket, "getaddrinfo", slowly)
    name, address = local(port, host="localhost"), local(port)
    for _ in range(5):
        verdict = prove([name, address], pki.trust())
        assert verdict.chosen is not None
        assert verdict.chosen.route == name


HANGING = """
import socket, sys, threading
from pathlib import Path
from typing import Any
from tests.integration.zones.conftest import Pki
from threezone.zones.prove import prove
from threezone.zones.routes import Route

asked = threading.Event()
real = socket.getaddrinfo
def resolve(host, *rest, **more):
    if host == "hangs.invalid":
        asked.set()
        threading.Event().wait()  # as the C library's call does while a name server is silent: nothing can end it
    return real(host, *rest, **more)
socket.getaddrinfo = resolve
good = Route("good", sys.argv[2])
verdict = prove([Route("hangs", "https://hangs.invalid:1"), good], Pki(Path(sys.argv[1])).trust())
assert asked.is_set() and verdict.chosen.route == good, verdict
print(verdict.seconds, verdict.proofs[0].why)
alone = prove([Route("hangs", "https://hangs.invalid:1")], Pki(Path(sys.argv[1])).trust(), deadline=0.3)
print(alone.seconds, alone.proofs[0].why)
"""


def test_a_resolver_that_hangs_delays_neither_the_proof_nor_the_end_of_the_process(pki: Pki, serve: Serve) -> None:
    server = f"https://127.0.0.1:{serve()}"
    root = Path(__file__).parents[3]
    done = run([sys.executable, "-c", HANGING, pki.directory, server], cwd=root, timeout=30)
    first, alone = done.stdout.splitlines()
    assert first.endswith(f"cancelled in dns: {server} was proved first")
    assert float(first.split()[0]) < 1
    assert alone.endswith("no answer within 0.3 s (dns)")
    assert 0.3 <= float(alone.split()[0]) < 1


def test_no_candidate_means_no_route(pki: Pki) -> None:
    verdict = prove([], pki.trust())
    assert (verdict.chosen, verdict.proofs, verdict.seconds < 0.1) == (None, (), True)


def descriptors() -> int:
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


def test_the_most_preferred_of_the_proved_ones_wins(pki: Pki, serve: Serve, closed: int) -> None:
    ports = [serve() for _ in range(3)]
    for _ in range(5):
        verdict = prove([local(closed), *map(local, ports)], pki.trust())
        assert verdict.chosen is not None
        assert verdict.chosen.route == local(ports[0])


def test_black_holes_in_front_hardly_delay_the_proof(pki: Pki, serve: Serve, full: int) -> None:
    good = local(serve())
    alone = min(prove([good], pki.trust()).seconds for _ in range(5))
    crowd = min(prove([local(full), local(full, "localhost"), good], pki.trust()).seconds for _ in range(5))
    assert crowd < alone * 1.5 + 0.02
    verdict = prove([local(full), good], pki.trust())
    assert verdict.chosen is not None
    assert verdict.chosen.route == good
    assert verdict.proofs[0].why == f"cancelled in tcp: {good.server} was proved first"
    assert not verdict.proofs[0].ok


def test_a_better_candidate_that_is_connected_is_waited_for_a_moment(pki: Pki, serve: Serve, silent: int) -> None:
    good = local(serve())
    verdict = prove([local(silent), good], pki.trust())
    assert verdict.chosen is not None
    assert verdict.chosen.route == good
    assert 0.9 < verdict.seconds < 2
    assert prove([good, local(silent)], pki.trust()).seconds < 0.9


def test_losers_are_cancelled_and_leave_neither_threads_nor_sockets(
    pki: Pki, serve: Serve, silent: int, full: int
) -> None:
    good = local(serve())
    credentials = pki.trust()
    prove([good], credentials)
    before = descriptors()
    for _ in range(3):
        assert prove([good, local(silent), local(full), local(silent, "localhost")], credentials).chosen is not None
    deadline = time.monotonic() + 2
    while time.monotonic() < deadline and any(each.name.startswith("prove ") for each in threading.enumerate()):
        time.sleep(0.01)
    assert not [each.name for each in threading.enumerate() if each.name.startswith("prove ")]
    # The server's side of the last connections may take a moment to go.
    while time.monotonic() < deadline and descriptors() > before:
        time.sleep(0.01)
    assert descriptors() <= before


def test_a_proof_as_json_has_every_stage(pki: Pki, serve: Serve) -> None:
    data = only(prove([local(serve(), "nobody")], pki.trust())).data()
    assert list(data) == ["name", "server", "tlsServerName", "needs", "stages", "ok", "seconds", "why"]
    assert [(name, stage and stage["ok"]) for name, stage in data["stages"].items()] == [
        ("dns", True), ("tcp", True), ("tls", False), ("readyz", None), ("auth", None),
    ]  # fmt: skip
    assert (data["ok"], data["tlsServerName"]) == (False, "nobody")


def test_the_client_s_key_leaves_no_file_behind(pki: Pki, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    pki.trust()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("user", "words"),
    [
        ("{client-certificate-data: '*', client-key-data: YQ==}", "illegal base64 data in users.user.client-cert"),
        ("{client-certificate-data: YQ==, client-key-data: YQ==}", "of the context kind-kind cannot be used"),
        ("{client-certificate: missing.crt, client-key-data: YQ==}", "missing.crt, which the context kind-kind names"),
        ("{tokenFile: missing}", "missing, which the context kind-kind names, cannot be read"),
    ],
)  # fmt: skip
def test_unusable_credentials_are_told_without_showing_them(pki: Pki, user: str, words: str) -> None:
    with pytest.raises(UsageError, match=words.replace(".", r"\.")):
        pki.trust(user)


def test_files_are_found_beside_the_kubeconfig_that_names_them(pki: Pki, serve: Serve) -> None:
    text = """
clusters: [{name: c, cluster: {server: x, certificate-authority: ca.crt}}]
contexts: [{name: a, context: {cluster: c, user: u}}]
users: [{name: u, user: {client-certificate: client.crt, client-key: client.key}}]
"""
    entry = document.entry(document.parse(text.encode()), "a")
    assert entry is not None
    credentials = trust(entry, cluster_directory=pki.directory, user_directory=pki.directory)
    assert prove([local(serve())], credentials).chosen is not None


def test_the_kubeconfig_of_the_tests_is_what_it_says(pki: Pki) -> None:
    entry = document.entry(document.parse(pki.kubeconfig("https://x").encode()), "kind-kind")
    assert entry is not None
    assert base64.b64decode(entry.user["client-key-data"]) == (pki.directory / "client.key").read_bytes()


def test_a_cancelled_loser_touches_no_file_that_is_opened_afterwards(pki: Pki, serve: Serve, silent: int) -> None:
    """A socket closed under OpenSSL's feet left it reading from whatever got the same descriptor next."""
    good, credentials = local(serve()), pki.trust()
    crowd = [good, *(local(silent) for _ in range(6))]
    pem = pki.directory / "ca.crt"
    for _ in range(20):
        assert prove(crowd, credentials).chosen is not None
        opened = [pem.open("rb") for _ in range(16)]
        time.sleep(0.005)
        assert {len(each.read()) for each in opened} == {pem.stat().st_size}
        for each in opened:
            each.close()


def test_each_stage_has_its_own_time_and_the_environment_can_give_more(
    pki: Pki, slow: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server needs 0.2 s for each packet of an answer, and several for all stages."""
    verdict = prove([local(slow)], pki.trust(), deadline=1.0)
    assert verdict.chosen is not None
    assert verdict.seconds > 0.5
    assert prove([local(slow)], pki.trust(), deadline=0.1).chosen is None
    monkeypatch.setenv("THREEZONE_ROUTE_SECONDS", "30")
    assert prove([local(slow)], pki.trust(), deadline=0.1).chosen is not None
    monkeypatch.setenv("THREEZONE_ROUTE_SECONDS", "soon")
    with pytest.raises(UsageError, match="THREEZONE_ROUTE_SECONDS"):
        prove([local(slow)], pki.trust())


@pytest.fixture
def slow(serve: Serve) -> Iterator[int]:
    """A port before an API server where everything takes a while."""
    behind = serve(Behaviour(user="somebody"))

    class Late(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            with socket.create_connection(("127.0.0.1", behind)) as there:
                pair = {self.request: there, there: self.request}
                while True:
                    for ready in select.select(list(pair), [], [])[0]:
                        if not (data := ready.recv(65536)):
                            return
                        if ready is there:
                            time.sleep(0.2)
                        pair[ready].sendall(data)

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Late) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        yield int(server.server_address[1])
        server.shutdown()
        thread.join()
