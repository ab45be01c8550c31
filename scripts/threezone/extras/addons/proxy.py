"""addon.proxy: `kubectl proxy` as a daemon of ours, one for each cluster: the API on a loopback port, without a login.

Whoever may open a connection on this machine has the API with your entry's rights: it listens on 127.0.0.1 alone.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from threezone.clients import kubectl as kubectls
from threezone.core import daemon, paths
from threezone.core.errors import CommandFailed, RouteError, ToolError
from threezone.core.loopback import answers

PORT = 8001  # kubectl's own
READY = "/readyz"
# What --read-only refuses: changes; and reading that is more: a program in a pod or a server behind the API (a GET
# that becomes a websocket changes things too, as by nodes/NAME/proxy/exec), and Secrets.
READ_ONLY = (
    "--reject-methods=^(POST|PUT|PATCH|DELETE)$",
    "--reject-paths=/(exec|attach|portforward|proxy|secrets)(/|$)",
)


@dataclass(frozen=True)
class Proxy:
    """A running proxy: its cluster's context, its port, its process, and whether it refuses changes."""

    context: str
    port: int
    pid: int
    read_only: bool
    since: float

    @property
    def url(self) -> str:
        """The API's address."""
        return f"http://127.0.0.1:{self.port}"

    def data(self) -> dict[str, Any]:
        """The proxy for programs."""
        return {"running": True, "url": self.url, "answers": answers(self.port, READY), **asdict(self)}


def start(kubectl: Path, context: str, *, port: int = 0, read_only: bool = False) -> Proxy:
    """Start the proxy of `context` unless it runs already, and wait until the API server answers through it.

    Port 0 means kubectl's own, or a free one when it is taken. Raises UsageError for a port that is taken, RouteError
    when the API server does not answer through it.
    """
    options = READ_ONLY if read_only else ()
    try:
        running = kubectls.keep_open(
            _name(context),
            lambda chosen: kubectls.proxy_command(kubectl, context, chosen, *options),
            port=port,
            usual=PORT,
            path=READY,
            facts={"context": context, "read_only": "yes" if read_only else ""},
        )
    except (CommandFailed, ToolError) as error:
        raise RouteError(
            f"no API server answers through a proxy to {context}",
            evidence=error.evidence,
            fix="./run invoke kubeconfig.check",
        ) from None
    return _proxy(running)


def find(context: str) -> Proxy | None:
    """The proxy of a context if it runs here, else None."""
    running = daemon.find(_name(context))
    return _proxy(running) if running else None


def stop(context: str) -> bool:
    """End the proxy of a context; False when there is none."""
    return daemon.stop(_name(context))


def _proxy(running: daemon.Daemon) -> Proxy:
    facts = running.facts
    return Proxy(facts["context"], int(facts["port"]), running.pid, facts["read_only"] == "yes", running.since)


def _name(context: str) -> str:
    return f"proxy-{paths.slug(context)}"
