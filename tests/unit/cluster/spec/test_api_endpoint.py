import json
import os
import socket
from pathlib import Path

import pytest

from threezone.clients.kind import Node
from threezone.cluster import preflight
from threezone.cluster.lifecycle import Observed, plan
from threezone.cluster.spec import declared as spec
from threezone.cluster.spec.api_endpoint import for_engine, on_gateway, other_address_notice
from threezone.cluster.spec.declared import parse, published, with_overlays
from threezone.core import process
from threezone.core.errors import EngineError, UsageError
from threezone.core.process import Completed
from threezone.engine.find import Engine, bridge_address
from threezone.zones.locate import EngineKind

FILE = Path("local/kubernetes/kind.yaml")
TEXT = "kind: Cluster\napiVersion: kind.x-k8s.io/v1alpha4\nnetworking:\n  apiServerPort: 6443\n"
DECLARED = parse(TEXT, FILE)
GATEWAY = "172.17.0.1"


def declaring(address: str) -> str:
    return f"{TEXT}  apiServerAddress: {address}\n"


def node(ports_: str, role: str = "control-plane") -> Node:
    return Node("0", f"lab-{role}", "lab", role, "running", "image", ours=True, ports=ports_)


def test_kind_is_given_the_gateways_address_and_everything_else_as_declared() -> None:
    overlay = on_gateway(DECLARED, GATEWAY)
    given = json.loads(with_overlays(DECLARED, "lab", [overlay]))
    assert given == {
        **DECLARED.content,
        "name": "lab",
        "networking": {"apiServerPort": 6443, "apiServerAddress": GATEWAY},
    }
    assert published(DECLARED, [overlay]) == GATEWAY
    assert published(DECLARED, []) == "127.0.0.1"


def test_the_plan_tells_what_is_opened_and_where_the_api_will_be() -> None:
    opened, create = plan(Observed("lab", "absent"), DECLARED, [on_gateway(DECLARED, GATEWAY)], "image")
    for words in (GATEWAY, "every container", "neighbours", "credentials", "threezone.cluster.api"):
        assert words in opened.sentence
    assert f"API on {GATEWAY}:6443" in create.sentence


def test_before_the_engine_runs_the_plan_tells_it_without_the_address() -> None:
    opened, create = plan(Observed("lab", "absent"), DECLARED, [on_gateway(DECLARED, "")], "image")
    assert "the gateway of the engine's bridge" in opened.sentence
    assert "API on the gateway:6443" in create.sentence


def test_a_remote_engine_is_told_that_the_address_is_not_of_this_machine() -> None:
    assert "from here the route is a tunnel" in on_gateway(DECLARED, GATEWAY, remote=True).sentence
    assert "tunnel" not in on_gateway(DECLARED, GATEWAY).sentence


@pytest.mark.parametrize("address", ["127.0.0.1", "192.0.2.7"])
def test_a_conflicting_address_in_the_file_is_refused(address: str) -> None:
    with pytest.raises(UsageError) as caught:
        on_gateway(parse(declaring(address), FILE), GATEWAY)
    for words in (str(FILE), address, "threezone.cluster.api", "invoke.yaml", GATEWAY):
        assert words in caught.value.message
    assert f"remove apiServerAddress from {FILE}" in caught.value.fix


def test_the_same_address_in_the_file_is_accepted() -> None:
    assert on_gateway(parse(declaring(GATEWAY), FILE), GATEWAY).api_address == GATEWAY


@pytest.mark.parametrize("address", ["0.0.0.0", "'::'", "'0:0:0:0:0:0:0:0'", "'::0'"])  # noqa: S104  to be refused
def test_every_address_at_once_is_refused_in_any_spelling(address: str) -> None:
    with pytest.raises(UsageError, match="would open the API server to the network"):
        parse(declaring(address), FILE)
    with pytest.raises(EngineError, match="every address"):
        on_gateway(DECLARED, address.strip("'"))


def unasked() -> str:
    pytest.fail("the bridge of this engine is of no use")


def test_a_rootless_engine_is_refused_with_what_works_there() -> None:
    with pytest.raises(EngineError, match="network namespace of its own") as caught:
        for_engine("rootless", DECLARED, unasked)
    assert "threezone.cluster.api: loopback" in caught.value.fix
    assert "docker network connect kind" in caught.value.fix


def test_in_a_virtual_machine_the_api_stays_on_loopback_and_that_is_said() -> None:
    overlay = for_engine("desktop", DECLARED, unasked)
    assert (overlay.api_address, overlay.patch) == ("", "")
    assert "virtual machine" in overlay.sentence
    assert "host.docker.internal" in overlay.sentence


@pytest.mark.parametrize("kind", ["native", "remote", "unknown"])
def test_other_engines_publish_there(kind: EngineKind) -> None:
    overlay = for_engine(kind, DECLARED, lambda: GATEWAY)
    assert overlay.api_address == GATEWAY
    assert ("the route is a tunnel" in overlay.sentence) == (kind == "remote")


