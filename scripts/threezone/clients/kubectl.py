"""kubectl: apply and render manifests, run a program in a pod, and carry ports of the cluster to this machine."""

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
KUBECTL = "kubectl"  # in a node image, which has it on its PATH
# On a control plane, which has kubectl and the administrator's kubeconfig.
# Without a cache: that would be in the home directory, which may be mounted from the host.
ON_NODE = (KUBECTL, "--kubeconfig=/etc/kubernetes/admin.conf", "--cache-dir=/dev/null")
FOREVER = 365 * 86400.0  # seconds: as long as the user lets it stand
READY_SECONDS = 30.0  # for a forward or a proxy to carry its first answer


def render(kubectl: Path, directory: Path) -> str:
    """The manifests of a kustomization. Raises CommandFailed."""
    return process.run([kubectl, "kustomize", directory], timeout=60).stdout


def apply(kubectl: Path, context: str, directory: Path) -> Completed:
    """Apply a kustomization, taking over fields of other managers. Raises CommandFailed."""
    options = ("--server-side", "--force-conflicts", "--kustomize", directory)
    return process.run([kubectl, "--context", context, "apply", *options], timeout=60)


def check(kubectl: Path, context: str, manifests: str, manager: str) -> Completed:
    """Have the API server check manifests as if they were applied; nothing is changed."""
    options = ("--server-side", "--force-conflicts", "--dry-run=server", f"--field-manager={manager}", "--filename=-")
    command: Command = [kubectl, "--context", context, "apply", *options]
    return process.run(command, timeout=120, stdin=manifests, check=False)


def execute(kubectl: Path, context: str, namespace: str, target: str, argv: Sequence[str]) -> Completed:
    """Run a program in a pod of `target`, such as `deployment/git`."""
    command: Command = [kubectl, "--context", context, "--namespace", namespace, "exec", target, "--", *argv]
    return process.run(command, timeout=30, check=False)


def proxy_command(kubectl: Path, context: str, port: int, *options: str) -> Command:
    """The command that serves the API on a loopback port."""
    return [kubectl, "--context", context, "proxy", "--address=127.0.0.1", f"--port={port}", *options]


def forward_command(
    kubectl: Path, context: str, namespace: str, target: str, port: int, *, local: int | str = ""
) -> Command:
    """The command that carries a port of `target` to a loopback port; the system chooses that where none is given."""
    command: Command = [kubectl, "--context", context, "--namespace", namespace, "port-forward"]
    return [*command, "--address", "127.0.0.1", target, f"{local}:{port}"]


@dataclass(frozen=True)
class Forward:
    """An open port-forward: its `address` on this machine's loopback, and the kubectl that carries it."""

    address: str
    kubectl: process.Running

    def wait(self) -> None:
        """Return when the forward has ended (its pod has gone, say)."""
        self.kubectl.wait(FOREVER)


@contextmanager
def forwarded(
    kubectl: Path, context: str, namespace: str, target: str, port: int, *, local: int = 0
) -> Iterator[Forward]:
    """Carry a port of the cluster to `127.0.0.1` while the block runs; `local` 0 lets the system choose."""
    lines: queue.Queue[str] = queue.Queue()
    command = forward_command(kubectl, context, namespace, target, port, local=local or "")
    with process.Running(command, on_line=lines.put) as running:
        try:
            first = lines.get(timeout=30)
        except queue.Empty:
            first = "no answer within 30 s"
        match = re.search(r"Forwarding from (127\.0\.0\.1:\d+)", first)
        if not match:
            raise DeliveryError(
                f"no way to {target} in {namespace}", evidence=running.tail or first, fix="./run invoke status"
            )
        yield Forward(match.group(1), running)


def keep_open(
    name: str,
    command: Callable[[int], Sequence[str | Path]],
    *,
    port: int,
    usual: int,
    path: str,
    facts: Mapping[str, str],
) -> Daemon:
    """A daemon that carries a loopback port to the cluster until it is stopped: a forward, or a proxy.

    One that runs with the same `facts` and still answers is kept. Port 0 means the `usual` one, or a free one when it
    is taken. It has answered on `path` when this returns. Raises UsageError for a port that is taken, CommandFailed or
    ToolError when it does not answer.
    """
    if (there := daemon.find(name)) is not None:
        known = int(there.facts["port"])
        if port in (0, known) and there.facts == {**facts, "port": str(known)} and answers(known, path):
            return there
        daemon.stop(name)  # asked for otherwise, or with credentials of a cluster that is no more
    if port and not is_free(port):
        raise UsageError(f"port {port} is taken on 127.0.0.1", fix="name another one, or none: --port")
    chosen = port or (usual if is_free(usual) else free_port())
    return daemon.start(
        name,
        command(chosen),
        ready=lambda: answers(chosen, path),
        timeout=READY_SECONDS,
        env=daemon.for_kubectl(),
        facts={**facts, "port": str(chosen)},
    )
