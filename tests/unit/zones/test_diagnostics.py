"""A paragraph for each failure: its boundary, what to do, and the words that kubectl or curl print for it."""

import pytest

from threezone.zones.diagnostics import WIDTH, explain, no_route
from threezone.zones.locate import Zone
from threezone.zones.proof import STAGES, Cause, Proof, Stage, StageName, Verdict
from threezone.zones.routes import Route

HOST = Zone("host", ("no sign of a container",), engine="native")
OUTSIDE = Zone("container", ("/.dockerenv exists",))
MEMBER = Zone("container", ("/.dockerenv exists",), container_id="f" * 64, engine="native")
JOB = Zone("container", ("/.dockerenv exists",), ci="gitlab")
REMOTE = Zone("host", (), engine="remote", engine_host="build.example")

LOCAL = "https://127.0.0.1:6443"
DESKTOP = "https://host.docker.internal:6443"
GATEWAY = "https://172.17.0.1:6443"


def failed(server: str, at: StageName, cause: Cause, why: str = "why", name: str = "") -> Proof:
    """A proof that came as far as `at` and no further."""
    held = tuple(Stage(stage, ok=True, seconds=0.01) for stage in STAGES[: STAGES.index(at)])
    broken = Stage(at, ok=False, seconds=0.01, why=why, cause=cause)
    return Proof(Route("test", server, name), (*held, broken), 0.1, f"{at}: {why}")


def verdict(*proofs: Proof) -> Verdict:
    return Verdict(next((proof for proof in proofs if proof.ok), None), proofs, 0.1)


def flat(text: str) -> str:
    return " ".join(text.split())


REFUSED = "The connection to the server {} was refused - did you specify the right host or port?"


