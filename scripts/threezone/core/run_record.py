"""Records of runs: what each task did, when, and how it ended. The last MOST are kept, private, for `report.*`."""

from __future__ import annotations

import os
import re
import threading
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from time import monotonic
from typing import Literal

import msgspec

from threezone import __version__
from threezone.core import paths
from threezone.core.errors import ThreezoneError, UsageError
from threezone.core.events import Event
from threezone.core.files import read, write_atomic
from threezone.core.redaction import redact

MOST = 50  # records
MOST_NOTES = 2000  # of one run; a build from source prints some hundred
LIST = "./run invoke report.list"
_NAME = re.compile(r"\d{8}-\d{6}-\d+-[a-z_.-]+")
Outcome = Literal["passed", "failed", "interrupted"]


class Note(msgspec.Struct, frozen=True):
    """Progress inside a step; `at` is in seconds since the run began."""

    at: float
    text: str


class StepRecord(msgspec.Struct, frozen=True):
    """A step: `began` is in seconds since the run began, `text` its result or the reason of its failure."""

    title: str
    began: float
    seconds: float
    outcome: Outcome
    text: str = ""
    notes: tuple[Note, ...] = ()


class RunRecord(msgspec.Struct, frozen=True, tag="run", tag_field="kind"):
    """A run of a task. `began` is in UTC, as in RFC 3339."""

    id: str
    task: str
    words: tuple[str, ...]
    began: str
    seconds: float
    exit_code: int
    steps: tuple[StepRecord, ...]
    error: str = ""
    fix: str = ""
    version: str = __version__

    @property
    def outcome(self) -> Outcome:
        """How it ended."""
        interrupted = self.exit_code == 130  # noqa: PLR2004 - docs/exit-codes.md
        return "passed" if self.exit_code == 0 else "interrupted" if interrupted else "failed"


class _Open:
    """A step that has not ended yet."""

    def __init__(self, began: float) -> None:
        self.began = began
        self.notes: list[Note] = []


class Recorder:
    """A sink of events that remembers them; secrets are taken out."""

    def __init__(self, task: str, words: tuple[str, ...]) -> None:
        self._task, self._words = task, words
        self._when, self._began = datetime.now(UTC), monotonic()
        self._open: dict[str, list[_Open]] = {}  # by title: two threads may have steps of one title
        self._steps: list[StepRecord] = []
        self._notes = 0
        self._lock = threading.Lock()
        self.error: ThreezoneError | None = None

    def __call__(self, event: Event) -> None:
        """Remember an event."""
        with self._lock:
            self._remember(event)

    def _remember(self, event: Event) -> None:
        title, now = redact(event.step), monotonic() - self._began
        opened = self._open.setdefault(title, [])
        if event.kind == "start":
            opened.append(_Open(now))
        elif event.kind == "note":
            self._notes += 1
            if opened and self._notes <= MOST_NOTES:
                opened[-1].notes.append(Note(round(now, 3), redact(event.text)))
        elif opened:
            step = opened.pop()
            outcome: Outcome = "passed" if event.kind == "done" else "failed"
            self._steps.append(_ended(title, step, now, outcome, redact(event.text)))

    def record(self, exit_code: int) -> RunRecord:
        """The run until now. Steps that have not ended were interrupted."""
        now = monotonic() - self._began
        with self._lock:
            unfinished = [
                _ended(title, step, now, "interrupted", "") for title, steps in self._open.items() for step in steps
            ]
            steps = sorted((*self._steps, *unfinished), key=lambda step: step.began)
        return RunRecord(
            id=f"{self._when:%Y%m%d-%H%M%S}-{os.getpid()}-{self._task}",
            task=self._task,
            words=tuple(map(redact, self._words)),
            began=f"{self._when:%Y-%m-%dT%H:%M:%SZ}",
            seconds=round(now, 3),
            exit_code=exit_code,
            steps=tuple(steps),
            error=redact(self.error.message) if self.error else "",
            fix=redact(self.error.fix) if self.error else "",
        )


def _ended(title: str, step: _Open, now: float, outcome: Outcome, text: str) -> StepRecord:
    began = round(step.began, 3)
    return StepRecord(title, began, round(now - step.began, 3), outcome, text, tuple(step.notes))


def directory() -> Path:
    """The directory of the records."""
    return paths.state_dir() / "runs"


def keep(record: RunRecord) -> None:
    """Write a record, and remove the oldest ones. What cannot be written is not kept: a task never fails by it."""
    if not record.steps:
        return
    with suppress(OSError, ThreezoneError):
        write_atomic(directory() / f"{record.id}.json", msgspec.json.encode(record))
        for name in ids()[MOST:]:
            (directory() / f"{name}.json").unlink(missing_ok=True)


def ids() -> list[str]:
    """The ids of the records, the newest first."""
    names = (path.name.removesuffix(".json") for path in directory().glob("*.json"))
    return sorted(filter(_NAME.fullmatch, names), reverse=True)


def load(wanted: str) -> RunRecord:
    """A record by its id, or the newest one for `last`. Raises UsageError for another word, or a broken file."""
    known = ids()
    if wanted == "last" and known:
        wanted = known[0]
    if wanted not in known:
        raise UsageError(f"there is no record of a run {wanted}", fix=LIST)
    try:
        return msgspec.json.decode(read(directory() / f"{wanted}.json"), type=RunRecord)
    except (OSError, msgspec.DecodeError) as error:
        raise UsageError(f"the record of the run {wanted} cannot be read", evidence=str(error), fix=LIST) from None
