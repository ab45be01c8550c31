"""Connect, reconnect, disconnect: real TLS servers on loopback, the real kubectl, files of the test's own."""

import json
import os
import stat
from pathlib import Path
from typing import Any

import pytest
from tests.integration.zones.conftest import Behaviour, Pki, Serve

from threezone.core import events
from threezone.core.errors import ClusterError, RouteError, UsageError
from threezone.core.process import run
from threezone.engine.find import Engine
from threezone.toolchain.install import ensure
from threezone.zones import connect as zones_connect
from threezone.zones import tunnel
from threezone.zones.connect import connect, disconnect
from threezone.zones.kubeconfig_entry import find
from threezone.zones.locate import Zone
from threezone.zones.probe import probe

HOST = Zone("host", ("a test",))
CONTAINER = Zone("container", ("a test",), container_id="f" * 64, networks=("bridge",))

CA_SHA256 = "87d4b3c02599e8fb5703a072970c8aa392ebeded8c80c4a263012d0d8465ff47"  # as openssl prints it

FOREIGN = """
apiVersion: v1
kind: Config
clusters: [{name: prod, cluster: {server: "https://prod", extensions: [{name: note, extension: {a: 1}}]}}]
contexts: [{name: prod, context: {cluster: prod, user: me}}]
users: [{name: me, user: {token: hunter2}}]
current-context: prod
"""