@pytest.mark.parametrize(
    ("zone", "proof", "words", "boundary", "remedy"),
    [
        (OUTSIDE, failed("http://x", "dns", "address"), "not an https address", "", "`server` in the entry"),
        (OUTSIDE, failed(DESKTOP, "dns", "silent"), "dial tcp: lookup host.docker.internal: i/o timeout", "zone 1 → 2",
         "/etc/resolv.conf"),
        (OUTSIDE, failed(DESKTOP, "dns", "unknown-name"), "curl: (6) Could not resolve host: host.docker.internal",
         "zone 1 → 2", "kubeconfig.export --for container"),
        (JOB, failed("https://kubernetes.docker.internal:6443", "dns", "unknown-name"),
         "curl: (6) Could not resolve host: kubernetes.docker.internal",
         "the resolver of this GitLab job's container (zone 1 → 2)", "kubeconfig.export --for ci"),
        (HOST, failed("https://kind-control-plane:6443", "dns", "unknown-name"), "no such host",
         "past zone 2, straight into zone 3", "kubeconfig.connect joins it"),
        (HOST, failed("https://api.exmaple:6443", "dns", "unknown-name"), "Could not resolve host: api.exmaple",
         "zone 1 → 2", "check its spelling"),
        (OUTSIDE, failed(LOCAL, "tcp", "refused"), REFUSED.format("127.0.0.1:6443"), "zone 1 → 2", "localhost trap"),
        (JOB, failed(LOCAL, "tcp", "refused"), REFUSED.format("127.0.0.1:6443"), "zone 1 → 2", "or a GitLab agent"),
        (MEMBER, failed("https://localhost:6443", "tcp", "refused"), REFUSED.format("localhost:6443"), "zone 1 → 2",
         "./run invoke kubeconfig.connect"),
        (HOST, failed(LOCAL, "tcp", "refused"), REFUSED.format("127.0.0.1:6443"), "zone 2 → 3",
         "docker ps --all --filter label=io.x-k8s.kind.cluster"),
        (HOST, failed("https://[::1]:6443", "tcp", "refused"), REFUSED.format("[::1]:6443"), "zone 2 → 3", "stopped"),
        (REMOTE, failed(LOCAL, "tcp", "refused"), "The engine runs on build.example", "zone 1 → 2", "tunnel"),
        (REMOTE, failed("https://build.example:6443", "tcp", "refused"), REFUSED.format("build.example:6443"),
         "zone 2 → 3", "tunnel"),
        (OUTSIDE, failed(GATEWAY, "tcp", "refused"), REFUSED.format("172.17.0.1:6443"), "zone 1 → 2",
         "threezone.cluster.api: gateway"),
        (MEMBER, failed("https://kind-control-plane:6443", "tcp", "refused"), REFUSED.format("kind-control-plane:6443"),
         "zone 3", "docker logs kind-control-plane"),
        (OUTSIDE, failed(GATEWAY, "tcp", "silent"),
         "Unable to connect to the server: dial tcp 172.17.0.1:6443: i/o timeout", "zone 1 → 2", "firewall"),
        (HOST, failed(GATEWAY, "tcp", "unreachable", "no route to host"),
         "dial tcp 172.17.0.1:6443: connect: no route to host", "zone 1 → 2", "the address is outdated"),
        (HOST, failed(LOCAL, "tls", "authority"), "x509: certificate signed by unknown authority", "zone 2 → 3",
         "kubeconfig.connect takes the valid CA"),
        (OUTSIDE, failed(DESKTOP, "tls", "name"), "x509: certificate is valid for kind-control-plane, kubernetes,",
         "zone 2 → 3", "`tls-server-name: localhost`"),
        (OUTSIDE, failed(DESKTOP, "tls", "name", name="other"), ", not other", "zone 2 → 3", "`tls-server-name"),
        (HOST, failed(LOCAL, "tls", "date"), "x509: certificate has expired or is not yet valid", "zone 2 → 3",
         "`date`"),
        (HOST, failed(LOCAL, "tls", "plain-http"), "http: server gave HTTP response to HTTPS client", "zone 2 → 3",
         "which container or program"),
        (HOST, failed(LOCAL, "tls", "handshake"), "net/http: TLS handshake timeout", "zone 2 → 3", "docker ps --all"),
        (HOST, failed(LOCAL, "tls", "silent"), "net/http: TLS handshake timeout", "zone 2 → 3", "docker ps --all"),
        (HOST, failed(LOCAL, "readyz", "not-ready", "HTTP 500: the API server is not ready [-]etcd failed"),
         "[-]etcd failed", "All boundaries are crossed", "cluster.status"),
        (HOST, failed(LOCAL, "readyz", "silent"), "Client.Timeout exceeded while awaiting headers", "zone 3",
         "cluster.status"),
        (HOST, failed(LOCAL, "readyz", "closed"), "Unable to connect to the server: EOF", "zone 3", "cluster.status"),
        (HOST, failed(LOCAL, "auth", "unauthorized"), "You must be logged in to the server (Unauthorized)",
         "All boundaries are crossed", "kubeconfig.connect writes valid ones"),
        (HOST, failed(LOCAL, "auth", "forbidden", "HTTP 403: no"), "Error from server (Forbidden)",
         "All boundaries are crossed", "kubeconfig.connect writes"),
        (HOST, failed(LOCAL, "auth", "not-an-api", "no answer of a Kubernetes API server"),
         "no answer of a Kubernetes API server", "zone 3", "the path in `server`"),
        (HOST, failed(LOCAL, "auth", "plugin", "threezone does not run the user's credential plugin (exec)"),
         "credential plugin (exec)", "All boundaries are crossed", "kubectl auth whoami"),
    ],
)  # fmt: skip
def test_each_failure_has_its_paragraph(zone: Zone, proof: Proof, words: str, boundary: str, remedy: str) -> None:
    text = explain(verdict(proof), zone)
    assert flat(text).startswith(f"{proof.stages[-1].name}: {proof.route.server}: ")
    for part in (words, boundary, remedy):
        assert part in flat(text)
    lines = text.splitlines()
    assert len(lines) <= 4
    assert max(map(len, lines)) <= WIDTH
    assert "{" not in text


