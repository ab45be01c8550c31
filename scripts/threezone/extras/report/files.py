"""Files of reports: read a proof's data, write a report, open a page in the user's browser."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from threezone.core import process
from threezone.core.errors import UsageError
from threezone.core.files import descriptor_of, read_text, write_output
from threezone.extras.report.proof import MAKE_ONE

_PROOF_SECONDS = 3600.0  # `gitops.prove --json | … report.show /dev/stdin` reads what is still being written


def load(path: Path) -> Any:
    """The decoded JSON of a file; `proof.read` checks it. Raises UsageError for a file without JSON."""
    seconds = None if descriptor_of(path) is None else _PROOF_SECONDS
    text = read_text(path, fix="name a file that exists", seconds=seconds)
    try:
        return json.loads(text)
    except ValueError as error:
        raise UsageError(f"{path} is not JSON: {error}", fix=MAKE_ONE) from None


def save(path: Path, text: str) -> None:
    """Write a report, and the directories above it. Raises UsageError when that fails."""
    write_output(path, text, None, fix="name a place that can be written to")


def show(path: Path) -> None:
    """Open a page in the user's browser. Raises UsageError where there is none, as in most containers."""
    if not process.browse(path.resolve().as_uri()):
        raise UsageError("no browser was found to open the page in", fix=f"open {path.resolve()}, or set BROWSER")
