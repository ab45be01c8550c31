"""The Git server on a loopback port of this machine: through the API server, by a daemon that keeps running."""

from __future__ import annotations

import shlex
import sys
from dataclasses import dataclass
from pathlib import Path

from threezone.clients import kubectl
from threezone.cluster.lab import Lab
from threezone.core import daemon, paths
from threezone.core.errors import CommandFailed, DeliveryError, ToolError
from threezone.delivery import git_server, port_forward

PORT = 8418  # Git's own 9418 is for its own protocol


@dataclass(frozen=True)
class Forward:
    """A running forward, by its port on this machine."""

    port: int

    @property
    def _base(self) -> str:
        return f"http://{git_server.USER}@127.0.0.1:{self.port}"

    def url(self, repository: str) -> str:
        """A repository's address on this machine; the user name in it is not secret."""
        return f"{self._base}/{repository}.git"

    def helper(self, password: Path) -> str:
        """The command that has git read the password for pushing from our file."""
        answer = f'!f() {{ test "$1" != get || echo "password=$(cat {shlex.quote(str(password))})"; }}; f'
        return f"git config --global credential.{self._base}.helper {shlex.quote(answer)}"


def open_forward(lab: Lab, *, port: int = 0) -> Forward:
    """Forward 127.0.0.1:`port` to the Git server, and wait for its answer; 0 means PORT, or a free one.

    A forward that already runs is returned. Raises UsageError for a port that is taken, DeliveryError when the Git
    server does not answer.
    """
    command = kubectl.forward_command(lab.tools["kubectl"], lab.context, *git_server.TARGET)
    try:
        opened = kubectl.keep_open(
            name(lab.context),
            lambda chosen: [sys.executable, "-I", port_forward.__file__, str(chosen), *command],
            port=port,
            usual=PORT,
            path="/healthz",
            facts={"context": lab.context},
        )
    except (CommandFailed, ToolError) as error:
        raise DeliveryError(
            f"no forward to the Git server of {lab.context}", evidence=error.evidence, fix="./run invoke gitops.serve"
        ) from None
    return Forward(int(opened.facts["port"]))


def close(context: str) -> bool:
    """End the forward of a context; False when there is none."""
    return daemon.stop(name(context))


def name(context: str) -> str:
    """The name of the daemon that forwards to the Git server of a context."""
    return f"git-{paths.slug(context)}"
