"""The stream of events from which progress, logs and reports are made.

Work is wrapped in `step("title")`; inside it, `note("…")` reports progress. Sinks are functions that take an `Event`;
nothing else prints progress. Results go to stdout and are not events.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Literal

from threezone.core.errors import ThreezoneError

Kind = Literal["start", "note", "done", "failed"]


@dataclass(frozen=True)
class Event:
    """An event: `elapsed` is in seconds since the program began, `seconds` since its step began."""

    kind: Kind
    step: str
    text: str
    elapsed: float
    seconds: float


Sink = Callable[[Event], None]

_sinks: list[Sink] = []
_began = time.monotonic()
_lock = threading.Lock()


class Progress:
    """A running step. `say` reports progress; `result` becomes the text of its closing line."""

    def __init__(self, title: str) -> None:
        self.title = title
        self.result = ""
        self.started = time.monotonic()

    @property
    def seconds(self) -> float:
        """Seconds since the step began."""
        return time.monotonic() - self.started

    def say(self, text: str) -> None:
        """Report progress inside this step."""
        _emit("note", self, text)


_current: ContextVar[Progress | None] = ContextVar("step", default=None)


def _emit(kind: Kind, step: Progress, text: str) -> None:
    event = Event(kind, step.title, text, time.monotonic() - _began, step.seconds)
    with _lock:
        for sink in _sinks:
            sink(event)


@contextmanager
def step(title: str) -> Iterator[Progress]:
    """Run a block as a named, timed step. An exception marks it as failed."""
    running = Progress(title)
    token = _current.set(running)
    _emit("start", running, "")
    try:
        yield running
    except BaseException as error:
        _emit("failed", running, "interrupted" if isinstance(error, KeyboardInterrupt) else str(error).split("\n")[0])
        raise
    else:
        _emit("done", running, running.result)
    finally:
        _current.reset(token)


def note(text: str) -> None:
    """Report progress in the current step. A new thread has no current step unless the context was copied."""
    _emit("note", _current.get() or Progress(""), text)


@contextmanager
def optional(consequence: str) -> Iterator[None]:
    """Run a block whose failure is only a warning, which begins with `consequence`."""
    try:
        yield
    except (ThreezoneError, OSError) as error:
        note(f"warning: {consequence}: {str(error).splitlines()[0]}")


@contextmanager
def listening(sink: Sink) -> Iterator[None]:
    """Send every event to `sink` while the block runs."""
    _sinks.append(sink)
    try:
        yield
    finally:
        _sinks.remove(sink)


@contextmanager
def muted() -> Iterator[None]:
    """Drop all events while the block runs."""
    removed = _sinks[:]
    _sinks.clear()
    try:
        yield
    finally:
        _sinks[:0] = removed
