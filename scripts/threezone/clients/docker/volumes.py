"""Volumes: list, create and remove them."""

from __future__ import annotations

from collections.abc import Mapping

from threezone.clients.docker import engine


def ls(label: str) -> tuple[str, ...]:
    """The names of the volumes with a label. Raises EngineError."""
    return tuple(engine.ask("volume", "ls", "--quiet", f"--filter=label={label}"))


def create(name: str, labels: Mapping[str, str]) -> None:
    """Create a volume, unless it exists."""
    engine.run("volume", "create", *engine.labels(labels), name, timeout=60)


def remove(*names: str, check: bool = True) -> None:
    """Remove volumes with their content."""
    if names:
        engine.run("volume", "rm", *names, timeout=120, check=check)
