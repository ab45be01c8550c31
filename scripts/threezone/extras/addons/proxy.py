"""addon.proxy: `kubectl proxy` as a daemon of ours, one for each cluster: the API on a loopback port, without a login.

Loopback is shared with every local user. So the proxy has a short-lived token with the role `view`, not your entry's
rights, and refuses what would be more than reading.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from threezone.clients import kubectl as kubectls
from threezone.core import daemon, files, paths
from threezone.core.errors import CommandFailed, RouteError, ToolError, UsageError
from threezone.core.loopback import answers
from threezone.kubeconfig import document
from threezone.zones import kubeconfig_entry
from threezone.zones.export.tokens import Token

PORT = 8001  # kubectl's own
READY = "/readyz"
ROLE = "view"  # reads everything in namespaces but Secrets, and nothing of nodes
HOURS = 24  # of the token
LEAST = timedelta(hours=1)  # a start renews the token when less is left
# The role refuses these, too. A GET that becomes a websocket changes things, as by nodes/NAME/proxy/exec.
READ_ONLY = (
    "--reject-methods=^(POST|PUT|PATCH|DELETE)$",
    "--reject-paths=/(exec|attach|portforward|proxy|secrets)(/|$)",
)


@dataclass(frozen=True)
class Proxy:
    """A running proxy: its cluster's context, its port, its process, and the end of its token (RFC 3339, UTC)."""

    context: str
    port: int
    pid: int
    ends: str
    since: float

    @property
    def url(self) -> str:
        """The API's address."""
        return f"http://127.0.0.1:{self.port}"

    def data(self) -> dict[str, Any]:
        """The proxy for programs."""
        return {"running": True, "url": self.url, "answers": answers(self.port, READY), **asdict(self)}


def start(kubectl: Path, context: str, request: Callable[[], Token], *, port: int = 0) -> Proxy:
    """Start the proxy of `context` unless it runs already, and wait until the API server answers through it.

    `request` asks the cluster for a token with ROLE, for HOURS. Port 0 means kubectl's own, or a free one when it is
    taken. Raises UsageError for a port that is taken, RouteError when the API server does not answer through it.
    """
    running = find(context)
    if running is not None and port in (0, running.port) and _lasts(running.ends) and answers(running.port, READY):
        return running
    token = request()
    # kubectl reads the file once, when it starts; then it is not needed.
    with tempfile.TemporaryDirectory(prefix="threezone-") as directory:
        login = Path(directory) / "kubeconfig"
        files.write_atomic(login, document.dump(_with(context, token.value)))
        options = (f"--kubeconfig={login}", *READ_ONLY)
        try:
            made = kubectls.keep_open(
                _name(context),
                lambda chosen: kubectls.proxy_command(kubectl, context, chosen, *options),
                port=port or (running.port if running else 0),
                usual=PORT,
                path=READY,
                facts={"context": context, "ends": token.ends},
            )
        except (CommandFailed, ToolError) as error:
            raise RouteError(
                f"no API server answers through a proxy to {context}",
                evidence=error.evidence,
                fix="./run invoke kubeconfig.check",
            ) from None
    return _proxy(made)


def _with(context: str, token: str) -> document.Document:
    """The user's entry of the context, with the token as its only login."""
    found = kubeconfig_entry.find(context)
    if found is None:
        raise UsageError(f"your kubeconfig has no context {context}", fix="./run invoke kubeconfig.connect")
    alone = document.Document(found.kubeconfig)
    return document.put(alone, "users", found.entry.user_name, {"token": token})


def _lasts(ends: str) -> bool:
    """Whether a token lasts a while yet; not when its end is unknown."""
    try:
        return datetime.fromisoformat(ends) - datetime.now(UTC) > LEAST
    except (ValueError, TypeError):
        return False


def find(context: str) -> Proxy | None:
    """The proxy of a context if it runs here, else None."""
    running = daemon.find(_name(context))
    return _proxy(running) if running else None


def stop(context: str) -> bool:
    """End the proxy of a context; False when there is none."""
    return daemon.stop(_name(context))


def _proxy(running: daemon.Daemon) -> Proxy:
    facts = running.facts
    return Proxy(facts["context"], int(facts["port"]), running.pid, facts.get("ends", ""), running.since)


def _name(context: str) -> str:
    return f"proxy-{paths.slug(context)}"
