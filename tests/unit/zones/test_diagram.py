"""The drawing of the three zones: what is there stands in its box, what is not says so there."""

import pytest

from threezone.clients.kind import Node
from threezone.engine.find import Engine
from threezone.zones.diagram import WIDTH, Facts, draw
from threezone.zones.kubeconfig_entry import UserEntry
from threezone.zones.locate import Zone

ENGINE = Engine("ok", "unix:///var/run/docker.sock", version="29.1.0", system="Debian GNU/Linux 12")


def a_node(name: str, role: str, state: str, networks: tuple[str, ...] = (), published: str = "") -> Node:
    ports = f"{published}->6443/tcp" if published else ""
    return Node("0", name, "kind", role, state, "image", ours=True, ports=ports, networks=networks)


def an_entry(context: str, server: str, tls_server_name: str, file: str) -> UserEntry:
    data = {"contexts": [{"name": context, "context": {}}]}
    return UserEntry(context, server, tls_server_name, "", file, is_current=True, kubeconfig=data)


NODE = a_node("kind-control-plane", "control-plane", "running", ("kind",), "127.0.0.1:6443")
LOCAL = an_entry("kind-kind", "https://127.0.0.1:6443", "", "/home/me/.kube/config")
HOST = Zone("host", (), engine="native")
CONTAINER = Zone("container", (), container_id="0123456789abcdef", networks=("bridge",), gateway="172.17.0.1")
REMOTE = Zone("host", (), engine="remote", engine_host="build.example")
RUNNING = Facts("kind", ENGINE, (NODE,), "", LOCAL)

ON_THE_HOST = """\
╔═ zone 1: you are here ══╗     ╔═ zone 2: engine's host ══════╗     ┌─ zone 3: cluster ───────────┐
║ the host                ║     ║ engine 29.1.0                ║     │ kind, API server on 6443    │
║ 127.0.0.1 is zone 2's   ║     ║ on Linux itself              ║     │ kind-control-plane          │
║                         ║═════║ unix:///var/run/docker.sock  ║──┃─▶│ network kind                │
║                         ║     ║ publishes 127.0.0.1:6443     ║     │                             │
╚═════════════════════════╝     ╚══════════════════════════════╝     └─────────────────────────────┘

┃ one boundary from here: zone 2 → 3, which the published port crosses
kind-kind in /home/me/.kube/config → https://127.0.0.1:6443: the port that zone 2 publishes"""


def boxes(text: str) -> list[str]:
    """What stands in the three boxes, one string each."""
    rows = [line for line in text.partition("\n\n")[0].splitlines()[1:] if line[0] in "║│"]
    parts = ((0, 27), (32, 64), (69, 100))
    return [" ".join(" ".join(row[begin:end].strip("║│ ") for row in rows).split()) for begin, end in parts]


def test_on_the_host_zones_1_and_2_are_one_machine() -> None:
    assert draw(HOST, RUNNING) == ON_THE_HOST


def test_in_a_container_two_boundaries_are_to_be_crossed_and_its_own_address_is_the_trap() -> None:
    text = draw(CONTAINER, RUNNING)
    assert boxes(text)[0] == "container 0123456789ab on bridge gateway 172.17.0.1 127.0.0.1 is itself"
    assert text.count("──┃─▶") == 2
    assert "┃ two boundaries from here" in text
    assert "the container itself (the localhost trap)" in " ".join(text.split())
    assert "╤" not in text


def test_a_container_on_the_nodes_network_has_a_line_past_zone_2() -> None:
    joined = Zone("container", (), container_id="f" * 64, networks=("bridge", "kind"), devcontainer=True)
    way = an_entry("kind-kind", "https://kind-control-plane:6443", "", "/home/me/.kube/config")
    text = draw(joined, Facts("kind", ENGINE, (NODE,), "", way))
    lines = text.splitlines()
    under = next(number for number, line in enumerate(lines) if "both are on the network kind" in line)
    assert lines[under - 1].index("╤") == lines[under].index("└")
    assert lines[under - 1].index("▲") == lines[under].index("┘")
    assert boxes(text)[0].startswith("devcontainer ffffffffffff on bridge, kind")
    assert "past zone 2 straight into zone 3" in " ".join(text.split())


def test_an_engine_on_another_machine_is_behind_a_boundary() -> None:
    text = draw(REMOTE, Facts("kind", Engine("ok", "ssh://me@build.example", version="29"), (NODE,), "", LOCAL))
    assert boxes(text)[0] == "the host 127.0.0.1 is its own"
    assert "on another machine ssh://me@build.example" in boxes(text)[1]
    assert text.count("──┃─▶") == 2
    assert "which needs a tunnel" in " ".join(text.split())


