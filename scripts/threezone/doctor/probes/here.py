"""Probes of this machine's side: versions, the repository, and the daemons of this user."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import suppress

from threezone.cluster.lab import Lab
from threezone.core import daemon, pins
from threezone.core.errors import UsageError
from threezone.core.loopback import answers
from threezone.delivery import git_forward, repository
from threezone.doctor.facts import Here
from threezone.toolchain import install


def observe(lab: Lab) -> Here:
    """What this machine has for the lab."""
    lock = lab.root / ".git/index.lock"
    age = 0.0
    with suppress(OSError):
        age = time.time() - lock.lstat().st_mtime
    kubectl = install.find("kubectl", root=lab.root)
    return Here(
        kubectl.version if kubectl else "",
        pins.tools(lab.root).kind.version,
        _repository(lab),
        str(lock) if age else "",
        age,
        tuple(_daemons(lab)),
    )


def _repository(lab: Lab) -> str:
    try:
        repository.head(lab.root, lab.settings.gitops.path)
    except UsageError as error:
        return "\n".join(filter(None, (error.message, error.evidence)))
    return ""


def _daemons(lab: Lab) -> Iterator[tuple[str, str]]:
    """The daemons for this context that run and do not answer."""
    for running in daemon.all():
        port = running.facts.get("port", "")
        if running.name != git_forward.name(lab.context) or not port.isdigit():
            continue
        if not answers(int(port), "/healthz"):
            yield running.name, f"127.0.0.1:{port} does not answer"
