"""Where threezone keeps things on the user's machine. Both places may be deleted at any time; they come back."""

from __future__ import annotations

import os
from pathlib import Path


def _base(variable: str, below_home: str) -> Path:
    chosen = os.environ.get(variable)
    if chosen and Path(chosen).is_absolute():  # the XDG specification: relative paths are ignored
        return Path(chosen)
    return Path.home() / below_home  # without HOME the password database knows; a place in /tmp could be anybody's


def cache_dir() -> Path:
    """What can be fetched or built again: environments, tools, images, build caches. Shared by all checkouts."""
    chosen = os.environ.get("THREEZONE_CACHE")
    return Path(chosen) if chosen else _base("XDG_CACHE_HOME", ".cache") / "threezone"


def state_dir() -> Path:
    """What belongs to a running lab: logs and the Git server's password (0600). Made 0700."""
    chosen = os.environ.get("THREEZONE_STATE")
    path = Path(chosen) if chosen else _base("XDG_STATE_HOME", ".local/state") / "threezone"
    path.mkdir(parents=True, exist_ok=True, mode=0o700)
    return path
