"""A row of the catalogue: a fault by its symptom, cause, evidence and fix."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from threezone.core.errors import (
    ClusterError,
    DeliveryError,
    EngineError,
    RouteError,
    ThreezoneError,
    ToolError,
    UsageError,
)
from threezone.core.plan import Step
from threezone.doctor.facts import Facts

Zone = Literal["engine", "route", "cluster", "delivery", "tools", "project"]
# In the order in which one needs the other, with the error whose exit code a fault there has.
ZONES: dict[Zone, type[ThreezoneError]] = {
    "project": UsageError,
    "tools": ToolError,
    "engine": EngineError,
    "cluster": ClusterError,
    "route": RouteError,
    "delivery": DeliveryError,
}
# safe: --fix does it; asks: --fix does it after a yes; by hand: it is only printed.
Safety = Literal["safe", "asks", "by hand"]


@dataclass(frozen=True)
class Evidence:
    """Why a row applies: lines with what was observed; the command that fixes it here; the steps of `--fix`."""

    lines: tuple[str, ...]
    fix: str = ""
    steps: tuple[Step, ...] = ()


@dataclass(frozen=True)
class Row:
    """A known fault.

    `symptom` has the words of other programs; `seen` says how it is detected, "" for a row that only its `words` (a
    pattern) recognise in a pasted message. `because_of` are the rows that explain this one where both apply. A `risk`
    does not stop a lab by itself; it counts as a cause only where it explains a fault.
    """

    id: str
    zone: Zone
    title: str
    symptom: str
    cause: str
    fix: str
    source: str
    seen: str = ""
    safety: Safety = "by hand"
    words: str = ""
    because_of: tuple[str, ...] = ()
    risk: bool = False
    detect: Callable[[Facts], Evidence | None] | None = None


def when(applies: object, *lines: str, fix: str = "", steps: tuple[Step, ...] = ()) -> Evidence | None:
    """The evidence, if the row applies."""
    return Evidence(lines, fix, steps) if applies else None
