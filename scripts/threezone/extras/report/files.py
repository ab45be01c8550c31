"""Reports as files: read what a proof left, write what was drawn from it, open a page on the user's desktop."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from threezone.core import process
from threezone.core.errors import UsageError
from threezone.extras.report.proof import MAKE_ONE


def load(path: Path) -> Any:
    """The JSON in a file, as Python reads it (`proof.read` judges it). Raises UsageError when there is none."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}", fix="name a file that exists") from None
    except ValueError as error:  # JSONDecodeError and UnicodeDecodeError
        raise UsageError(f"{path} is no JSON: {error}", fix=MAKE_ONE) from None


def save(path: Path, text: str) -> None:
    """Write a report. Raises UsageError when the place cannot be written to."""
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise UsageError(
            f"{path} cannot be written: {error.strerror}", fix="name a place that can be written to"
        ) from None


def show(path: Path) -> None:
    """Open a page in the user's browser. Raises UsageError where none is found: in most containers there is none."""
    if not process.browse(path.resolve().as_uri()):
        raise UsageError("no browser was found to open the page in", fix=f"open {path.resolve()}, or set BROWSER")
