"""The forwarder and the program that it starts in the node, on loopback; what they lead to is a server of the test."""

import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import psutil
import pytest

from threezone.core import daemon
from threezone.core.daemon import Daemon
from threezone.core.errors import ClusterError, CommandFailed, RouteError, ToolError
from threezone.core.loopback import free_port, is_free
from threezone.zones import forwarder, tunnel
from threezone.zones.tunnel import TunnelSpec

FORWARDER = Path(forwarder.__file__)
PLAN = TunnelSpec("exec", "tcp://engine:2375", "kind-control-plane")

Start = Callable[..., Daemon]
Talk = Callable[[socket.socket], None]


@pytest.fixture
def start() -> Iterator[Start]:
    """Start the forwarder on a free port with a program; the port is `facts["port"]`."""

    def run(*command: str, name: str = "forwarder") -> Daemon:
        port = free_port()
        argv: list[str | Path] = [sys.executable, "-I", FORWARDER, str(port), *command]
        return daemon.start(name, argv, ready=lambda: not is_free(port), timeout=20, facts={"port": str(port)})

    yield run
    for running in daemon.all():
        daemon.stop(running.name)


@pytest.fixture
def server() -> Iterator[Callable[[Talk], int]]:
    """A server on loopback that talks to each client in a thread of its own; the answer is its port."""
    with ExitStack() as stack:

        def serve(talk: Talk) -> int:
            listening = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=200))

            def accept() -> None:
                while True:
                    try:
                        client, _ = listening.accept()
                    except OSError:
                        return
                    threading.Thread(target=one, args=(client,), daemon=True).start()

            def one(client: socket.socket) -> None:
                with client:
                    talk(client)

            thread = threading.Thread(target=accept)
            thread.start()
            stack.callback(thread.join)
            stack.callback(listening.shutdown, socket.SHUT_RDWR)
            return int(listening.getsockname()[1])

        yield serve


def connect(forwarding: Daemon) -> socket.socket:
    return socket.create_connection(("127.0.0.1", int(forwarding.facts["port"])), timeout=30)


def whole(connection: socket.socket) -> bytes:
    return b"".join(iter(lambda: connection.recv(65536), b""))


def in_the_node(port: int) -> list[str]:
    """The program that `docker exec` starts in a node, with a server of the test as the API server."""
    return ["perl", "-e", tunnel._CARRY.replace(str(tunnel.NODE_PORT), str(port))]


def echo(client: socket.socket) -> None:
    while data := client.recv(65536):
        client.sendall(data)


def children(pid: int) -> list[int]:
    return [child.pid for child in psutil.Process(pid).children() if daemon._start_time(child.pid)]


def until(truth: Callable[[], object]) -> bool:
    deadline = time.monotonic() + 20
    while not truth() and time.monotonic() < deadline:
        time.sleep(0.02)
    return bool(truth())


@pytest.mark.parametrize("program", ["cat", "node"])
def test_ten_megabytes_go_both_ways(start: Start, server: Callable[[Talk], int], program: str) -> None:
    forwarding = start(*(["cat"] if program == "cat" else in_the_node(server(echo))))
    sent = os.urandom(10_000_000)
    with connect(forwarding) as connection:

        def send() -> None:
            connection.sendall(sent)
            connection.shutdown(socket.SHUT_WR)

        sender = threading.Thread(target=send)
        sender.start()
        assert whole(connection) == sent
        sender.join()


def test_the_end_of_the_clients_words_arrives_and_the_answer_comes_back(
    start: Start, server: Callable[[Talk], int]
) -> None:
    def count(client: socket.socket) -> None:
        client.sendall(f"{len(whole(client))} bytes".encode())

    with connect(start(*in_the_node(server(count)))) as connection:
        connection.sendall(b"x" * 100_000)
        connection.shutdown(socket.SHUT_WR)
        assert whole(connection) == b"100000 bytes"


def test_the_servers_end_is_the_connections_end_though_the_client_says_nothing(
    start: Start, server: Callable[[Talk], int]
) -> None:
    forwarding = start(*in_the_node(server(lambda client: client.sendall(b"goodbye"))))
    with connect(forwarding) as connection:
        assert whole(connection) == b"goodbye"
        assert until(lambda: children(forwarding.pid) == [])