@pytest.mark.parametrize(
    ("config", "address"),
    [
        ([{"Subnet": "172.17.0.0/16", "Gateway": "172.17.0.1"}], "172.17.0.1"),
        ([{"Subnet": "172.17.0.0/16"}], "172.17.0.1"),  # Docker 20.10 that has just made its bridge
        ([{"Subnet": "10.9.8.0/24", "Gateway": "10.9.8.254"}], "10.9.8.254"),  # daemon.json: bip
        ([{"Subnet": "fd00::/64", "Gateway": "fd00::1"}, {"Subnet": "10.9.8.0/24", "Gateway": "10.9.8.1"}], "10.9.8.1"),
        ([{"Subnet": "fd00::/64", "Gateway": "fd00::1"}], ""),
        ([], ""),
    ],
)
def test_the_bridges_address_is_what_the_engine_says(config: list[dict[str, str]], address: str) -> None:
    assert bridge_address(config) == address


def test_a_notice_names_the_published_address_and_the_fix() -> None:
    told = other_address_notice([node("127.0.0.1:6443->6443/tcp")], GATEWAY)
    assert "published on 127.0.0.1, not on 172.17.0.1" in told
    assert other_address_notice([node("127.0.0.1:6442-6444->6442-6444/tcp")], GATEWAY) == told
    assert "./run invoke up --recreate" in told


@pytest.mark.parametrize(
    ("nodes", "wanted"),
    [
        ([node("127.0.0.1:6443->6443/tcp")], "127.0.0.1"),
        ([node("0.0.0.0:8080->80/tcp, 172.17.0.1:17443->6443/tcp")], GATEWAY),
        ([node("[::1]:6443->6443/tcp")], "::1"),
        ([node("::1:6443->6443/tcp")], "::1"),  # as Docker 20.10 writes it
        ([node("172.17.0.1:6442-6444->6442-6444/tcp")], GATEWAY),
        ([node("")], GATEWAY),  # stopped: nobody can tell
        ([node("127.0.0.1:33445->6443/tcp"), node("172.17.0.1:6443->6443/tcp", "external-load-balancer")], GATEWAY),
    ],
)
def test_no_notice_when_the_api_is_published_as_declared(nodes: list[Node], wanted: str) -> None:
    assert other_address_notice(nodes, wanted) == ""


def test_with_several_control_planes_the_balancer_is_what_counts() -> None:
    nodes = [node("127.0.0.1:33445->6443/tcp"), node("172.17.0.1:6443->6443/tcp", "external-load-balancer")]
    assert "published on 172.17.0.1, not on 127.0.0.1" in other_address_notice(nodes, "127.0.0.1")


def test_a_port_is_taken_while_somebody_listens() -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        port = listener.getsockname()[1]
        assert preflight.is_taken("127.0.0.1", port)
    assert not preflight.is_taken("127.0.0.1", port)


def test_a_port_of_udp_is_taken_while_somebody_has_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "run", lambda argv, **_: Completed(tuple(argv), 1, "", "", 0.0))  # no engine
    with socket.socket(type=socket.SOCK_DGRAM) as bound:
        bound.bind(("127.0.0.1", 0))
        port = bound.getsockname()[1]
        assert preflight.is_taken("127.0.0.1", port, "UDP")
        assert preflight.holder(port, "UDP").startswith(f"process {os.getpid()} (")
        mapping = f"  - {{containerPort: 53, hostPort: {port}, listenAddress: 127.0.0.1, protocol: UDP}}\n"
        text = f"kind: Cluster\napiVersion: kind.x-k8s.io/v1alpha4\nnodes:\n- extraPortMappings:\n{mapping}"
        with pytest.raises(UsageError, match=rf"kind\.yaml:5: port {port}/UDP .* process {os.getpid()} "):
            preflight.check(spec.parse(text, Path("kind.yaml")), (), Engine("ok", "unix:///var/run/docker.sock"))
    assert not preflight.is_taken("127.0.0.1", port, "UDP")


@pytest.mark.parametrize(("family", "address"), [(socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")])
def test_the_process_that_holds_a_port_is_named(
    family: socket.AddressFamily, address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process, "run", lambda argv, **_: Completed(tuple(argv), 1, "", "", 0.0))  # no engine
    with socket.socket(family) as listener:
        listener.bind((address, 0))
        listener.listen()
        port = listener.getsockname()[1]
        assert preflight.holder(port).startswith(f"process {os.getpid()} (")
    assert str(os.getpid()) not in preflight.holder(port)


def test_an_address_of_another_machine_is_not_taken_for_a_taken_port() -> None:
    assert not preflight.is_taken("192.0.2.1", 6443)  # RFC 5737: nobody's


@pytest.mark.parametrize("listed", ["127.0.0.1:6443->6443/tcp", "127.0.0.1:6442-6444->6442-6444/tcp"])
def test_a_port_of_the_nodes_that_are_replaced_is_not_taken(listed: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preflight, "is_taken", lambda *_: True)
    monkeypatch.setattr(preflight, "holder", lambda *_: "somebody")
    monkeypatch.setattr(preflight, "free_inotify", lambda: None)
    engine = Engine("ok", "unix:///var/run/docker.sock")
    preflight.check(DECLARED, (), engine, [node(listed)])
    with pytest.raises(UsageError, match="port 6443 on"):
        preflight.check(DECLARED, (), engine, [node("127.0.0.1:6444->6443/tcp")])
