"""The pipeline's file on disk: what is ours and untouched is renewed, what somebody edited is asked about."""

from __future__ import annotations

import difflib
import hashlib
import re
from pathlib import Path

from threezone.core import files
from threezone.core.plan import Step, StepKind

_ANOTHER = "name another file with --output"
_FIRST = re.compile(r"# Made by threezone \((?P<by>[^)]*)\), sum (?P<sum>[0-9a-f]{16})\.")


def signed(by: str, body: str) -> str:
    """The body below a first line that says who made it, and has a sum of it: an edit can be told by that. Pure."""
    first = f"# Made by threezone ({by}), sum {_sum(body)}. Once edited it is yours: it is not written over unasked."
    return f"{first}\n{body}"


def untouched(text: str) -> bool:
    """Whether this is a file of ours as we made it. Pure."""
    first, _, body = text.partition("\n")
    made = _FIRST.match(first)
    return made is not None and made["sum"] == _sum(body)


def _sum(body: str) -> str:
    return hashlib.sha256(body.encode()).hexdigest()[:16]


def plan(path: Path, existing: str | None, text: str) -> tuple[Step, ...]:
    """What is to be done to the file; nothing when it holds the text. Pure. What is not ours, or edited, asks."""
    if existing == text:
        return ()
    if existing is None:
        return (Step(StepKind.WRITE_FILE, f"write {path}"),)
    if untouched(existing):
        return (Step(StepKind.WRITE_FILE, f"renew {path}, which nobody has edited"),)
    whose = "which was edited" if _FIRST.match(existing) else "which threezone has not made"
    lines = difflib.unified_diff(
        existing.splitlines(), text.splitlines(), f"{path.name} (now)", f"{path.name} (new)", lineterm=""
    )
    return (Step(StepKind.WRITE_FILE, "\n".join([f"replace {path}, {whose}:", *lines]), asks=True),)


def read(path: Path) -> str | None:
    """The file's text, or None for no file and for a pipe or device. Raises UsageError for what is no text file."""
    if not path.exists() or files.is_stream(path):
        return None
    return files.read_text(path, fix=_ANOTHER)


def write(path: Path, text: str) -> None:
    """Write the file, and the directories above it."""
    files.write_output(path, text, None, fix=_ANOTHER)
