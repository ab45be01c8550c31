"""A tunnel through the engine to the API server, for places that cannot reach the port published by kind.

kind publishes the API on 127.0.0.1 of the engine's machine. For an engine behind ssh://, OpenSSH forwards a loopback
port of ours to it; for any other engine, every connection is a `docker exec` in the control plane's container. TLS
still goes from the client to the API server: a tunnel sees no secret, and `localhost` is in kind's certificate.
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
SECONDS = 30.0  # until a tunnel carries its first byte: ssh's handshakes, or a start of docker exec
_ANSWER = 10.0  # seconds for one answer through a new tunnel
_ANSWER_OLD = 3.0  # the same for a running one
_PATIENCE = 5.0  # seconds from listening here to an answer of the API server, which may be just starting
_INTERVAL = 0.2  # seconds
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
class TunnelSpec:
    """The ends of a tunnel. A tunnel with the same spec is used again."""

    how: How
    engine: str
    target: str  # ssh: the address that kind published, seen from the engine's machine; exec: the node's container

    def facts(self, port: int) -> dict[str, str]:
        """The spec in the daemon's record."""
        return {"how": self.how, "engine": self.engine, "target": self.target, "port": str(port)}


def open_tunnel(cluster: str, engine: Engine, *, port: int) -> Tunnel:
    """Return a tunnel to the API server of the kind cluster `cluster`; start one if none works.

    It listens on 127.0.0.1:`port`, or on a free port if that is taken, and outlives this process; `close` ends it. It
    has already carried a byte in both directions. The caller verifies the certificate.
    Raises ClusterError if the cluster or its control plane does not run, EngineError, ToolError without ssh, and
    RouteError, with ssh's message, if ssh refuses.
    """
    return ensure(cluster, plan(cluster, engine), port)


def ensure(cluster: str, spec: TunnelSpec, port: int) -> Tunnel:
    """Return the running tunnel if it has this spec and works, else a new one."""
    existing = daemon.find(_name(cluster))
    if existing is not None:
        if existing.facts == spec.facts(int(existing.facts["port"])) and carries(
            int(existing.facts["port"]), _ANSWER_OLD
        ):
            return _tunnel(cluster, existing)
        daemon.stop(_name(cluster), pid=existing.pid)
    is_ssh = spec.how == "ssh"
    program = process.find("ssh") if is_ssh else docker.program()
    if program is None:
        raise ToolError(
            f"the program ssh is not on PATH; the engine {spec.engine} is reached with it",
            fix="apt-get install openssh-client",
        )
    for attempt in range(_ATTEMPTS):
        chosen = port if attempt == 0 and is_free(port) else free_port()
        try:
            started = daemon.start(
                _name(cluster),
                [program, *ssh_arguments(spec, chosen)] if is_ssh else exec_argv(program, spec, chosen),
                env=None if is_ssh else _docker_environment(),
                facts=spec.facts(chosen),
                ready=_Ready(chosen),
                timeout=SECONDS,
            )
        except (CommandFailed, ToolError) as error:
            if attempt + 1 < _ATTEMPTS and re.search("address already in use", error.evidence, re.IGNORECASE):
                continue  # another program has taken the port
            raise explain(error.evidence or error.message, cluster, spec) from None
        except _SilentError:
            raise explain(daemon.tail(_name(cluster)), cluster, spec) from None
        return _tunnel(cluster, started)
    raise AssertionError  # the last attempt returns or raises


def find(cluster: str) -> Tunnel | None:
    """Return the cluster's running tunnel, or None. Reads files only."""
    running = daemon.find(_name(cluster))
    return _tunnel(cluster, running) if running else None


def close(cluster: str) -> bool:
    """End the cluster's tunnel. Returns False without one."""
    return daemon.stop(_name(cluster))


def plan(cluster: str, engine: Engine) -> TunnelSpec:
    """Return the spec of a tunnel to this cluster. Asks the engine. Raises ClusterError when no node runs."""
    node = far_end(cluster, engine.endpoint, kind.nodes(cluster))
    if engine.endpoint.startswith("ssh://"):
        return TunnelSpec("ssh", engine.endpoint, _published(node))
    return TunnelSpec("exec", engine.endpoint, node.name)


