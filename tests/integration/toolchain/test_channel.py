"""Which channel `auto` means, asked of servers on loopback and of ports where nobody answers."""

import socket
import time
from collections.abc import Iterator

import pytest
from tests.integration.toolchain.conftest import Server

from threezone.toolchain import channel as reach


@pytest.fixture
def black_hole() -> Iterator[str]:
    """An address that takes no connection and refuses none: the queue of a listener that never accepts is full."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        waiting = []
        for _ in range(8):
            client = socket.socket()
            client.setblocking(False)
            client.connect_ex(listener.getsockname())
            waiting.append(client)
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/kind"
        for client in waiting:
            client.close()


@pytest.mark.parametrize(
    ("way", "channel"),
    [
        ("good", "release"),
        ("moved", "release"),
        ("missing", "release"),  # it is there, and will say what is wrong with the address
        ("forbidden", "source"),
        ("broken", "source"),
        ("dropped", "release"),
    ],
)
def test_what_a_host_answers_decides(server: Server, way: str, channel: str) -> None:
    server.way = way
    assert reach.resolve_channel("auto", [f"{server.base}/kind"]) == channel


def test_every_process_asks_once(server: Server) -> None:
    urls = [f"{server.base}/kind", f"{server.base}/flux"]
    for _ in range(3):
        assert reach.resolve_channel("auto", urls) == "release"
    assert sorted(server.requests) == ["/flux", "/kind"]


def test_one_host_that_cannot_be_reached_is_enough_for_source(server: Server) -> None:
    urls = [f"{server.base}/kind", "http://127.0.0.1:1/flux"]
    began = time.monotonic()
    assert reach.resolve_channel("auto", urls) == "source"
    assert time.monotonic() - began < 1
    assert reach.why_not(urls)[urls[0]] == ""
    assert "refused" in reach.why_not(urls)[urls[1]]


def test_where_packets_vanish_it_costs_two_seconds(black_hole: str) -> None:
    began = time.monotonic()
    assert reach.resolve_channel("auto", [black_hole, black_hole + "2"]) == "source"
    assert time.monotonic() - began < 2.5


def test_a_host_that_says_nothing_is_given_up(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reach, "ANSWER", 0.4)
    server.way = "silent"
    began = time.monotonic()
    assert reach.resolve_channel("auto", [f"{server.base}/kind"]) == "source"
    assert time.monotonic() - began < 2


def test_a_channel_by_hand_asks_nobody(server: Server) -> None:
    assert reach.resolve_channel("release", [f"{server.base}/kind"]) == "release"
    assert reach.resolve_channel("source", [f"{server.base}/kind"]) == "source"
    assert server.requests == []
