"""addon.proxy: `kubectl proxy` as a daemon of ours, one for each cluster: the API on a loopback port, without a login.

Whoever may open a connection on this machine has the API with your entry's rights: it listens on 127.0.0.1 alone.
"""

from __future__ import annotations

import http.client
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from threezone.core import daemon, paths
from threezone.core.errors import CommandFailed, RouteError, ToolError, UsageError
from threezone.zones.tunnel import free_port, is_free

PORT = 8001  # kubectl's own
SECONDS = 30.0
ANSWER = 5.0  # seconds for one answer
WRITING = "^(POST|PUT|PATCH|DELETE)$"


@dataclass(frozen=True)
class Proxy:
    """A proxy that runs: its cluster's context, its port, its process, and whether it lets reading through only."""

    context: str
    port: int
    pid: int
    read_only: bool
    since: float

    @property
    def url(self) -> str:
        """Where the API is."""
        return f"http://127.0.0.1:{self.port}"

    def data(self) -> dict[str, Any]:
        """The proxy as JSON has it."""
        return {"running": True, "url": self.url, "answers": answers(self.port), **asdict(self)}


def start(kubectl: Path, context: str, *, port: int = 0, read_only: bool = False) -> Proxy:
    """The proxy of `context`; the API server has answered through it. One that runs as asked for is returned.

    Port 0 means kubectl's own, or a free one when it is taken. Raises UsageError for a port that is taken, RouteError
    when the API server does not answer through it.
    """
    if (there := find(context)) is not None:
        if port in (0, there.port) and read_only == there.read_only and answers(there.port):
            return there
        stop(context)  # asked for otherwise, or with credentials of a cluster that is no more
    if port and not is_free(port):
        raise UsageError(f"port {port} is taken on 127.0.0.1", fix="name another one, or none: --port")
    chosen = port or (PORT if is_free(PORT) else free_port())
    argv: list[str | Path] = [kubectl, "--context", context, "proxy", "--address=127.0.0.1", f"--port={chosen}"]
    argv += [f"--reject-methods={WRITING}"] if read_only else []
    try:
        made = daemon.start(
            _name(context),
            argv,
            ready=lambda: answers(chosen),
            timeout=SECONDS,
            env=daemon.for_kubectl(),
            facts={"context": context, "port": str(chosen), "read_only": "yes" if read_only else ""},
        )
    except (CommandFailed, ToolError) as error:
        raise RouteError(
            f"no API server answers through a proxy to {context}",
            evidence=error.evidence,
            fix="./run invoke kubeconfig.check",
        ) from None
    return _proxy(made)


def find(context: str) -> Proxy | None:
    """The proxy of a context, if it runs here."""
    found = daemon.find(_name(context))
    return _proxy(found) if found else None


def stop(context: str) -> bool:
    """End the proxy of a context; False when there is none."""
    return daemon.stop(_name(context))


def answers(port: int) -> bool:
    """Whether an API server that is ready answers through a proxy on this port."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=ANSWER)
    try:
        connection.request("GET", "/readyz")
        return connection.getresponse().status == http.client.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def _proxy(found: daemon.Daemon) -> Proxy:
    facts = found.facts
    return Proxy(facts["context"], int(facts["port"]), found.pid, facts["read_only"] == "yes", found.since)


def _name(context: str) -> str:
    return f"proxy-{paths.slug(context)}"
