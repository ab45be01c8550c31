"""The Git server on a loopback port of ours, from every zone: through the API server, by a daemon that lasts."""

from __future__ import annotations

import shlex
import sys
from dataclasses import dataclass
from pathlib import Path

from threezone.clients import kubectl as kubectls
from threezone.core import daemon, paths
from threezone.core.errors import CommandFailed, DeliveryError, ToolError
from threezone.delivery import git_server, port_forward

PORT = 8418  # Git's own 9418 is for its own protocol


@dataclass(frozen=True)
class Opened:
    """A forward that runs."""

    context: str
    port: int
    pid: int

    def url(self, repository: str) -> str:
        """A repository's address on this machine; the name in it is not secret."""
        return f"http://{git_server.USER}@127.0.0.1:{self.port}/{repository}.git"

    def helper(self, password: Path) -> str:
        """The command that tells git where the password for pushing is: in our file, and nowhere else."""
        answer = f'!f() {{ test "$1" != get || echo "password=$(cat {shlex.quote(str(password))})"; }}; f'
        url = f"http://{git_server.USER}@127.0.0.1:{self.port}"
        return f"git config --global credential.{url}.helper {shlex.quote(answer)}"


def open_forward(kubectl: Path, context: str, *, port: int = 0) -> Opened:
    """Carry 127.0.0.1:`port` to the Git server of `context`; 0 means the usual port, or a free one when it is taken.

    One that runs is returned. The Git server has answered through it when this returns. Raises UsageError for a port
    that is taken, DeliveryError when the Git server does not answer.
    """

    def command(chosen: int) -> list[str | Path]:
        forward = kubectls.forward_command(kubectl, context, git_server.NAMESPACE, f"service/{git_server.NAME}", 80)
        return [sys.executable, "-I", port_forward.__file__, str(chosen), *forward]

    try:
        made = kubectls.keep_open(
            _name(context), command, port=port, usual=PORT, path="/healthz", facts={"context": context}
        )
    except (CommandFailed, ToolError) as error:
        raise DeliveryError(
            f"no way to the Git server of {context}", evidence=error.evidence, fix="./run invoke gitops.serve"
        ) from None
    return Opened(context, int(made.facts["port"]), made.pid)


def find(context: str) -> Opened | None:
    """The forward of a context, if it runs here."""
    found = daemon.find(_name(context))
    return Opened(context, int(found.facts["port"]), found.pid) if found else None


def close(context: str) -> bool:
    """End the forward of a context; False when there is none."""
    return daemon.stop(_name(context))


def _name(context: str) -> str:
    return f"git-{paths.slug(context)}"
