"""kubectl: apply and render manifests, run a program in a pod, and forward ports of the cluster."""

from __future__ import annotations

import queue
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from threezone.core import daemon, process
from threezone.core.daemon import Daemon
from threezone.core.errors import DeliveryError, UsageError
from threezone.core.loopback import answers, free_port, is_free
from threezone.core.process import Completed

Command = list[str | Path]
PLAIN = {"KUBERC": "off"}  # without the user's defaults and aliases (kuberc), which are for people
KUBECTL = "kubectl"  # on the PATH of a node
# On a control plane, with the administrator's kubeconfig. Without a cache: its home directory may be mounted from the
# host.
ON_NODE = (KUBECTL, "--kubeconfig=/etc/kubernetes/admin.conf", "--cache-dir=/dev/null")
FOREVER = 365 * 86400.0  # seconds
READY_SECONDS = 30.0  # until the first answer through a forward or a proxy


def render(kubectl: Path, directory: Path) -> str:
    """The manifests of a kustomization. Raises CommandFailed."""
    return process.run([kubectl, "kustomize", directory], timeout=60, env=PLAIN).stdout


def apply(kubectl: Path, context: str, directory: Path) -> Completed:
    """Apply a kustomization with force. Raises CommandFailed."""
    options = ("--server-side", "--force-conflicts", "--kustomize", directory)
    return process.run([kubectl, "--context", context, "apply", *options], timeout=60, env=PLAIN)


def check(kubectl: Path, context: str, manifests: str, manager: str) -> Completed:
    """Apply manifests in a dry run on the API server."""
    options = ("--server-side", "--force-conflicts", "--dry-run=server", f"--field-manager={manager}", "--filename=-")
    command: Command = [kubectl, "--context", context, "apply", *options]
    return process.run(command, timeout=120, stdin=manifests, env=PLAIN, check=False)


def execute(kubectl: Path, context: str, namespace: str, target: str, argv: Sequence[str]) -> Completed:
    """Run a program in a pod of `target`, such as `deployment/git`."""
    command: Command = [kubectl, "--context", context, "--namespace", namespace, "exec", target, "--", *argv]
    return process.run(command, timeout=30, env=PLAIN, check=False)


def proxy_command(kubectl: Path, context: str, port: int, *options: str) -> Command:
    """The command that serves the API on a loopback port."""
    return [kubectl, "--context", context, "proxy", "--address=127.0.0.1", f"--port={port}", *options]


def forward_command(
    kubectl: Path, context: str, namespace: str, target: str, port: int, *, local: int | str = ""
) -> Command:
    """The command that forwards a loopback port, by default a free one, to a port of `target`."""
    command: Command = [kubectl, "--context", context, "--namespace", namespace, "port-forward"]
    return [*command, "--address", "127.0.0.1", target, f"{local}:{port}"]


@dataclass(frozen=True)
class Forward:
    """An open port-forward: its address, and its kubectl."""

    address: str
    kubectl: process.Running

    def wait(self) -> None:
        """Wait for the end of the forward, such as that of its pod."""
        self.kubectl.wait(FOREVER)


@contextmanager
def forwarded(
    kubectl: Path, context: str, namespace: str, target: str, port: int, *, local: int = 0
) -> Iterator[Forward]:
    """Forward a port of 127.0.0.1, by default a free one, to the cluster while the block runs."""
    lines: queue.Queue[str] = queue.Queue()
    command = forward_command(kubectl, context, namespace, target, port, local=local or "")
    with process.Running(command, env=PLAIN, on_line=lines.put) as running:
        try:
            first = lines.get(timeout=30)
        except queue.Empty:
            first = "no answer within 30 s"
        match = re.search(r"Forwarding from (127\.0\.0\.1:\d+)", first)
        if not match:
            raise DeliveryError(
                f"no port-forward to {target} in {namespace}", evidence=running.tail or first, fix="./run invoke status"
            )
        yield Forward(match.group(1), running)


def _has_port(name: str, port: int) -> bool:
    """Whether the daemon has said that it listens: until then, another user's program may be the one that answers."""
    return bool(re.search(rf"(Forwarding from|Starting to serve on) 127\.0\.0\.1:{port}\b", daemon.tail(name)))


def keep_open(
    name: str,
    command: Callable[[int], Sequence[str | Path]],
    *,
    port: int,
    usual: int,
    path: str,
    facts: Mapping[str, str],
) -> Daemon:
    """A daemon that forwards a loopback port to the cluster, and has answered on `path`: a port-forward or a proxy.

    A running one is kept if it has the same `facts` and answers. Port 0 means the `usual` port, or a free one if that
    is taken. Raises UsageError for a taken port, CommandFailed or ToolError when the daemon does not answer.
    """
    if (running := daemon.find(name)) is not None:
        current = int(running.facts["port"])
        if port in (0, current) and running.facts == {**facts, "port": str(current)} and answers(current, path):
            return running
        daemon.stop(name)  # other options, or credentials of a deleted cluster
    if port and not is_free(port):
        raise UsageError(f"port {port} is taken on 127.0.0.1", fix="choose another port, or leave out --port")
    chosen = port or (usual if is_free(usual) else free_port())
    return daemon.start(
        name,
        command(chosen),
        ready=lambda: _has_port(name, chosen) and answers(chosen, path),
        timeout=READY_SECONDS,
        env=daemon.for_kubectl() | PLAIN,
        facts={**facts, "port": str(chosen)},
    )
