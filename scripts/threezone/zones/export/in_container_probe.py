"""Prove an export in another zone: run kubectl with the exported file in a temporary container there.

The container is made from the cluster's own node image, which has kubectl: nothing is downloaded. The file is
its stdin, so it is in no argument, in no image and on no disk.
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
class Answer:
    """The answer of kubectl: its last line, without the file's content."""

    ok: bool
    words: str
    seconds: float


def probe(content: Document, image: str, network: str, *, mapped: bool = False) -> Answer:
    """Ask `/readyz` with this kubeconfig from a container on `network`; `mapped` gives it host.docker.internal.

    A container that cannot be started is an answer as well.
    """
    name = f"threezone-probe-{secrets.token_hex(4)}"
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
        return Answer(ok=False, words=overdue.message, seconds=time.monotonic() - began)
    lines = (done.stderr.strip() or done.stdout.strip()).splitlines()
    return Answer(done.exit_code == 0 and done.stdout.strip() == "ok", lines[-1] if lines else "", done.seconds)
