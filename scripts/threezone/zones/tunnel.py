"""A way to the API server that leads through the engine, where the port that kind published cannot be reached.

kind publishes the API on 127.0.0.1 of the engine's machine. For an engine behind ssh:// OpenSSH's own forwarding
carries a loopback port of ours to it; for any other engine every connection goes through a `docker exec` in the
control plane's container. TLS goes from the client to the API server all the same: a tunnel sees no secret and
changes no certificate, `localhost` is in kind's.
"""

from __future__ import annotations

import os
import re
import socket
import sys
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from threezone.clients import kind
from threezone.clients.docker import engine as docker
from threezone.clients.docker.containers import exec_command
from threezone.clients.kind import BALANCER, Node
from threezone.core import daemon, process
from threezone.core.errors import ClusterError, CommandFailed, RouteError, ThreezoneError, ToolError
from threezone.core.loopback import free_port, is_free
from threezone.engine.find import Engine

How = Literal["ssh", "exec"]

NODE_PORT = 6443  # of the API server in the node, whatever port is published
SECONDS = 30.0  # for a tunnel to carry its first byte: ssh's handshakes, or a start of docker exec
_ANSWER = 10.0  # seconds for one answer through a new tunnel
_STILL = 3.0  # the same for one that is there: a network that went away says nothing
_PATIENCE = 5.0  # seconds for the far end to answer after the near end listens: an API server may be just starting
_AGAIN = 0.2
_ATTEMPTS = 3

# Runs in the node: carry stdin and stdout to the API server. Perl is in every Debian and Ubuntu (perl-base is
# essential), and unlike bash's /dev/tcp it can close one direction (shutdown(2)): without that the server would not
# learn that a client has gone, and the connection would stay.
_CARRY = f"""
use strict; use Socket;
socket(my $server, PF_INET, SOCK_STREAM, 0) or die "socket: $!\\n";
connect($server, pack_sockaddr_in({NODE_PORT}, INADDR_LOOPBACK)) or die "connect to 127.0.0.1:{NODE_PORT}: $!\\n";
setsockopt($server, Socket::IPPROTO_TCP, Socket::TCP_NODELAY, 1);
$SIG{{PIPE}} = "IGNORE";
sub carry {{
  my ($from, $to) = @_;
  while (sysread($from, my $data, 65536)) {{
    while (length $data) {{ my $sent = syswrite($to, $data); defined $sent or return; substr($data, 0, $sent) = ""; }}
  }}
}}
defined(my $sender = fork) or die "fork: $!\\n";
if (!$sender) {{ carry(*STDIN, $server); shutdown($server, 1); exit; }}
carry($server, *STDOUT);
kill "TERM", $sender;
waitpid $sender, 0;
"""


@dataclass(frozen=True)
class Tunnel:
    """A tunnel that runs: `https://127.0.0.1:port` leads to the API server of `cluster`."""

    cluster: str
    port: int
    how: How
    pid: int


@dataclass(frozen=True)
class Wanted:
    """What a tunnel has to do; one that does the same for the same engine need not be made again."""

    how: How
    engine: str
    target: str  # ssh: the address that kind published, seen from the engine's machine; exec: the node's container

    def facts(self, port: int) -> dict[str, str]:
        """What the daemon's record keeps."""
        return {"how": self.how, "engine": self.engine, "target": self.target, "port": str(port)}


def open_tunnel(cluster: str, engine: Engine, *, port: int) -> Tunnel:
    """A tunnel to the API server of the kind cluster `cluster`, made if there is none that works.

    It listens on 127.0.0.1:`port`, or on a free port when that one is taken, and goes on after we have ended; `close`
    ends it. It has carried a byte both ways when this returns; the certificate is for the caller to verify.
    Raises ClusterError when the cluster or its control plane does not run, EngineError, ToolError without ssh, and
    RouteError, with ssh's own words, when ssh does not let us through.
    """
    return ensure(cluster, plan(cluster, engine), port)


def ensure(cluster: str, wanted: Wanted, port: int) -> Tunnel:
    """The tunnel that `wanted` describes: the one that runs, if it is that one and works, else a new one."""
    existing = daemon.find(_name(cluster))
    if existing is not None:
        if existing.facts == wanted.facts(int(existing.facts["port"])) and carries(int(existing.facts["port"]), _STILL):
            return _tunnel(cluster, existing)
        daemon.stop(_name(cluster), pid=existing.pid)
    program = process.find("ssh") if wanted.how == "ssh" else docker.program()
    if program is None:
        raise ToolError(
            f"the program ssh is not on PATH; the engine {wanted.engine} is reached with it",
            fix="apt-get install openssh-client",
        )
    for attempt in range(_ATTEMPTS):
        chosen = port if attempt == 0 and is_free(port) else free_port()
        try:
            made = daemon.start(
                _name(cluster),
                [program, *ssh_arguments(wanted, chosen)]
                if wanted.how == "ssh"
                else exec_argv(program, wanted, chosen),
                env=_docker_environment() if wanted.how == "exec" else None,
                facts=wanted.facts(chosen),
                ready=_Ready(chosen),
                timeout=SECONDS,
            )
        except (CommandFailed, ToolError) as error:
            if attempt + 1 < _ATTEMPTS and re.search("address already in use", error.evidence, re.IGNORECASE):
                continue  # somebody took the port between our look and its use
            raise explain(error.evidence or error.message, cluster, wanted) from None
        except _SilentError:
            raise explain(daemon.tail(_name(cluster)), cluster, wanted) from None
        return _tunnel(cluster, made)
    raise AssertionError  # the last attempt returns or raises