def test_what_is_missing_says_so_in_its_place() -> None:
    missing = Facts(
        "kind", Engine("missing", "unix:///var/run/docker.sock"), (), "not known without an engine", None, "no entry"
    )
    text = draw(Zone("container", (), ci="gitlab"), missing)
    first, second, third = boxes(text)
    assert first == "container job of GitLab CI 127.0.0.1 is itself"
    assert second == "no engine (missing) at unix:///var/run/docker.sock"
    assert third == "not known without an engine"
    assert text.splitlines()[-1] == "no entry"


def test_a_node_that_does_not_run_and_a_cluster_that_is_not_published_are_seen() -> None:
    text = draw(HOST, Facts("kind", ENGINE, (a_node("kind-control-plane", "control-plane", "exited"),), "", LOCAL))
    assert "publishes no API port" in boxes(text)[1]
    assert "kind-control-plane exited" in boxes(text)[2]


def test_many_nodes_are_counted() -> None:
    nodes = tuple(a_node(f"kind-worker{number}", "worker", "running", ("kind",)) for number in range(12))
    assert "kind-worker6 and 5 more network kind" in boxes(draw(HOST, Facts("kind", ENGINE, nodes)))[2]


@pytest.mark.parametrize("name", ["kind", "a" * 50])
@pytest.mark.parametrize("endpoint", ["unix:///run/user/1000/docker.sock", f"tcp://{'h' * 90}.example:2376"])
@pytest.mark.parametrize("system", ["linux", "wsl", "macos", "windows"])
@pytest.mark.parametrize("kind", ["host", "container"])
def test_no_name_is_too_long_for_a_hundred_columns(name: str, endpoint: str, system: str, kind: str) -> None:
    node = a_node(
        f"{name}-external-load-balancer", "external-load-balancer", "restarting", (name, "b" * 60), "[::1]:65535"
    )
    zone = Zone(kind, (), networks=("c" * 60, name), gateway="172.17.0.1", gateway6="fd00:" * 7 + "1", system=system)  # type: ignore[arg-type]
    way = an_entry(
        f"kind-{name}", f"https://{'h' * 90}.example:6443", "localhost", "/home/" + "d" * 60 + "/.kube/config"
    )
    text = draw(zone, Facts(name, Engine("ok", endpoint, version="29.1.0-rc.2+build.77"), (node,), "", way))
    drawing = text.split("\n\n")[0].splitlines()
    assert {len(line) for line in drawing if line[0] in "╔║╚"} == {WIDTH}
    assert max(map(len, drawing)) <= WIDTH


def test_an_entry_that_is_no_address_does_not_break_the_drawing() -> None:
    assert draw(HOST, Facts("kind", ENGINE, (), "none", an_entry("kind-kind", "https://[::1", "", "f"))).endswith(
        "no address"
    )


@pytest.mark.parametrize(
    ("ports", "where"),
    [
        ("127.0.0.1:6443->6443/tcp", "127.0.0.1:6443"),
        ("127.0.0.1:80->80/tcp, 172.17.0.1:39999->6443/tcp", "172.17.0.1:39999"),
        ("0.0.0.0:6443->6443/tcp, :::6443->6443/tcp", "0.0.0.0:6443"),
        ("[::1]:6443->6443/tcp", "[::1]:6443"),
        ("127.0.0.1:6442-6444->6442-6444/tcp", "127.0.0.1:6443"),
        ("127.0.0.1:80-81->6442-6443/tcp, 127.0.0.1:90->90/tcp", "127.0.0.1:81"),
        ("127.0.0.1:6443->80/tcp", ""),
        ("6443/tcp", ""),
        ("", ""),
    ],
)
def test_the_published_api_port_is_read_from_the_engine_s_list(ports: str, where: str) -> None:
    assert Node("0", "n", "kind", "control-plane", "running", "image", ours=True, ports=ports).published == where


def test_as_json_the_facts_have_the_reasons_for_what_is_missing() -> None:
    assert RUNNING.data() == {
        "engine": {"state": "ok", "endpoint": "unix:///var/run/docker.sock", "version": "29.1.0"},
        "cluster": {
            "name": "kind",
            "nodes": [
                {
                    "name": "kind-control-plane",
                    "role": "control-plane",
                    "state": "running",
                    "networks": ("kind",),
                    "published": "127.0.0.1:6443",
                }
            ],
            "why": None,
        },
        "kubeconfig": {
            "entry": {
                "context": "kind-kind",
                "server": "https://127.0.0.1:6443",
                "tlsServerName": None,
                "file": "/home/me/.kube/config",
            },
            "why": None,
        },
    }
    assert Facts("kind", ENGINE, (), "gone", None, "none").data()["kubeconfig"] == {"entry": None, "why": "none"}
