"""A proof in another zone: kubectl in a throw-away container there, with the file that is about to be exported.

The container is made from the cluster's own node image, which holds kubectl in both channels: nothing is fetched.
The file goes in on stdin: it is in no argument, in no layer and on no disk.
"""

from __future__ import annotations

import secrets
import time
from dataclasses import dataclass

from threezone.clients import kubectl
from threezone.clients.docker import containers
from threezone.core import labels
from threezone.core.errors import CommandFailed
from threezone.kubeconfig import document
from threezone.kubeconfig.document import Document

DEADLINE = 30.0  # seconds for the container; kubectl itself gives up after REQUEST
REQUEST = 5


@dataclass(frozen=True)
class Seen:
    """What kubectl said in that zone: `words` are its own, without the file's content."""

    ok: bool
    words: str
    seconds: float


def witness(content: Document, image: str, network: str, *, mapped: bool = False) -> Seen:
    """Ask `/readyz` with this kubeconfig from a container on `network`; `mapped` gives it host.docker.internal.

    A container that cannot be started is an answer as well.
    """
    name = f"threezone-witness-{secrets.token_hex(4)}"
    began = time.monotonic()
    try:
        done = containers.run(
            image,
            *("--kubeconfig", "/dev/stdin", f"--request-timeout={REQUEST}s", "get", "--raw", "/readyz"),
            entrypoint=kubectl.KUBECTL,
            network=network,
            name=name,
            pull=False,
            labels={labels.MANAGED: "true"},
            hosts={"host.docker.internal": "host-gateway"} if mapped else {},
            stdin=document.dump(content),
            timeout=DEADLINE,
            check=False,
        )
    except CommandFailed as overdue:
        containers.remove(name)
        return Seen(ok=False, words=overdue.message, seconds=time.monotonic() - began)
    said = (done.stderr.strip() or done.stdout.strip()).splitlines()
    return Seen(done.exit_code == 0 and done.stdout.strip() == "ok", said[-1] if said else "", done.seconds)
