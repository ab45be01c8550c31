from datetime import UTC, datetime

import pytest

from threezone.clients.kind import Node
from threezone.clients.kubernetes.api import Json
from threezone.cluster.containers import Container
from threezone.cluster.start import _target, explain, in_order, service_address, stale

START = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)


def node(name: str, role: str = "control-plane") -> Node:
    return Node(f"id-{name}", name, "lab", role, "exited", "threezone/node:v1.35.0-lab", ours=True)


NODES = [node("plane"), node("plane2"), node("worker", "worker"), node("balancer", "external-load-balancer")]


def order(old: dict[str, str], free: list[str]) -> list[str]:
    return [one.name for one in in_order(NODES, old, free)]


def test_nodes_are_started_so_that_the_lowest_free_address_is_the_old_one_of_each() -> None:
    old = {"plane": "172.18.0.5", "plane2": "172.18.0.2", "worker": "172.18.0.3"}
    assert order(old, [f"172.18.0.{last}" for last in range(2, 9)]) == ["plane2", "worker", "balancer", "plane"]


def test_the_balancer_takes_the_address_that_no_other_had() -> None:
    old = {"plane": "172.18.0.3", "plane2": "172.18.0.4", "worker": "172.18.0.5"}
    assert order(old, [f"172.18.0.{last}" for last in range(2, 9)]) == ["balancer", "plane", "plane2", "worker"]


def test_without_known_addresses_control_planes_come_first_and_the_balancer_last() -> None:
    assert order({}, []) == ["plane", "plane2", "worker", "balancer"]


def test_a_node_whose_old_address_is_taken_is_started_too() -> None:
    assert sorted(order({"plane": "172.18.0.2"}, ["172.18.0.9"])) == sorted(one.name for one in NODES)


@pytest.mark.parametrize(
    ("ranges", "address"),
    [
        ("10.96.0.0/16", "10.96.0.1"),
        ("fd00:10:96::/112", "fd00:10:96::1"),
        ("10.96.0.0/16,fd00:10:96::/112", "10.96.0.1"),
        ("nonsense", ""),
    ],
)
def test_the_service_address_is_the_first_of_the_range(ranges: str, address: str) -> None:
    assert service_address(f"    - --service-cluster-ip-range={ranges}\n    - --x=y\n") == address
    assert service_address("spec: {}") == ""


def test_the_service_leads_to_an_address_of_its_own_family() -> None:
    networks = {"kind": {"IPAddress": "172.18.0.2", "GlobalIPv6Address": "fc00::2"}}
    container = Container(NODES[0], {"NetworkSettings": {"Networks": networks}})
    assert _target(container, "10.96.0.1") == "172.18.0.2:6443"
    assert _target(container, "fd00::1") == "[fc00::2]:6443"
    assert _target(None, "10.96.0.1") == ""


def lease(holder: str | None, renewed: str = "2026-11-21T11:59:59.000000Z") -> Json:
    return {"metadata": {"namespace": "n", "name": "l"}, "spec": {"holderIdentity": holder, "renewTime": renewed}}


HERE = ["source-controller-6b59-2wl74", "lab-control-plane"]


def test_leases_of_leaders_that_ended_with_the_node_are_stale() -> None:
    ended = [lease("source-controller-6b59-2wl74_0f0e"), lease("lab-control-plane_4ce3")]
    assert stale(ended, HERE, START) == ended


@pytest.mark.parametrize(
    "kept",
    [
        lease("source-controller-6b59-2wl74_0f0e", "2026-11-21T12:00:01.000000Z"),  # renewed since
        lease("my-laptop_0f0e"),  # a leader outside the cluster
        lease("lab-control-plane"),  # the node's own heartbeat, in kube-node-lease
        lease("apiserver-r2selc4g_6d40"),  # an identity, which nobody waits for
        lease(""),
        lease(None),
        {"metadata": {"namespace": "n", "name": "l"}},
    ],
)
def test_every_other_lease_is_left_alone(kept: Json) -> None:
    assert stale([kept], HERE, START) == []


def test_a_port_that_was_taken_in_the_meantime_is_named() -> None:
    words = (
        "Error response from daemon: driver failed programming external connectivity on endpoint lab-control-plane: "
        "Error starting userland proxy: listen tcp4 127.0.0.1:0: bind: address already in use"
    )
    error = explain(NODES[0], words)
    assert error.message == "the node plane cannot be started: a port that it publishes is taken"
    assert "keeps the port" in error.fix
    assert "cannot be started" in explain(NODES[0], "no space left on device").message
