"""The pipeline's file on disk: our own text is replaced, an edited one only with consent."""

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
    """The body below a first line with its maker and its checksum, which shows later edits. Pure."""
    first = f"# Made by threezone ({by}), sum {_sum(body)}. An edited file is overwritten only after a question."
    return f"{first}\n{body}"


def is_unedited(text: str) -> bool:
    """Whether this is a file of ours without edits. Pure."""
    first, _, body = text.partition("\n")
    match = _FIRST.match(first)
    return match is not None and match["sum"] == _sum(body)


def _sum(body: str) -> str:
    return hashlib.sha256(body.encode()).hexdigest()[:16]


def plan(path: Path, existing: str | None, text: str) -> tuple[Step, ...]:
    """The step that writes the file, none when it has the text already; it asks unless the old text is ours. Pure."""
    if existing == text:
        return ()
    if existing is None:
        return (Step(StepKind.WRITE_FILE, f"write {path}"),)
    if is_unedited(existing):
        return (Step(StepKind.WRITE_FILE, f"renew {path}, which nobody has edited"),)
    whose = "which was edited" if _FIRST.match(existing) else "which threezone did not write"
    lines = difflib.unified_diff(
        existing.splitlines(), text.splitlines(), f"{path.name} (now)", f"{path.name} (new)", lineterm=""
    )
    return (Step(StepKind.WRITE_FILE, "\n".join([f"replace {path}, {whose}:", *lines]), asks=True),)


def read(path: Path) -> str | None:
    """The file's text; None for no file and for a pipe or device. Raises UsageError for other content."""
    if not path.exists() or files.is_stream(path):
        return None
    return files.read_text(path, fix=_ANOTHER)


def write(path: Path, text: str) -> None:
    """Write the file, and the directories above it."""
    files.write_output(path, text, None, fix=_ANOTHER)
