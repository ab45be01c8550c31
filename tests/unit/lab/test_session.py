"""What the settings and the engine add to the declared cluster."""

from pathlib import Path

import pytest

from threezone.cluster import publish
from threezone.cluster.declared import Declared, parse
from threezone.cluster.kind import Node
from threezone.engine.observe import Engine
from threezone.errors import EngineError
from threezone.lab import up
from threezone.lab.observe import Lab
from threezone.lab.session import Session
from threezone.settings import Cluster, Published, Settings

LOCAL = "unix:///var/run/docker.sock"
NATIVE = Engine("ok", LOCAL, version="28.0.0", system="Debian GNU/Linux 12 (bookworm)", cgroup="2")
DECLARED = parse("kind: Cluster\napiVersion: kind.x-k8s.io/v1alpha4\n", Path("kind.yaml"))


def session(api: Published, engine: Engine, declared: Declared = DECLARED) -> Session:
    made = Session(Lab(Path("/project"), Settings(cluster=Cluster(api=api)), "lab"), "release")
    made.__dict__.update(engine=engine, declared=declared)
    return made


def test_on_loopback_nothing_is_added_and_nothing_is_asked() -> None:
    assert session("loopback", NATIVE).overlays == ()


def test_the_gateway_of_a_rootless_engine_is_refused() -> None:
    engine = Engine("ok", LOCAL, version="28.0.0", system="Debian GNU/Linux 12 (bookworm)", rootless=True)
    with pytest.raises(EngineError, match=r"threezone\.cluster\.api is gateway, but"):
        _ = session("gateway", engine).overlays


def test_an_engine_in_a_virtual_machine_keeps_the_api_on_loopback(monkeypatch: pytest.MonkeyPatch) -> None:
    desktop = Engine("ok", LOCAL, version="28.0.0", system="Docker Desktop")
    assert session("gateway", desktop).published == (publish.DESKTOP,)
    monkeypatch.setattr("sys.platform", "darwin")
    assert session("gateway", NATIVE).published == (publish.DESKTOP,), "a Linux engine on another system is in one"


@pytest.mark.parametrize(("ports", "told"), [("127.0.0.1:6443->6443/tcp", False), ("10.0.0.1:6443->6443/tcp", True)])
def test_a_cluster_of_ours_that_is_published_elsewhere_gets_a_notice(ports: str, told: bool) -> None:
    ours = Node("0", "lab-control-plane", "lab", "control-plane", "running", "image", ours=True, ports=ports)
    theirs = Node("0", "lab-control-plane", "lab", "control-plane", "running", "image", ours=False, ports=ports)
    assert bool(up.notice(session("loopback", NATIVE), [ours])) is told
    assert up.notice(session("loopback", NATIVE), [theirs]) == ""
    assert up.notice(session("loopback", NATIVE), []) == ""