def find(cluster: str) -> Tunnel | None:
    """The tunnel of the cluster, if one runs. Reads files only."""
    found = daemon.find(_name(cluster))
    return _tunnel(cluster, found) if found else None


def close(cluster: str) -> bool:
    """End the cluster's tunnel; False when there was none."""
    return daemon.stop(_name(cluster))


def plan(cluster: str, engine: Engine) -> Wanted:
    """Where a tunnel has to lead. Asks the engine. Raises ClusterError when there is nothing to lead to."""
    node = far_end(cluster, engine.endpoint, kind.nodes(cluster))
    if engine.endpoint.startswith("ssh://"):
        return Wanted("ssh", engine.endpoint, _published(node))
    return Wanted("exec", engine.endpoint, node.name)


def far_end(cluster: str, endpoint: str, nodes: Iterable[Node]) -> Node:
    """The node where the tunnel ends. Raises ClusterError when none of them runs.

    With several control planes it is the balancer that publishes the API; for `docker exec` any of them is as good.
    """
    nodes = sorted(nodes, key=lambda node: node.name)
    published = endpoint.startswith("ssh://") and any(node.role == BALANCER for node in nodes)
    role = BALANCER if published else "control-plane"
    fitting = [node for node in nodes if node.role == role]
    running = [node for node in fitting if node.state == "running"]
    if not fitting:
        raise ClusterError(
            f"the engine {endpoint} has no cluster {cluster}", fix=f"./run invoke cluster.create --name {cluster}"
        )
    if not running:
        raise ClusterError(
            f"the {role} of the cluster {cluster} does not run",
            evidence="\n".join(f"{node.name}: {node.state}" for node in fitting),
            fix=f"docker start {' '.join(node.name for node in fitting)}",
        )
    return running[0]


def ssh_arguments(wanted: Wanted, port: int) -> list[str]:
    """OpenSSH's arguments: forward our loopback port, run nothing, ask nothing, end when the forwarding cannot be.

    Host keys are checked as the user's own configuration says. The user's multiplexing is kept out: there the master
    connection would hold the port, and ending our ssh would not free it.
    """
    parts = urlsplit(wanted.engine)
    options = {
        "BatchMode": "yes",
        "ExitOnForwardFailure": "yes",
        "ControlMaster": "no",
        "ControlPath": "none",
        "ForwardAgent": "no",
        "ForwardX11": "no",
        "PermitLocalCommand": "no",
        "LogLevel": "INFO",  # the words that explain a refused channel
        "ConnectTimeout": "10",
        "ServerAliveInterval": "15",  # after three without an answer ssh ends, and the next connect makes a new tunnel
    }
    return [
        "-N",
        "-T",
        *(f"-o{name}={value}" for name, value in options.items()),
        "-L",
        f"127.0.0.1:{port}:{wanted.target}",
        *(["-l", parts.username] if parts.username else []),
        *(["-p", str(parts.port)] if parts.port else []),
        "--",
        _host(wanted.engine),
    ]


def exec_argv(program: Path, wanted: Wanted, port: int) -> list[str | Path]:
    """The forwarder with `docker exec` as its program."""
    forwarder = Path(__file__).with_name("forwarder.py")
    command = exec_command(wanted.target, "perl", "-e", _CARRY, interactive=True, program=program)
    return [sys.executable, "-I", forwarder, str(port), *command]


