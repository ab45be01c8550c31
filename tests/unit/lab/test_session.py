"""What the settings and the engine add to the declared cluster."""

from pathlib import Path

import pytest

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


@pytest.mark.parametrize(
    "engine",
    [
        Engine("ok", LOCAL, version="28.0.0", system="Docker Desktop"),
        Engine("ok", LOCAL, version="28.0.0", system="Debian GNU/Linux 12 (bookworm)", rootless=True),
    ],
    ids=["desktop", "rootless"],
)
def test_the_gateway_is_refused_where_it_is_no_address_of_this_machine(engine: Engine) -> None:
    with pytest.raises(EngineError, match=r"threezone\.cluster\.api is gateway, but"):
        _ = session("gateway", engine).overlays


def test_an_engine_on_another_system_is_in_a_virtual_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.platform", "darwin")
    with pytest.raises(EngineError, match="virtual machine"):
        _ = session("gateway", NATIVE).published


@pytest.mark.parametrize(("ports", "told"), [("127.0.0.1:6443->6443/tcp", False), ("10.0.0.1:6443->6443/tcp", True)])
def test_a_cluster_of_ours_that_is_published_elsewhere_gets_a_notice(ports: str, told: bool) -> None:
    ours = Node("0", "lab-control-plane", "lab", "control-plane", "running", "image", ours=True, ports=ports)
    theirs = Node("0", "lab-control-plane", "lab", "control-plane", "running", "image", ours=False, ports=ports)
    assert bool(up.notice(session("loopback", NATIVE), [ours])) is told
    assert up.notice(session("loopback", NATIVE), [theirs]) == ""
    assert up.notice(session("loopback", NATIVE), []) == ""
