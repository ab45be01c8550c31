"""Connect with what the engine here knows: nothing, another cluster, one that is gone. Real servers on loopback."""

from pathlib import Path

import pytest
from tests.integration.zones.conftest import Behaviour, Pki, Serve

from threezone.clients.kind import Node
from threezone.core.errors import ClusterError, EngineError, RouteError
from threezone.engine.find import Engine
from threezone.zones.connect import connect_observed as connect
from threezone.zones.kind_cluster import KindCluster
from threezone.zones.locate import Zone

HOST = Zone("host", ("a test",))
OK, MISSING, STOPPED = Engine("ok", "unix:///x"), Engine("missing", "unix:///x"), Engine("stopped", "unix:///x")
GONE = ClusterError("the cluster kind is gone", fix="./run invoke up")
NODE = Node("0", "kind-control-plane", "kind", "control-plane", "exited", "image", ours=True)


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "config"
    monkeypatch.setenv("KUBECONFIG", str(path))
    return path


def test_a_job_whose_engine_lacks_the_cluster_uses_its_own_entry(config: Path, pki: Pki, serve: Serve) -> None:
    server = f"https://127.0.0.1:{serve()}"
    config.write_text(pki.kubeconfig(server))
    for known in (
        KindCluster("kind", OK, HOST, error=GONE, missing=GONE),
        KindCluster("kind", MISSING, HOST, error=EngineError("no engine")),
        KindCluster("kind", STOPPED, HOST, error=EngineError("it is stopped")),
    ):
        assert connect(known).server == server
        assert not connect(known).written


def test_what_is_gone_is_said_to_be_gone_with_what_was_tried(config: Path, pki: Pki, closed: int) -> None:
    config.write_text(pki.kubeconfig(f"https://127.0.0.1:{closed}"))
    before = config.read_text()
    with pytest.raises(ClusterError, match="the cluster kind is gone") as refused:
        connect(KindCluster("kind", OK, HOST, error=GONE, missing=GONE))
    assert refused.value.fix == "./run invoke up"
    assert f"https://127.0.0.1:{closed}: tcp: connection refused" in refused.value.evidence
    assert config.read_text() == before


def test_an_engine_that_is_stopped_is_the_cause_and_one_that_was_never_there_is_not(
    config: Path, pki: Pki, closed: int
) -> None:
    config.write_text(pki.kubeconfig(f"https://127.0.0.1:{closed}"))
    with pytest.raises(EngineError, match="it is stopped"):
        connect(KindCluster("kind", STOPPED, HOST, error=EngineError("it is stopped")))
    with pytest.raises(RouteError, match="no verified route"):
        connect(KindCluster("kind", MISSING, HOST, error=EngineError("no engine")))


def test_a_stopped_cluster_is_not_looked_for(config: Path, pki: Pki, serve: Serve) -> None:
    behaviour = Behaviour()
    config.write_text(pki.kubeconfig(f"https://127.0.0.1:{serve(behaviour)}"))
    stopped = ClusterError("the cluster kind is stopped")
    with pytest.raises(ClusterError, match="is stopped"):
        connect(KindCluster("kind", OK, HOST, (NODE,), error=stopped, missing=stopped))
    assert behaviour.seen == []


def test_without_an_entry_the_engine_s_trouble_is_what_is_said(config: Path) -> None:
    with pytest.raises(ClusterError, match="is gone"):
        connect(KindCluster("kind", OK, HOST, error=GONE, missing=GONE))
    with pytest.raises(ClusterError, match="is unknown here"):
        connect(KindCluster("kind", MISSING, HOST, error=EngineError("no engine")))
    assert not config.exists()