def test_a_client_that_is_killed_leaves_nothing_behind(start: Start, server: Callable[[Talk], int]) -> None:
    ended = threading.Event()

    def watch(client: socket.socket) -> None:
        client.sendall(b"an event")
        whole(client)
        ended.set()

    forwarding = start(*in_the_node(server(watch)))
    with connect(forwarding) as connection:
        assert connection.recv(100) == b"an event"
    assert ended.wait(20)
    assert until(lambda: children(forwarding.pid) == [])


def test_small_words_do_not_wait_for_each_other(start: Start, server: Callable[[Talk], int]) -> None:
    with connect(start(*in_the_node(server(echo)))) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for word in (b"one", b"two", b"three"):
            connection.sendall(word)
            assert connection.recv(100) == word


def test_many_connections_at_once_do_not_mix(start: Start) -> None:
    forwarding = start("cat")

    def one(number: int) -> bool:
        sent = f"{number} ".encode() * 10_000
        with connect(forwarding) as connection:
            connection.sendall(sent)
            connection.shutdown(socket.SHUT_WR)
            return whole(connection) == sent

    with ThreadPoolExecutor(50) as pool:
        assert all(pool.map(one, range(150)))
    assert until(lambda: children(forwarding.pid) == [])


def test_no_more_than_a_bound_are_open_and_the_next_one_waits(start: Start) -> None:
    forwarding = start("cat")
    with ExitStack() as stack:
        held = [stack.enter_context(connect(forwarding)) for _ in range(forwarder.MOST)]
        assert until(lambda: len(children(forwarding.pid)) == forwarder.MOST)
        late = stack.enter_context(connect(forwarding))
        late.sendall(b"late")
        late.settimeout(0.5)
        with pytest.raises(TimeoutError):
            late.recv(4)
        assert len(children(forwarding.pid)) == forwarder.MOST
        held[0].close()
        late.settimeout(20)
        assert late.recv(4) == b"late"


def test_a_program_that_dies_ends_its_connection_and_no_other(start: Start) -> None:
    forwarding = start("cat")
    with connect(forwarding) as one:
        one.sendall(b"1")
        assert one.recv(1) == b"1"
        (first,) = children(forwarding.pid)
        with connect(forwarding) as other:
            other.sendall(b"2")
            assert other.recv(1) == b"2"
            os.kill(first, signal.SIGKILL)
            assert whole(one) == b""
            other.sendall(b"3")
            assert other.recv(1) == b"3"


def test_it_serves_again_when_what_it_leads_to_is_back(start: Start) -> None:
    port = free_port()
    forwarding = start(*in_the_node(port))
    for _ in range(2):
        with connect(forwarding) as connection:
            assert whole(connection) == b""
    with socket.create_server(("127.0.0.1", port)) as back, connect(forwarding):
        back.settimeout(20)
        client, _ = back.accept()
        client.close()
    # Twice the same is said once: a client that tries again and again must not fill the disk.
    assert daemon.tail("forwarder") == f"connect to 127.0.0.1:{port}: Connection refused"


def test_a_program_that_cannot_be_started_is_said_and_costs_one_connection(start: Start) -> None:
    forwarding = start("/no/such/program")
    with connect(forwarding) as connection:
        assert whole(connection) == b""
    assert daemon.find("forwarder") == forwarding
    assert daemon.tail("forwarder") == "/no/such/program: No such file or directory"


@pytest.mark.parametrize("sign", [signal.SIGTERM, signal.SIGKILL])
def test_told_to_end_or_killed_it_leaves_no_program(start: Start, sign: signal.Signals) -> None:
    if sign == signal.SIGKILL and sys.platform != "linux":
        return  # nothing tells a program elsewhere; it ends with its client
    forwarding = start("sleep", "60")
    with connect(forwarding), connect(forwarding):
        assert until(lambda: len(children(forwarding.pid)) == 2)
        started = children(forwarding.pid)
        os.kill(forwarding.pid, sign)  # to it alone, not to its group
        assert until(lambda: daemon.find("forwarder") is None)
        assert until(lambda: [pid for pid in started if daemon._start_time(pid)] == [])