def far_end(cluster: str, endpoint: str, nodes: Iterable[Node]) -> Node:
    """Return the node where the tunnel ends. Raises ClusterError when none of them runs.

    With several control planes the balancer publishes the API; `docker exec` can use any of them.
    """
    nodes = sorted(nodes, key=lambda node: node.name)
    published = endpoint.startswith("ssh://") and any(node.role == BALANCER for node in nodes)
    role = BALANCER if published else "control-plane"
    matching = [node for node in nodes if node.role == role]
    running = [node for node in matching if node.state == "running"]
    if not matching:
        raise ClusterError(
            f"the engine {endpoint} has no cluster {cluster}", fix=f"./run invoke cluster.create --name {cluster}"
        )
    if not running:
        raise ClusterError(
            f"the {role} of the cluster {cluster} does not run",
            evidence="\n".join(f"{node.name}: {node.state}" for node in matching),
            fix=f"docker start {' '.join(node.name for node in matching)}",
        )
    return running[0]


def ssh_arguments(spec: TunnelSpec, port: int) -> list[str]:
    """Return OpenSSH's arguments: forward our loopback port, run nothing, ask nothing, exit when forwarding fails.

    Host keys are checked as the user's configuration says. Multiplexing is off: the master connection would keep the
    port after our ssh has ended.
    """
    parts = urlsplit(spec.engine)
    options = {
        "BatchMode": "yes",
        "ExitOnForwardFailure": "yes",
        "ControlMaster": "no",
        "ControlPath": "none",
        "ForwardAgent": "no",
        "ForwardX11": "no",
        "PermitLocalCommand": "no",
        "LogLevel": "INFO",  # explains a refused channel
        "ConnectTimeout": "10",
        "ServerAliveInterval": "15",  # after three without an answer ssh ends, and the next connect makes a new tunnel
    }
    return [
        "-N",
        "-T",
        *(f"-o{name}={value}" for name, value in options.items()),
        "-L",
        f"127.0.0.1:{port}:{spec.target}",
        *(["-l", parts.username] if parts.username else []),
        *(["-p", str(parts.port)] if parts.port else []),
        "--",
        _host(spec.engine),
    ]


def exec_argv(program: Path, spec: TunnelSpec, port: int) -> list[str | Path]:
    """Return the command of the forwarder with `docker exec` as its program."""
    forwarder = Path(__file__).with_name("forwarder.py")
    command = exec_command(spec.target, "perl", "-e", _CARRY, interactive=True, program=program)
    return [sys.executable, "-I", forwarder, str(port), *command]


# Messages of ssh (OpenSSH 9.2) or docker for a failed tunnel, with the error and fix for the user.
_FAILURES: tuple[tuple[How, str, type[ThreezoneError], str, str], ...] = (
    ("ssh", "identification has changed", RouteError, "the host key of {machine} has changed",
     "if the machine was installed again: ssh-keygen -R {known_as}, then {ssh} true"),
    ("ssh", "host key verification failed|host key is known", RouteError, "the host key of {machine} is not known here",
     "{ssh} true, and compare the fingerprint before you accept it"),
    ("ssh", "permission denied", RouteError, "{machine} does not accept our ssh key",
     "ssh-add -l shows the agent's keys; {ssh_copy_id} installs one"),
    ("ssh", "administratively prohibited", RouteError, "the ssh server on {machine} refuses to forward connections",
     "AllowTcpForwarding local in /etc/ssh/sshd_config of {machine}, then restart its sshd"),
    ("ssh", "could not resolve hostname", RouteError, "the name {machine} cannot be resolved here",
     "check DOCKER_HOST"),
    ("ssh", "open failed: connect failed", RouteError, "nothing answers on {target} of {machine}", "{status}"),
    ("ssh", "ssh: connect to host", RouteError, "{machine} does not answer ssh", "{ssh} true"),
    ("ssh", "", RouteError, "nothing gets through the tunnel to the cluster {cluster}", "{ssh} true"),
    ("exec", "no such container", ClusterError, "the node {target} is gone", "{status}"),
    ("exec", "is not running|is paused|is restarting", ClusterError, "the node {target} does not run",
     "docker start {target}"),
    ("exec", f"connect to 127.0.0.1:{NODE_PORT}", ClusterError, "the API server does not listen in the node {target}",
     "./run invoke cluster.logs --name {cluster}"),
    ("exec", "", RouteError, "nothing gets through the tunnel to the cluster {cluster}", "{status}"),
)  # fmt: skip


