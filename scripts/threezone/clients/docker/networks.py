"""Networks: list and inspect them, attach and detach containers."""

from __future__ import annotations

import json
from typing import Any

from threezone.clients.docker import engine


def names() -> list[str]:
    """The names of all networks. Raises EngineError."""
    return engine.ask("network", "ls", "--format", "{{.Name}}")


def inspect(network: str) -> dict[str, Any] | None:
    """Docker's description of a network, or None. Raises EngineError."""
    done = engine.run("network", "inspect", network, check=False)
    if done.exit_code != 0 and "network" not in done.stderr.lower():
        raise engine.explain(done.stderr.strip())
    return dict(json.loads(done.stdout)[0]) if done.exit_code == 0 else None


def connect(container: str, network: str, alias: str) -> None:
    """Attach a container to a network with an additional name. Raises CommandFailed."""
    engine.run("network", "connect", "--alias", alias, network, container, timeout=20)


def disconnect(container: str, network: str) -> None:
    """Detach a container from a network. Raises CommandFailed."""
    engine.run("network", "disconnect", network, container, timeout=20)