def test_it_listens_on_loopback_only(start: Start) -> None:
    port = int(start("cat").facts["port"])
    lines = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    listeners = [fields[1] for fields in lines if fields[3] == "0A" and int(fields[1].split(":")[1], 16) == port]
    assert listeners == [f"0100007F:{port:04X}"]


def test_a_port_that_is_taken_ends_it_with_the_systems_words(start: Start) -> None:
    first = start("cat")
    with pytest.raises(CommandFailed) as caught:
        daemon.start(
            "second", [sys.executable, "-I", FORWARDER, first.facts["port"], "cat"], ready=lambda: False, timeout=20
        )
    assert "Address already in use" in caught.value.evidence


# The tunnel with a stand-in for the docker client: it starts, in place of `docker exec -i NODE`, what stands behind.


@pytest.fixture
def docker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], None]]:
    """Put a program `docker` on PATH that runs `script`."""
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")

    def write(script: str) -> None:
        path = tmp_path / "docker"
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)

    yield write
    tunnel.close("kind")


def test_a_tunnel_that_works_is_kept_and_one_that_died_is_made_anew(docker: Callable[[str], None]) -> None:
    docker("exec cat")
    port = free_port()
    made = tunnel.ensure("kind", PLAN, port)
    assert (made.cluster, made.port, made.how) == ("kind", port, "exec")
    assert tunnel.ensure("kind", PLAN, port) == made == tunnel.find("kind")
    os.kill(made.pid, signal.SIGKILL)
    assert until(lambda: tunnel.find("kind") is None)
    again = tunnel.ensure("kind", PLAN, port)
    assert again.port == port
    assert again.pid != made.pid
    assert tunnel.close("kind") is True
    assert is_free(port)
    assert tunnel.close("kind") is False


def test_a_tunnel_that_leads_elsewhere_or_carries_nothing_any_more_is_replaced(docker: Callable[[str], None]) -> None:
    docker("exec cat")
    port = free_port()
    made = tunnel.ensure("kind", PLAN, port)
    elsewhere = tunnel.ensure("kind", TunnelSpec("exec", "tcp://other:2375", PLAN.target), port)
    assert elsewhere.pid != made.pid
    assert daemon._start_time(made.pid) == ""


def test_a_taken_port_is_replaced_by_a_free_one(docker: Callable[[str], None]) -> None:
    docker("exec cat")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = int(taken.getsockname()[1])
        made = tunnel.ensure("kind", PLAN, port)
        assert made.port != port
        assert tunnel.carries(made.port, 10)
        assert tunnel.ensure("kind", PLAN, port) == made


def test_two_at_once_get_the_same_tunnel(docker: Callable[[str], None]) -> None:
    docker("exec cat")
    port = free_port()
    with ThreadPoolExecutor(4) as pool:
        made = list(pool.map(lambda _: tunnel.ensure("kind", PLAN, port), range(4)))
    assert len(set(made)) == 1


@pytest.mark.parametrize(
    ("says", "error", "message"),
    [
        ("Error response from daemon: container 1f2e is not running", ClusterError, "the node kind-control-plane does"),
        (
            "Error response from daemon: No such container: kind-control-plane",
            ClusterError,
            "kind-control-plane is gone",
        ),
        ("connect to 127.0.0.1:6443: Connection refused", ClusterError, "the API server does not listen in the node"),
        ('exec failed: "perl": executable file not found in $PATH', RouteError, "nothing gets through the tunnel"),
    ],
)
def test_a_tunnel_that_carries_nothing_says_why(
    docker: Callable[[str], None], monkeypatch: pytest.MonkeyPatch, says: str, error: type[Exception], message: str
) -> None:
    monkeypatch.setattr(tunnel, "_PATIENCE", 0.5)
    docker(f"echo '{says}' >&2; exit 1")
    with pytest.raises(error, match=message) as caught:
        tunnel.ensure("kind", PLAN, free_port())
    assert says in str(caught.value.__notes__)
    assert tunnel.find("kind") is None


def test_without_ssh_the_engine_behind_ssh_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ToolError, match="the program ssh is not on PATH; the engine ssh://me@far is reached with it"):
        tunnel.ensure("kind", TunnelSpec("ssh", "ssh://me@far", "127.0.0.1:6443"), 6443)
