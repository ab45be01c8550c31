"""What Go says when it cannot have a module, as an error of ours. Pure."""

from __future__ import annotations

import re

from threezone.core import network_ca
from threezone.core.errors import ToolError

LINES = 6  # of Go's words: it repeats the reason for every package


def not_fetched(name: str, version: str, words: str) -> ToolError:
    """The error for a program whose modules cannot all be had; `words` are Go's. It names the first missing module."""
    told = [line for line in words.splitlines() if line.strip() and not line.startswith("go: downloading")]
    missing = re.search(r"(\S+@v\S+): reading \S+: \d{3} ", words)
    reason = f"the Go module proxy does not give {missing[1]}" if missing else "its Go modules could not be fetched"
    fix = "ask for a version whose modules the proxy has (docs/versions.md), or use --channel release"
    return ToolError(
        f"{name} {version} cannot be built: {reason}",
        evidence="\n".join(told[:LINES]),
        fix=network_ca.advice(words, fix),
    )