def explain(words: str, cluster: str, wanted: Wanted) -> ThreezoneError:
    """The error for a tunnel that ended, or carried nothing, with these `words`."""
    words = "\n".join(dict.fromkeys(words.splitlines()))  # ssh says the same for every attempt
    lowered = words.lower()
    parts = urlsplit(wanted.engine)
    machine = _host(wanted.engine)
    by_hand = " ".join(
        ["ssh", *(["-p", str(parts.port)] if parts.port else []),
         f"{parts.username}@{machine}" if parts.username else machine]
    )  # fmt: skip
    for needles, message, fix in (
        (("identification has changed",), f"the host key of {machine} is another one than before",
         f"if the machine was made anew: ssh-keygen -R {_known_as(machine, parts.port)}, then {by_hand} true"),
        (("host key verification failed", "host key is known"), f"the host key of {machine} is not known here",
         f"{by_hand} true, and compare the fingerprint before you accept it"),
        (("permission denied",), f"{machine} does not accept our ssh key",
         f"ssh-add -l shows the agent's keys; {by_hand.replace('ssh', 'ssh-copy-id', 1)} installs one"),
        (("administratively prohibited",), f"the ssh server on {machine} refuses to forward connections",
         f"AllowTcpForwarding local in /etc/ssh/sshd_config of {machine}, then restart its sshd"),
        (("could not resolve hostname",), f"the name {machine} cannot be resolved here", "check DOCKER_HOST"),
        (("open failed: connect failed",), f"nothing answers on {wanted.target} of {machine}",
         f"./run invoke cluster.status --name {cluster}"),
        (("ssh: connect to host",), f"{machine} does not answer ssh", f"{by_hand} true"),
    ):  # fmt: skip
        if wanted.how == "ssh" and any(needle in lowered for needle in needles):
            return RouteError(message, evidence=words, fix=fix)
    if wanted.how == "exec" and "no such container" in lowered:
        return ClusterError(
            f"there is no node {wanted.target} any more",
            evidence=words,
            fix=f"./run invoke cluster.status --name {cluster}",
        )
    if wanted.how == "exec" and re.search("is not running|is paused|is restarting", lowered):
        return ClusterError(
            f"the node {wanted.target} does not run", evidence=words, fix=f"docker start {wanted.target}"
        )
    if wanted.how == "exec" and f"connect to 127.0.0.1:{NODE_PORT}" in lowered:
        return ClusterError(
            f"the API server does not listen in the node {wanted.target}",
            evidence=words,
            fix=f"./run invoke cluster.logs --name {cluster}",
        )
    if wanted.how == "exec" and "docker daemon" in lowered:
        return docker.explain(words)
    return RouteError(
        f"the tunnel to the cluster {cluster} does not carry anything",
        evidence=words,
        fix=f"{by_hand} true" if wanted.how == "ssh" else f"./run invoke cluster.status --name {cluster}",
    )


def carries(port: int, timeout: float) -> bool:
    """Whether something at the far end of 127.0.0.1:`port` answers within `timeout` seconds; False when it does not.

    A line of plain HTTP is what a TLS server answers at once, and without a word of trust ("Client sent an HTTP request
    to an HTTPS server"); the answer is not read. Only this shows that the far end is there: ssh accepts on our side
    before it asks.
    """
    with suppress(OSError):
        return _answers(port, timeout)
    return False


def _answers(port: int, timeout: float) -> bool:
    """`carries`; raises OSError instead where the near end does not listen, or the connection breaks."""
    with socket.create_connection(("127.0.0.1", port), timeout=timeout) as connection:
        connection.sendall(b"GET / HTTP/1.0\r\n\r\n")
        return connection.recv(1) != b""


class _SilentError(Exception):
    """The near end listens, the far end says nothing."""


class _Ready:
    """Asked again and again whether a new tunnel on `port` carries; gives up when only its near end is there."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._silent_since = 0.0

    def __call__(self) -> bool:
        try:
            if _answers(self._port, _ANSWER):
                return True
        except ConnectionRefusedError:  # not yet
            return False
        except OSError:  # reset, or no answer: as an end without a word
            pass
        self._silent_since = self._silent_since or time.monotonic()
        if time.monotonic() - self._silent_since > _PATIENCE:
            raise _SilentError
        time.sleep(_AGAIN)
        return False


def _name(cluster: str) -> str:
    return f"tunnel-{cluster}"


def _tunnel(cluster: str, found: daemon.Daemon) -> Tunnel:
    how: How = "ssh" if found.facts["how"] == "ssh" else "exec"
    return Tunnel(cluster, int(found.facts["port"]), how, found.pid)


def _published(node: Node) -> str:
    """The address on the engine's machine where the node's API port is published."""
    if not node.published:
        raise ClusterError(f"{node.name} publishes no port for the API server", fix="docker ps")
    address, _, port = node.published.rpartition(":")
    # What listens everywhere listens on loopback too.
    seen_from_there = {"0.0.0.0": "127.0.0.1", "[::]": "[::1]", "::": "[::1]"}.get(address, address)  # noqa: S104 - not bound here
    return f"{seen_from_there}:{port}"


def _host(engine: str) -> str:
    """The host of the engine's address as it is written there: the user's ssh configuration may name it so."""
    found = re.fullmatch(r"(?:.*@)?(?:\[([^]]*)\]|([^:]*))(?::\d*)?", urlsplit(engine).netloc)
    return (found[1] or found[2]) if found else engine


def _known_as(machine: str, port: int | None) -> str:
    return f"'[{machine}]:{port}'" if port else machine


def _docker_environment() -> dict[str, str]:
    """What tells docker its engine. Not DOCKER_AUTH_CONFIG and its like: those are secrets that exec does not need."""
    names = ("HOST", "CONTEXT", "CONFIG", "TLS", "TLS_VERIFY", "CERT_PATH", "API_VERSION")
    return {f"DOCKER_{name}": os.environ[f"DOCKER_{name}"] for name in names if f"DOCKER_{name}" in os.environ}