def test_the_same_refusal_is_a_trap_in_a_container_and_a_stopped_cluster_on_the_host() -> None:
    refused = verdict(failed(LOCAL, "tcp", "refused"))
    assert "localhost trap" in explain(refused, OUTSIDE)
    assert "localhost trap" not in explain(refused, HOST)
    assert "is stopped, gone" in flat(explain(refused, HOST))


def test_alike_failures_share_a_paragraph_and_others_have_their_own() -> None:
    text = explain(
        verdict(
            failed(LOCAL, "tcp", "refused"),
            failed(DESKTOP, "dns", "unknown-name"),
            failed("https://kubernetes.docker.internal:6443", "dns", "unknown-name"),
            failed(GATEWAY, "tcp", "refused"),
        ),
        OUTSIDE,
    )
    trap, names, gateway = text.split("\n\n")
    assert flat(trap).startswith(f"tcp: {LOCAL}: ")
    assert flat(names).startswith(f"dns: {DESKTOP} and https://kubernetes.docker.internal:6443: ")
    assert flat(gateway).startswith(f"tcp: {GATEWAY}: ")


def test_many_addresses_are_counted() -> None:
    text = explain(verdict(*(failed(f"https://10.0.0.{n}:6443", "tcp", "silent") for n in range(5))), OUTSIDE)
    assert flat(text).startswith("tcp: https://10.0.0.0:6443 and https://10.0.0.1:6443 and 3 more: ")
    assert len(text.splitlines()) <= 4


def test_what_is_proved_cancelled_or_not_tried_is_not_explained() -> None:
    good = Proof(Route("test", LOCAL), tuple(Stage(name, ok=True, seconds=0.01) for name in STAGES), 0.1)
    cancelled = Proof(Route("test", GATEWAY), (), 0.1, "cancelled in tcp: another was proved first")
    assert explain(verdict(good, cancelled), HOST) == ""
    assert explain(verdict(), HOST) == ""


def test_a_message_is_not_broken_so_that_a_search_finds_it() -> None:
    for server in (LOCAL, "https://a:1", "https://172.17.0.1:6443", "https://[::1]:6443"):
        at = server.removeprefix("https://")
        assert f'"{REFUSED.format(at)}"' in explain(verdict(failed(server, "tcp", "refused")), HOST)


def test_a_long_answer_is_shortened() -> None:
    text = explain(verdict(failed(LOCAL, "readyz", "not-ready", "HTTP 500: " + "[-]poststarthook failed " * 40)), HOST)
    assert "failed …)" in text
    assert len(text.splitlines()) <= 4


def test_nothing_that_the_server_says_can_break_the_text() -> None:
    assert "{host}" in explain(verdict(failed(LOCAL, "readyz", "not-ready", "HTTP 500: {host} {0}")), HOST)


@pytest.mark.parametrize(
    ("zone", "proof", "fix"),
    [
        (HOST, failed(LOCAL, "tcp", "refused"), "docker ps --all --filter label=io.x-k8s.kind.cluster=lab"),
        (MEMBER, failed(LOCAL, "tcp", "refused"), "docker ps --all --filter label=io.x-k8s.kind.cluster=lab"),
        (HOST, failed(LOCAL, "readyz", "not-ready"), "./run invoke cluster.status --name lab"),
        (OUTSIDE, failed(LOCAL, "tcp", "refused"), "./run invoke kubeconfig.export --for container --name lab"),
        (JOB, failed(LOCAL, "tcp", "refused"), "./run invoke kubeconfig.export --for ci --name lab"),
    ],
)
def test_the_error_has_every_route_the_explanation_the_evidence_and_a_fix(zone: Zone, proof: Proof, fix: str) -> None:
    seen = verdict(proof)
    error = no_route("lab", zone, seen)
    assert error.message == f"no verified route leads from this {zone.kind} to the API server of the cluster lab"
    assert error.evidence == "\n".join((seen.evidence, explain(seen, zone), *zone.evidence))
    assert error.fix.startswith(fix)
    assert error.exit_code == 5
