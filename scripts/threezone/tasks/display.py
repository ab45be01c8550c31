"""Events on stderr, for a person: a live display on a terminal, plain lines with elapsed time in logs and pipes."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from itertools import zip_longest
from typing import TextIO

from threezone.core import redaction, settings
from threezone.core.events import Event, Sink, listening

_NARROWEST = 12  # columns of a table's column, at least

# Pods, apps and programs choose what they answer: escape sequences could change the terminal or its clipboard, and
# marks of direction could show another text. Characters below 0x20 are shown as Unicode's control pictures.
_HIDDEN = (*range(0x7F, 0xA0), *range(0x202A, 0x202F), *range(0x2066, 0x206A))
_SHOWN = dict.fromkeys(_HIDDEN, "\ufffd") | {n: chr(0x2400 + n) for n in range(0x20) if chr(n) not in "\n\t"}
JSON_ESCAPES = {number: f"\\u{number:04x}" for number in _HIDDEN}  # json.dumps escapes those below 0x20


def as_shown(text: str) -> str:
    """The text without control characters and passwords in addresses, with commands as they are typed in this project.

    Everything that tasks print passes here.
    """
    return as_typed(redaction.without_passwords(text if text.isprintable() else text.translate(_SHOWN)))


def as_typed(text: str) -> str:
    """The text with commands as they are typed in this project."""
    return text.replace(settings.RUN, settings.launcher(settings.find_root())) if settings.RUN in text else text


# Cells of our tables that tell a state, and their colors (ECMA-48: SGR).
_STATES = {
    **dict.fromkeys(("yes", "ok", "Ready", "running", "passed", "same", "PASS"), "32"),
    **dict.fromkeys(("no", "failed", "missing", "not ready", "new cluster", "FAIL"), "31"),
    **dict.fromkeys(("unknown", "in place", "not-run", "stopped"), "33"),
}
_CELL = re.compile(rf"(?m)(?:^|(?<=  ))({'|'.join(map(re.escape, _STATES))})(?=  |$)")
_erase: list[Callable[[], None]] = []  # of the live region, if there is one


def write(stream: TextIO, text: str, end: str = "\n") -> None:
    """Write lines as they are shown to people; what the stream cannot show is escaped."""
    text, encoding = as_shown(text), getattr(stream, "encoding", None) or "utf-8"
    if is_terminal(stream):
        for erase in _erase:
            erase()
        if not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb":
            text = _CELL.sub(lambda match: f"\x1b[{_STATES[match[1]]}m{match[1]}\x1b[0m", text)
    stream.write(text.encode(encoding, "backslashreplace").decode(encoding) + end)
    stream.flush()


@contextmanager
def redrawn() -> Iterator[Callable[[str], None]]:
    """Show a text on stdout again and again: on a terminal in one place, elsewhere one after the other.

    The terminal's former content comes back at the end, and the last text stays below it.
    """
    if not is_terminal(sys.stdout):
        yield lambda text: write(sys.stdout, f"{text}\n")
        return
    from rich.console import Console
    from rich.live import Live
    from rich.text import Text

    last = ""
    try:
        with Live(console=Console(), screen=True, auto_refresh=False) as live_text:

            def show(text: str) -> None:
                nonlocal last
                last = text
                live_text.update(Text(as_shown(text)), refresh=True)

            yield show
    finally:
        write(sys.stdout, last)


def is_terminal(stream: TextIO) -> bool:
    """Whether a person looks at what is written there."""
    return hasattr(stream, "isatty") and stream.isatty()


def table(rows: Sequence[Sequence[str]]) -> str:
    """Rows as aligned columns; the first row is the heading. On a terminal the widest column is broken to fit."""
    rows = [[as_shown(cell) for cell in row] for row in rows]
    widths = [max(map(_width, column)) for column in zip(*rows, strict=True)]
    if is_terminal(sys.stdout):
        import shutil

        over = sum(widths) + 2 * (len(widths) - 1) - shutil.get_terminal_size().columns
        while over > 0 and (widest := max(widths)) > _NARROWEST:
            taken = min(over, max(1, widest - sorted(widths)[-2] if len(widths) > 1 else over), widest - _NARROWEST)
            widths[widths.index(widest)] -= taken
            over -= taken
    lines = []
    for row in rows:
        cells = [_broken(cell, width) for cell, width in zip(row, widths, strict=True)]
        for parts in zip_longest(*cells, fillvalue=""):
            line = (part + " " * (width - _width(part)) for part, width in zip(parts, widths, strict=True))
            lines.append("  ".join(line).rstrip())
    return "\n".join(lines)


def _broken(cell: str, width: int) -> list[str]:
    if _width(cell) <= width:
        return [cell]
    import textwrap

    return textwrap.wrap(cell, width, break_on_hyphens=False) or [""]


def _width(text: str) -> int:
    """The columns that a text takes on a terminal."""
    if text.isascii():
        return len(text)
    from rich.cells import cell_len

    return cell_len(text)


@contextmanager
def display(stream: TextIO | None = None) -> Iterator[None]:
    """Show progress on `stream` (stderr) while the block runs: live on a terminal, plain lines elsewhere."""
    out = stream or sys.stderr
    if out.isatty():
        with live(out) as sink, listening(_translated(sink)):
            yield
    else:
        with listening(_translated(plain(out))):
            yield


def _translated(sink: Sink) -> Sink:
    return lambda event: sink(replace(event, step=as_shown(event.step), text=as_shown(event.text)))


def plain(stream: TextIO) -> Sink:
    """A sink of plain lines with elapsed time, for logs and pipes."""
    shown = ""  # the step of the lines above: its notes need not repeat its title

    def show(event: Event) -> None:
        nonlocal shown
        if event.kind == "note":
            title = f"{event.step}: " if event.step not in ("", shown) else ""
            stream.write(f"[{event.elapsed:6.1f}s]     {title}{event.text}\n")
            stream.flush()
            shown = event.step or shown
            return
        shown = event.step if event.kind == "start" else ""
        mark = {"start": "…", "done": "✓", "failed": "✗"}[event.kind]
        head = f"[{event.elapsed:6.1f}s] {mark} {event.step}"
        text = f": {event.text}" if event.text else ""
        tail = f"  ({event.seconds:.1f} s)" if event.kind != "start" else ""
        stream.write(f"{head}{text}{tail}\n")
        stream.flush()

    return show


@contextmanager
def live(stream: TextIO) -> Iterator[Sink]:
    """Yield a sink that draws on `stream` until the block ends."""
    from rich.console import Console
    from rich.progress import Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn

    console = Console(file=stream)
    progress = Progress(
        SpinnerColumn(),
        TextColumn("{task.description}", markup=False),
        TimeElapsedColumn(),
        TextColumn("{task.fields[text]}", style="dim", markup=False),
        console=console,
        transient=True,
        # Tasks print to stdout and stderr unchanged: redirected, a question's "[y/N]" would be taken for markup.
        redirect_stdout=False,
        redirect_stderr=False,
    )
    running: dict[str, TaskID] = {}

    def show(event: Event) -> None:
        progress.start()  # again, if something was written meanwhile
        if event.kind == "start":
            running[event.step] = progress.add_task(event.step, total=None, text="")
        elif event.kind == "note":
            if event.step in running:
                progress.update(running[event.step], text=event.text[-100:])
            else:
                console.print(event.text, style="dim", markup=False, highlight=False)
        else:
            task = running.pop(event.step, None)
            if task is not None:
                progress.remove_task(task)
            mark, style = ("✓", "green") if event.kind == "done" else ("✗", "red")
            text = f": {event.text}" if event.text else ""
            console.print(f"{mark} {event.step}{text}  ({event.seconds:.1f} s)", style=style, markup=False)

    _erase.append(progress.stop)
    try:
        with progress:
            yield show
    finally:
        _erase.remove(progress.stop)