@pytest.fixture(scope="session")
def kubectl() -> Path:
    return ensure(("kubectl",))["kubectl"].path


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The user's kubeconfig, with somebody else's entry in it."""
    path = tmp_path / "config"
    path.write_text(FOREIGN)
    monkeypatch.setenv("KUBECONFIG", str(path))
    return path


def seen(kubectl: Path) -> dict[str, Any]:
    data: dict[str, Any] = json.loads(run([kubectl, "config", "view", "--raw", "-o", "json"], timeout=30).stdout)
    return data


def test_connect_writes_a_proved_entry_that_kubectl_uses(config: Path, kubectl: Path, pki: Pki, serve: Serve) -> None:
    server = f"https://127.0.0.1:{serve()}"
    connected = connect("kind", pki.kubeconfig(server), zone=HOST)
    assert (connected.context, connected.server, connected.tls_server_name) == ("kind-kind", server, "")
    assert connected.written
    assert not connected.joined
    assert connected.verdict.chosen is not None
    assert connected.verdict.chosen.ok
    assert connected.sentence.startswith(f"{server} proved in ")
    assert run([kubectl, "get", "--raw", "/readyz"], timeout=30).stdout == "ok"  # its context is the current one now
    assert stat.S_IMODE(config.stat().st_mode) == 0o600


def test_connecting_again_writes_nothing(config: Path, pki: Pki, serve: Serve) -> None:
    text = pki.kubeconfig(f"https://127.0.0.1:{serve()}")
    connect("kind", text, zone=HOST)
    before = config.stat()
    again = connect("kind", text, zone=HOST)
    assert not again.written
    assert (config.stat().st_ino, config.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    assert again.seconds < 2


def test_disconnecting_gives_back_the_foreign_file(config: Path, kubectl: Path, pki: Pki, serve: Serve) -> None:
    before = seen(kubectl)
    connect("kind", pki.kubeconfig(f"https://127.0.0.1:{serve()}"), zone=HOST)
    assert seen(kubectl)["current-context"] == "kind-kind"
    assert disconnect("kind", zone=HOST) is True
    assert seen(kubectl) == before
    assert disconnect("kind", zone=HOST) is False
    assert config.exists()


def test_two_clusters_live_side_by_side(config: Path, kubectl: Path, pki: Pki, other_pki: Pki, serve: Serve) -> None:
    connect("kind", pki.kubeconfig(f"https://127.0.0.1:{serve()}"), zone=HOST)
    between = seen(kubectl)
    connect("other", other_pki.kubeconfig(f"https://127.0.0.1:{serve(None, other_pki)}", "other"), zone=HOST)
    assert run([kubectl, "get", "--raw", "/readyz", "--context", "kind-kind"], timeout=30).stdout == "ok"
    assert run([kubectl, "get", "--raw", "/readyz", "--context", "kind-other"], timeout=30).stdout == "ok"
    assert disconnect("other", zone=HOST)
    assert seen(kubectl) == between
    assert str(config) in (find("kind-kind") or pytest.fail("no entry")).file


def test_a_way_that_works_is_left_as_it_is(config: Path, kubectl: Path, pki: Pki, serve: Serve) -> None:
    port = serve()
    text = pki.kubeconfig(f"https://127.0.0.1:{port}")
    connect("kind", text, zone=HOST)
    run([kubectl, "config", "set-cluster", "kind-kind", f"--server=https://localhost:{port}"], timeout=30)
    assert connect("kind", text, zone=HOST).server == f"https://localhost:{port}"
    assert connect("kind", text, zone=HOST).written is False
    assert config.exists()


def test_a_stale_address_and_a_stale_ca_are_repaired(
    config: Path, kubectl: Path, pki: Pki, other_pki: Pki, serve: Serve
) -> None:
    # The cluster was made anew: other certificates, another port. The user's namespace stays.
    connect("kind", other_pki.kubeconfig(f"https://127.0.0.1:{serve(None, other_pki)}"), zone=HOST)
    run([kubectl, "config", "set-cluster", "kind-kind", "--server=https://127.0.0.1:1"], timeout=30)
    run([kubectl, "config", "set-context", "kind-kind", "--namespace=mine"], timeout=30)
    connected = connect("kind", pki.kubeconfig(f"https://127.0.0.1:{serve()}"), zone=HOST)
    assert connected.written
    assert connected.seconds < 2
    assert run([kubectl, "get", "--raw", "/readyz"], timeout=30).stdout == "ok"
    found = find("kind-kind")
    assert found is not None
    assert (found.namespace, found.is_current, found.file) == ("mine", True, str(config))


def test_without_a_proof_nothing_is_written(config: Path, pki: Pki, other_pki: Pki, serve: Serve) -> None:
    server = f"https://127.0.0.1:{serve(None, other_pki)}"
    with pytest.raises(RouteError) as refused:
        connect("kind", pki.kubeconfig(server), zone=HOST)
    assert f"{server}: tls: x509: certificate signed by unknown authority" in refused.value.evidence
    assert refused.value.exit_code == 5
    assert config.read_text() == FOREIGN


def test_a_server_that_is_just_starting_gets_patience(config: Path, pki: Pki, serve: Serve) -> None:
    behaviour = Behaviour(ready=500)
    server = f"https://127.0.0.1:{serve(behaviour)}"
    with pytest.raises(RouteError, match="no verified route"):
        connect("kind", pki.kubeconfig(server), zone=HOST, patience=0.3)
    asked = len(behaviour.seen)
    assert asked >= 2

    class Warming(list[tuple[str, str, str, str]]):
        def append(self, seen: tuple[str, str, str, str]) -> None:
            super().append(seen)
            behaviour.ready = 200 if len(self) > 3 else 500

    behaviour.seen = Warming()
    assert connect("kind", pki.kubeconfig(server), zone=HOST, patience=20).written
    assert config.read_text() != FOREIGN


def test_a_probe_tells_every_way_and_changes_nothing(config: Path, pki: Pki, serve: Serve) -> None:
    server = f"https://127.0.0.1:{serve()}"
    data = probe("kind", pki.kubeconfig(server), zone=CONTAINER).data()
    assert list(data) == ["zone", "routes", "chosen"]
    assert data["zone"] == "container"
    assert data["chosen"] == {"server": server, "tlsServerName": None}
    by_server = {route["server"]: route for route in data["routes"]}
    assert by_server[server]["ok"] is True
    assert by_server["https://kind-control-plane:6443"]["needs"] == "join"
    assert set(by_server["https://kind-control-plane:6443"]["stages"].values()) == {None}
    assert config.read_text() == FOREIGN


def test_a_container_joins_the_network_only_when_nothing_else_leads_out(
    config: Path, pki: Pki, serve: Serve, closed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The engine is a script here that writes down what it is told; the real network is tried end to end."""
    log = config.with_name("log")
    script = config.parent / "bin" / "docker"
    script.parent.mkdir()
    script.write_text(f'#!/bin/sh\necho "$*" >>{log}\n')
    script.chmod(0o755)
    monkeypatch.setenv("PATH", f"{script.parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.delenv("KIND_EXPERIMENTAL_DOCKER_NETWORK", raising=False)
    assert connect("kind", pki.kubeconfig(f"https://127.0.0.1:{serve()}"), zone=CONTAINER).written
    assert not log.exists()
    disconnect("kind", zone=CONTAINER)
    with pytest.raises(RouteError) as refused:
        connect("kind", pki.kubeconfig(f"https://127.0.0.1:{closed}"), zone=CONTAINER)
    assert log.read_text().splitlines() == [
        f"network connect --alias threezone-joined kind {'f' * 64}",
        f"network disconnect kind {'f' * 64}",
    ]
    assert f"https://127.0.0.1:{closed}: tcp: connection refused" in refused.value.evidence
    assert "https://kind-control-plane:6443: dns: Could not resolve host: kind-control-plane" in refused.value.evidence
    assert config.exists()


def test_the_network_is_left_only_when_we_joined_it_and_no_cluster_remains(
    config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log, clusters = tmp_path / "log", tmp_path / "clusters"
    script = tmp_path / "bin" / "docker"
    script.parent.mkdir()
    script.write_text(f'#!/bin/sh\n[ "$1" = ps ] && exec cat {clusters}\necho "$*" >>{log}\n')
    script.chmod(0o755)
    monkeypatch.setenv("PATH", f"{script.parent}{os.pathsep}{os.environ['PATH']}")
    joined = Zone("container", (), container_id="f" * 64, networks=("bridge", "kind"), joined=True)
    clusters.write_text("kind\nother\n")
    assert disconnect("kind", zone=joined) is False
    clusters.write_text("kind\n")
    assert disconnect("kind", zone=Zone("container", (), container_id="f" * 64, networks=("kind",))) is False
    assert not log.exists()
    assert disconnect("kind", zone=joined) is True
    assert log.read_text().splitlines() == [f"network disconnect kind {'f' * 64}"]
    assert config.read_text() == FOREIGN


def test_the_entry_is_shown_without_its_secrets(config: Path, pki: Pki, serve: Serve) -> None:
    assert find("kind-kind") is None
    connect("kind", pki.kubeconfig(f"https://127.0.0.1:{serve()}"), zone=HOST)
    entry = find("kind-kind")
    assert entry is not None
    shown = entry.data()
    assert shown["caSha256"] == CA_SHA256
    assert shown["credential"] == "client-certificate"
    assert (shown["current"], shown["file"]) == (True, str(config))
    for secret in (pki.data("client.key"), pki.data("client.crt")):
        assert secret not in json.dumps(shown)
        assert secret not in repr(entry)
    assert json.dumps(dict(entry.kubeconfig)).count("hunter2") == 0


def test_a_broken_kubeconfig_stops_it_before_anything_is_tried(config: Path, pki: Pki, serve: Serve) -> None:
    config.write_text("clusters: [\n")
    behaviour = Behaviour()
    text = pki.kubeconfig(f"https://127.0.0.1:{serve(behaviour)}")
    with pytest.raises(UsageError, match=rf"{config}, line 2: not a kubeconfig"):
        connect("kind", text, zone=HOST)
    with pytest.raises(UsageError, match="not a kubeconfig"):
        find("kind-kind")
    assert behaviour.seen == []


def test_an_address_given_by_hand_is_proved_alone(config: Path, pki: Pki, serve: Serve, closed: int) -> None:
    text = pki.kubeconfig(f"https://127.0.0.1:{serve()}")
    by_name = f"https://localhost:{serve()}"
    assert connect("kind", text, zone=HOST, by_hand=(by_name, "")).server == by_name
    with pytest.raises(RouteError) as refused:
        connect("kind", text, zone=HOST, by_hand=(f"https://127.0.0.1:{closed}", ""))
    tried = [line for line in refused.value.evidence.splitlines() if line.endswith("connection refused")]
    assert tried == [f"https://127.0.0.1:{closed}: tcp: connection refused"] * 2
    with pytest.raises(RouteError, match="no verified route"):
        connect("kind", text, zone=HOST, by_hand=(by_name, "somebody-else"))
    assert (find("kind-kind") or pytest.fail("no entry")).server == by_name
    assert config.exists()


def test_an_address_that_is_not_in_the_certificate_is_verified_as_localhost(
    config: Path, kubectl: Path, pki: Pki, serve: Serve
) -> None:
    address = f"https://[::ffff:127.0.0.1]:{serve()}"  # the same server by an address that kind does not certify
    connected = connect("kind", pki.kubeconfig("https://127.0.0.1:1"), zone=HOST, by_hand=(address, ""))
    assert (connected.server, connected.tls_server_name) == (address, "localhost")
    assert run([kubectl, "get", "--raw", "/readyz"], timeout=30).stdout == "ok"
    assert config.exists()


def test_without_an_engine_the_user_s_own_entry_is_repaired(
    config: Path, kubectl: Path, pki: Pki, serve: Serve
) -> None:
    """A job's container: nothing but a kubeconfig, whose server is a name that means nothing there."""
    port = serve()
    connect("kind", pki.kubeconfig(f"https://127.0.0.1:{port}"), zone=HOST)
    (config.parent / "ca.crt").write_bytes((pki.directory / "ca.crt").read_bytes())
    run(
        [kubectl, "config", "set-cluster", "kind-kind", f"--certificate-authority={config.parent / 'ca.crt'}"],
        timeout=30,
    )
    run([kubectl, "config", "unset", "clusters.kind-kind.certificate-authority-data"], timeout=30)
    assert "certificate-authority: ca.crt" in config.read_text(), "kubectl keeps it relative to the file"
    run([kubectl, "config", "set-cluster", "kind-kind", f"--server=https://nowhere.invalid:{port}"], timeout=30)
    before = seen(kubectl)
    connected = connect("kind", None, zone=HOST)
    assert connected.written
    assert connected.server == f"https://127.0.0.1:{port}"
    after = seen(kubectl)
    cluster = next(item["cluster"] for item in before["clusters"] if item["name"] == "kind-kind")
    assert cluster["certificate-authority"].endswith("ca.crt")
    cluster["server"] = connected.server
    assert after == before, "the way is all that changed"
    assert "certificate-authority: ca.crt" in config.read_text()


def test_without_an_engine_and_without_an_entry_there_is_nothing_to_connect(config: Path) -> None:
    with pytest.raises(ClusterError, match="the cluster lab is unknown here") as refused:
        connect("lab", None, zone=HOST)
    assert "kubeconfig.export --for ci --name lab" in refused.value.fix
    assert config.read_text() == FOREIGN


ENGINE = Engine("ok", "tcp://far.invalid:2375")
FAR = Zone("host", ("a test",), engine="remote", engine_host="far.invalid")


@pytest.fixture
def tunnels(config: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Tunnels that somebody else has made and tested: what is opened and closed is written down."""
    state: dict[str, Any] = {"config": config, "port": 0, "asked": [], "open": None}

    def open_tunnel(cluster: str, engine: Engine, *, port: int) -> tunnel.Tunnel:
        state["asked"].append((cluster, engine.endpoint, port))
        if not state["port"]:
            raise RouteError("ssh does not let us through", evidence="Permission denied (publickey).")
        state["open"] = tunnel.Tunnel(cluster, state["port"], "ssh", 1)
        return tunnel.Tunnel(cluster, state["port"], "ssh", 1)

    def close(_cluster: str) -> bool:
        was, state["open"] = state["open"], None
        return was is not None

    monkeypatch.setattr(tunnel, "open_tunnel", open_tunnel)
    monkeypatch.setattr(tunnel, "find", lambda _cluster: state["open"])
    monkeypatch.setattr(tunnel, "close", close)
    return state


def test_a_remote_engine_is_reached_through_a_tunnel_when_nothing_else_leads_there(
    kubectl: Path, pki: Pki, serve: Serve, closed: int, tunnels: dict[str, Any]
) -> None:
    tunnels["port"] = serve()
    text = pki.kubeconfig(f"https://127.0.0.1:{closed}")
    connected = connect("kind", text, engine=ENGINE, zone=FAR)
    assert tunnels["asked"] == [("kind", "tcp://far.invalid:2375", closed)]
    assert (connected.server, connected.tls_server_name) == (f"https://127.0.0.1:{tunnels['port']}", "localhost")
    assert run([kubectl, "get", "--raw", "/readyz"], timeout=30).stdout == "ok"
    again = connect("kind", text, engine=ENGINE, zone=FAR)
    assert not again.written
    assert len(tunnels["asked"]) == 1, "the entry leads through it already"
    assert disconnect("kind", zone=FAR)
    assert tunnels["open"] is None


def test_a_tunnel_that_proves_nothing_is_closed_and_one_that_fails_is_told(
    pki: Pki, other_pki: Pki, serve: Serve, closed: int, tunnels: dict[str, Any]
) -> None:
    text = pki.kubeconfig(f"https://127.0.0.1:{closed}")
    tunnels["port"] = serve(None, other_pki)
    with pytest.raises(RouteError, match="no verified route"):
        connect("kind", text, engine=ENGINE, zone=FAR)
    assert (len(tunnels["asked"]), tunnels["open"]) == (1, None)
    tunnels["port"] = 0
    with pytest.raises(RouteError) as refused:
        connect("kind", text, engine=ENGINE, zone=FAR)
    assert "no tunnel: ssh does not let us through (Permission denied (publickey).)" in refused.value.evidence
    assert tunnels["config"].read_text() == FOREIGN


def test_a_tunnel_that_is_no_longer_needed_is_closed(
    config: Path, pki: Pki, serve: Serve, tunnels: dict[str, Any]
) -> None:
    tunnels["open"] = tunnel.Tunnel("kind", 1, "exec", 1)
    connect("kind", pki.kubeconfig(f"https://127.0.0.1:{serve()}"), engine=ENGINE, zone=FAR)
    assert tunnels["open"] is None
    assert tunnels["asked"] == []
    assert config.exists()


def test_where_the_network_cannot_be_joined_a_tunnel_is_the_way(
    pki: Pki, serve: Serve, closed: int, tunnels: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    script = tunnels["config"].with_name("bin") / "docker"
    script.parent.mkdir()
    script.write_text("#!/bin/sh\necho 'container cannot be connected to network in host mode' >&2\nexit 1\n")
    script.chmod(0o755)
    monkeypatch.setenv("PATH", f"{script.parent}{os.pathsep}{os.environ['PATH']}")
    tunnels["port"] = serve()
    text = pki.kubeconfig(f"https://127.0.0.1:{closed}")
    connected = connect("kind", text, engine=Engine("ok", "unix:///run/docker.sock"), zone=CONTAINER)
    assert connected.server == f"https://127.0.0.1:{tunnels['port']}"
    assert not connected.joined
    untried = [proof.why for proof in connected.verdict.proofs if "joining failed" in proof.why]
    assert len(untried) == 2
    assert "in host mode" in untried[0]


def test_a_proxy_that_kubectl_would_use_is_noticed(
    config: Path, pki: Pki, serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    notes: list[str] = []
    server = f"https://127.0.0.1:{serve()}"
    monkeypatch.setattr(zones_connect, "proxied", lambda server, _env: f"a proxy is in the way to {server}")
    with events.listening(lambda event: notes.append(event.text)):
        connect("kind", pki.kubeconfig(server), zone=HOST)
    assert notes == [f"a proxy is in the way to {server}"]
    assert config.exists()


def test_kind_s_text_must_name_the_cluster(config: Path, pki: Pki) -> None:
    with pytest.raises(ClusterError, match="no context kind-lab"):
        connect("lab", pki.kubeconfig("https://127.0.0.1:1"), zone=HOST)
    assert config.read_text() == FOREIGN
