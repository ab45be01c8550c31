"""The live display of events on a terminal: one spinner line per running step, finished steps above them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO

from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn

from threezone.events import Event, Sink


@contextmanager
def live(stream: TextIO) -> Iterator[Sink]:
    """Yield a sink that draws on `stream` until the block ends."""
    console = Console(file=stream)
    progress = Progress(
        SpinnerColumn(),
        TextColumn("{task.description}"),
        TimeElapsedColumn(),
        TextColumn("[dim]{task.fields[text]}", markup=True),
        console=console,
        transient=True,
    )
    running: dict[str, TaskID] = {}

    def show(event: Event) -> None:
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

    with progress:
        yield show