def explain(words: str, cluster: str, spec: TunnelSpec) -> ThreezoneError:
    """Return the error for a failed tunnel from the message (`words`) of ssh or docker."""
    words = "\n".join(dict.fromkeys(words.splitlines()))  # ssh repeats itself for every attempt
    if spec.how == "exec" and "docker daemon" in words.lower():
        return docker.explain(words)
    parts = urlsplit(spec.engine)
    machine = _host(spec.engine)
    port = f"-p {parts.port} " if parts.port else ""
    login = f"{port}{parts.username}@{machine}" if parts.username else f"{port}{machine}"
    facts = {
        "cluster": cluster,
        "target": spec.target,
        "machine": machine,
        "known_as": f"'[{machine}]:{parts.port}'" if parts.port else machine,
        "ssh": f"ssh {login}",
        "ssh_copy_id": f"ssh-copy-id {login}",
        "status": f"./run invoke cluster.status --name {cluster}",
    }
    for how, pattern, error, message, fix in _FAILURES:
        if how == spec.how and re.search(pattern, words.lower()):
            return error(message.format_map(facts), evidence=words, fix=fix.format_map(facts))
    raise AssertionError  # the last pattern of each kind matches everything


def carries(port: int, timeout: float) -> bool:
    """Whether the other end of 127.0.0.1:`port` answers within `timeout` seconds.

    A TLS server answers plain HTTP at once ("Client sent an HTTP request to an HTTPS server"). An accepted connection
    proves nothing: ssh accepts here before it connects there.
    """
    with suppress(OSError):
        return _answers(port, timeout)
    return False


def _answers(port: int, timeout: float) -> bool:
    """`carries`, but raises OSError if nothing listens here, or the connection breaks."""
    with socket.create_connection(("127.0.0.1", port), timeout=timeout) as connection:
        connection.sendall(b"GET / HTTP/1.0\r\n\r\n")
        return connection.recv(1) != b""


class _SilentError(Exception):
    """The tunnel listens here, but the other end does not answer."""


class _Ready:
    """Whether a new tunnel on `port` works, as a function. Raises _SilentError if the other end does not answer."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._silent_since = 0.0

    def __call__(self) -> bool:
        try:
            if _answers(self._port, _ANSWER):
                return True
        except ConnectionRefusedError:  # not yet
            return False
        except OSError:  # reset, or no answer
            pass
        self._silent_since = self._silent_since or time.monotonic()
        if time.monotonic() - self._silent_since > _PATIENCE:
            raise _SilentError
        time.sleep(_INTERVAL)
        return False


def _name(cluster: str) -> str:
    return f"tunnel-{cluster}"


def _tunnel(cluster: str, running: daemon.Daemon) -> Tunnel:
    how: How = "ssh" if running.facts["how"] == "ssh" else "exec"
    return Tunnel(cluster, int(running.facts["port"]), how, running.pid)


def _published(node: Node) -> str:
    """Return the address on the engine's machine where the node's API port is published."""
    if not node.published:
        raise ClusterError(f"{node.name} publishes no port for the API server", fix="docker ps")
    address, _, port = node.published.rpartition(":")
    loopback = {"0.0.0.0": "127.0.0.1", "[::]": "[::1]", "::": "[::1]"}  # noqa: S104 - not bound here
    return f"{loopback.get(address, address)}:{port}"


def _host(engine: str) -> str:
    """Return the host as spelled in the engine's address: the user's ssh configuration may use that name."""
    match = re.fullmatch(r"(?:.*@)?(?:\[([^]]*)\]|([^:]*))(?::\d*)?", urlsplit(engine).netloc)
    return (match[1] or match[2]) if match else engine


def _docker_environment() -> dict[str, str]:
    """Return the variables that name docker's engine. Not DOCKER_AUTH_CONFIG: a secret that exec does not need."""
    names = ("HOST", "CONTEXT", "CONFIG", "TLS", "TLS_VERIFY", "CERT_PATH", "API_VERSION")
    return {f"DOCKER_{name}": os.environ[f"DOCKER_{name}"] for name in names if f"DOCKER_{name}" in os.environ}
