"""Ways to clusters that are not kind's of ours: which there are, and what is said where none is."""

from typing import Any

import pytest

from threezone.zones.external_routes import candidates, no_route
from threezone.zones.kubeconfig_entry import UserEntry
from threezone.zones.locate import Zone
from threezone.zones.probe import Probe
from threezone.zones.proof import Proof, Stage, Verdict
from threezone.zones.routes import Route

DESKTOP = "https://kubernetes.docker.internal:6443"
HOST = Zone("host", ())
CONTAINER = Zone("container", (), gateway="172.17.0.1")


def entry(server: str, tls: str = "") -> UserEntry:
    data: dict[str, Any] = {
        "clusters": [{"name": "c", "cluster": {"server": server}}],
        "contexts": [{"name": "docker-desktop", "context": {"cluster": "c", "user": "u"}}],
        "users": [{"name": "u", "user": {}}],
    }
    return UserEntry("docker-desktop", server, tls, "", "/config", is_current=True, kubeconfig=data)


def plain(found: tuple[Route, ...]) -> list[tuple[str, str]]:
    return [(route.server, route.tls_server_name) for route in found]


def test_docker_desktop_s_entry_is_taken_as_it_stands_and_else_by_the_ways_of_the_zone() -> None:
    names = ("kubernetes.docker.internal", "kubernetes", "localhost")
    assert plain(candidates(entry(DESKTOP), HOST)) == [
        (DESKTOP, ""),
        *(("https://127.0.0.1:6443", name) for name in names),
    ]
    seen = plain(candidates(entry(DESKTOP), CONTAINER))
    assert seen[0] == (DESKTOP, "")
    assert seen[1:4] == [("https://host.docker.internal:6443", name) for name in names]
    assert seen[-3:] == [("https://172.17.0.1:6443", name) for name in names]
    assert not [server for server, _ in seen if "127.0.0.1" in server], "in a container that is the container itself"


@pytest.mark.parametrize("server", ["https://127.0.0.1:35353", "https://localhost:35353", "https://[::1]:35353"])
def test_a_loopback_address_is_this_machine_s_and_no_name_for_elsewhere(server: str) -> None:
    found = plain(candidates(entry(server), CONTAINER))
    assert ("https://host.docker.internal:35353", "kubernetes") in found
    assert ("https://172.17.0.1:35353", "localhost") in found


def test_the_name_that_the_entry_expects_is_kept() -> None:
    assert ("https://172.17.0.1:1", "mine") in plain(candidates(entry("https://127.0.0.1:1", "mine"), CONTAINER))


@pytest.mark.parametrize(
    "server", ["https://example.invalid", "https://10.1.2.3:6443", "https://[half", "https://h:no"]
)
def test_an_address_elsewhere_is_the_same_from_everywhere(server: str) -> None:
    for zone in (HOST, CONTAINER):
        assert plain(candidates(entry(server), zone)) == [(server, "")]


def test_where_the_name_is_absent_that_is_explained() -> None:
    proof = Proof(Route("existing entry", DESKTOP), (Stage("dns", False, 0.0, "no such host", "unknown-name"),), 0.0)
    error = no_route(entry(DESKTOP), Probe(CONTAINER, Verdict(None, (proof,), 0.0)))
    assert (
        "no verified route leads from this container to the API server of the context docker-desktop" in error.message
    )
    words = " ".join(error.evidence.split())
    assert "Only Docker Desktop knows that name, not the resolver of this container" in words
    assert "--add-host=host.docker.internal:host-gateway" in error.fix
    on_host = no_route(entry(DESKTOP), Probe(HOST, Verdict(None, (proof,), 0.0)))
    assert "Settings, Kubernetes" in on_host.fix
    far = no_route(entry("https://example.invalid"), Probe(HOST, Verdict(None, (proof,), 0.0)))
    assert far.fix.startswith("kubectl --context docker-desktop cluster-info")
