"""The record of a run as a page, drawn as the page of a proof; and as a trace for Perfetto."""

from __future__ import annotations

import json
from pathlib import Path

from threezone.core.process import paste
from threezone.core.run_record import RunRecord, StepRecord
from threezone.extras.report import page

TEMPLATE = Path(__file__).with_name("run.html")
STYLE = Path(__file__).with_name("run.css")
SHORTEST = 0.002  # of the whole: a bar that the eye can find
MICROSECONDS = 1_000_000


def draw(run: RunRecord) -> str:
    """The page of a run."""
    end = max([run.seconds, *(step.began + step.seconds for step in run.steps), 0.001])
    style = page.STYLE.read_text(encoding="utf-8") + STYLE.read_text(encoding="utf-8")
    command = paste(run.words)
    return page.draw(TEMPLATE, style, run.outcome, run=run, command=command, shortest=end * SHORTEST, **page.scale(end))


def trace(run: RunRecord) -> str:
    """The run in the Trace Event Format, which Perfetto and chrome://tracing read. Each lane has nested steps."""
    events = [
        {
            "name": step.title,
            "ph": "X",
            "ts": round(step.began * MICROSECONDS),
            "dur": round(step.seconds * MICROSECONDS),
            "pid": 1,
            "tid": lane,
            "args": {"outcome": step.outcome, "text": step.text},
        }
        for step, lane in lanes(run)
    ]
    names = [{"name": "process_name", "ph": "M", "pid": 1, "args": {"name": run.task}}]
    return json.dumps({"traceEvents": [*names, *events], "displayTimeUnit": "ms"}, indent=1) + "\n"


def lanes(run: RunRecord) -> list[tuple[StepRecord, int]]:
    """Each step with the first lane in which it is within the last open step, or begins after all have ended. Pure."""
    open_ends: list[list[float]] = []  # in each lane, of the steps that have not ended, the innermost last
    placed = []
    for step in sorted(run.steps, key=lambda step: (step.began, -step.seconds)):
        end = step.began + step.seconds
        for ends in open_ends:
            while ends and ends[-1] <= step.began:
                ends.pop()
        lane = next((lane for lane, ends in enumerate(open_ends) if not ends or end <= ends[-1]), len(open_ends))
        if lane == len(open_ends):
            open_ends.append([])
        open_ends[lane].append(end)
        placed.append((step, lane + 1))
    return placed
