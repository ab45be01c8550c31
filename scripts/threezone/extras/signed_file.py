"""A file with a line that names its maker and the checksum of the rest: our own text can be told from an edited one."""

from __future__ import annotations

import difflib
import hashlib
import re
from pathlib import Path

from threezone.core import files
from threezone.core.plan import Step, StepKind

_ANOTHER = "name another file with --output"
_LINE = re.compile(r"Made by threezone \((?P<by>[^)]*)\), sum (?P<sum>[0-9a-f]{16})\.")


def signed(by: str, body: str, comment: str = "# {}") -> str:
    """The body with a line that has its maker and its checksum, which shows later edits. Pure.

    It is the first line, or the second one below `#!`. `comment` is how the file's language writes it.
    """
    line = comment.format(
        f"Made by threezone ({by}), sum {_sum(body)}. An edited file is overwritten only after a question."
    )
    first, _, rest = body.partition("\n") if body.startswith("#!") else ("", "", body)
    return "\n".join([*([first] if first else []), line, rest])


def _split(text: str) -> tuple[re.Match[str] | None, str]:
    """Our line of a text, if there is one, and the body."""
    lines = text.split("\n")
    for at, line in enumerate(lines[:2]):
        if match := _LINE.search(line):
            return match, "\n".join(lines[:at] + lines[at + 1 :])
    return None, text


def is_ours(text: str) -> bool:
    """Whether we wrote this file, whoever edited it since. Pure."""
    return _split(text)[0] is not None


def is_unedited(text: str) -> bool:
    """Whether this is a file of ours without edits. Pure."""
    match, body = _split(text)
    return match is not None and match["sum"] == _sum(body)


def is_newer(text: str, existing: str) -> bool:
    """Whether our text differs from the one that we wrote before somebody edited it. Pure."""
    old, new = _split(existing)[0], _split(text)[0]
    return old is None or new is None or old["sum"] != new["sum"]


def difference(name: str, existing: str, text: str) -> str:
    """The change of a file as a unified diff. Pure."""
    lines = difflib.unified_diff(
        existing.splitlines(), text.splitlines(), f"{name} (now)", f"{name} (new)", lineterm=""
    )
    return "\n".join(lines)


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
    whose = "which was edited" if is_ours(existing) else "which threezone did not write"
    change = difference(path.name, existing, text)
    return (Step(StepKind.WRITE_FILE, f"replace {path}, {whose}:\n{change}", asks=True),)


def read(path: Path) -> str | None:
    """The file's text; None for no file and for a pipe or device. Raises UsageError for other content."""
    if not path.exists() or files.is_stream(path):
        return None
    return files.read_text(path, fix=_ANOTHER)


def write(path: Path, text: str) -> None:
    """Write the file, and the directories above it."""
    files.write_output(path, text, None, fix=_ANOTHER)
