import pytest

from threezone.zones.locate import Zone
from threezone.zones.routes import Route, address, candidates

DECLARED = "https://127.0.0.1:6443"
HOST = Zone("host", ())
OUTSIDE = Zone("container", (), gateway="172.17.0.1")
MEMBER = Zone("container", (), container_id="f" * 64, networks=("bridge",), gateway="172.17.0.1")
JOINED = Zone("container", (), container_id="f" * 64, networks=("bridge", "kind"), gateway="172.17.0.1")

LOCAL = (DECLARED, "", "")
DESKTOP = [
    ("https://host.docker.internal:6443", "localhost", ""),
    ("https://kubernetes.docker.internal:6443", "localhost", ""),
]
GATEWAY = ("https://172.17.0.1:6443", "localhost", "")


def nodes(needs: str) -> list[tuple[str, str, str]]:
    return [("https://kind-external-load-balancer:6443", "", needs), ("https://kind-control-plane:6443", "", needs)]


def plain(routes: tuple[Route, ...]) -> list[tuple[str, str, str]]:
    return [(route.server, route.tls_server_name, route.needs) for route in routes]


@pytest.mark.parametrize(
    ("zone", "expected"),
    [
        (HOST, [LOCAL]),
        (OUTSIDE, [LOCAL, *DESKTOP, GATEWAY]),
        (MEMBER, [LOCAL, *DESKTOP, GATEWAY, *nodes("join")]),
        (JOINED, [LOCAL, *nodes(""), *DESKTOP, GATEWAY]),
    ],
)
def test_each_place_has_its_ways_and_those_that_change_something_come_last(
    zone: Zone, expected: list[tuple[str, str, str]]
) -> None:
    assert plain(candidates("kind", DECLARED, zone)) == expected


def test_what_the_kubeconfig_has_comes_first_and_nothing_comes_twice() -> None:
    other = ("https://10.0.0.1:6443", "localhost")
    assert plain(candidates("kind", DECLARED, HOST, existing=other)) == [(*other, ""), LOCAL]
    assert plain(candidates("kind", DECLARED, HOST, existing=(DECLARED, ""))) == [LOCAL]
    assert plain(candidates("kind", DECLARED, HOST, existing=("", ""))) == [LOCAL]
    # The same address under another TLS name is another way.
    assert plain(candidates("kind", DECLARED, HOST, existing=(DECLARED, "localhost"))) == [
        (DECLARED, "localhost", ""),
        LOCAL,
    ]


def test_an_entry_with_a_node_s_name_needs_the_network_again_after_a_rebuild() -> None:
    entry = ("https://kind-control-plane:6443", "")
    assert plain(candidates("kind", DECLARED, MEMBER, existing=entry))[0] == (*entry, "join")
    assert plain(candidates("kind", DECLARED, JOINED, existing=entry))[0] == (*entry, "")
    assert plain(candidates("kind", DECLARED, HOST, existing=entry))[0] == (*entry, "")


def test_names_and_ports_are_the_cluster_s_own() -> None:
    routes = plain(candidates("lab", "https://127.0.0.1:39999", JOINED))
    assert ("https://lab-control-plane:6443", "", "") in routes
    assert ("https://host.docker.internal:39999", "localhost", "") in routes


def test_the_network_may_have_another_name() -> None:
    elsewhere = Zone("container", (), container_id="f" * 64, networks=("lab-net",))
    assert plain(candidates("kind", DECLARED, elsewhere, network="lab-net"))[1:3] == nodes("")


def test_a_remote_engine_s_machine_is_a_way() -> None:
    remote = Zone("host", (), engine="remote", engine_host="docker")
    assert plain(candidates("kind", DECLARED, remote)) == [LOCAL, ("https://docker:6443", "localhost", "")]


def test_what_is_given_by_hand_comes_first_as_it_is_and_under_the_name_that_every_kind_certificate_has() -> None:
    given = plain(
        candidates("kind", DECLARED, HOST, existing=("https://a:1", "b"), by_hand=("https://10.0.0.9:6443", ""))
    )
    assert given == [
        ("https://10.0.0.9:6443", "", ""),
        ("https://10.0.0.9:6443", "localhost", ""),
        ("https://a:1", "b", ""),
        LOCAL,
    ]
    named = plain(candidates("kind", DECLARED, HOST, by_hand=("https://10.0.0.9:6443", "kubernetes")))
    assert named == [("https://10.0.0.9:6443", "kubernetes", ""), LOCAL]


def test_a_tunnel_comes_last_even_where_the_entry_leads_through_one_that_may_be_gone() -> None:
    tunnel = (DECLARED, "localhost", "tunnel")
    remote = Zone("host", (), engine="remote", engine_host="far")
    assert plain(candidates("kind", DECLARED, remote, tunnel=True)) == [
        LOCAL,
        ("https://far:6443", "localhost", ""),
        tunnel,
    ]
    again = plain(candidates("kind", DECLARED, MEMBER, existing=(DECLARED, "localhost"), tunnel=True))
    assert (again[0], again[-1]) == ((DECLARED, "localhost", ""), tunnel)
    assert plain(candidates("kind", "https://172.17.0.1:7443", HOST, tunnel=True))[-1][0] == "https://127.0.0.1:7443"


def test_an_ipv6_gateway_is_a_way_beside_the_other() -> None:
    both = Zone("container", (), gateway="172.17.0.1", gateway6="fd00::1")
    assert plain(candidates("kind", DECLARED, both))[-2:] == [GATEWAY, ("https://[fd00::1]:6443", "localhost", "")]


def test_a_cluster_that_is_published_on_the_gateway_is_tried_there_first() -> None:
    routes = plain(candidates("kind", "https://172.17.0.1:6443", OUTSIDE))
    assert routes[0] == ("https://172.17.0.1:6443", "", "")
    assert routes[1][:2] == ("https://host.docker.internal:6443", "localhost")


@pytest.mark.parametrize("declared", ["https://127.0.0.1", "https://127.0.0.1:port"])
def test_an_address_without_a_port_means_kind_s_own(declared: str) -> None:
    assert ("https://172.17.0.1:6443", "localhost", "") in plain(candidates("kind", declared, OUTSIDE))


def test_ipv6_addresses_get_brackets() -> None:
    assert address("fd00::1", 6443) == "https://[fd00::1]:6443"
    assert address("host", 6443) == "https://host:6443"
