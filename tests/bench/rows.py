"""One comparison, and all of them as a table."""

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

MINUTES = 60.0


@dataclass(frozen=True)
class Row:
    """One comparison: the seconds of every run of our task and of the plain commands."""

    what: str
    against: str
    ours: tuple[float, ...]
    raw: tuple[float, ...]
    target: float | None = None

    @property
    def ratio(self) -> float:
        """Median against median."""
        return statistics.median(self.ours) / statistics.median(self.raw)

    @property
    def verdict(self) -> str:
        """Whether the target is met."""
        if self.target is None:
            return "for comparison"
        return "met" if self.ratio <= self.target else "missed"

    def data(self) -> dict[str, Any]:
        """The row for programs."""
        return {
            "what": self.what,
            "against": self.against,
            "seconds": [round(seconds, 4) for seconds in self.ours],
            "against_seconds": [round(seconds, 4) for seconds in self.raw],
            "ratio": round(self.ratio, 3),
            "target": self.target,
            "verdict": self.verdict,
        }


def markdown(rows: Sequence[Row]) -> str:
    """The rows as a table for people."""
    lines = ["| what | median | against | median | ratio | target | |", "| --- | --- | --- | --- | --- | --- | --- |"]
    for row in rows:
        ours, raw = (f"{statistics.median(seen):.3f} s of {len(seen)}" for seen in (row.ours, row.raw))
        target = "" if row.target is None else f"≤ {row.target}"
        lines.append(f"| {row.what} | {ours} | {row.against} | {raw} | {row.ratio:.2f} | {target} | {row.verdict} |")
    return "\n".join(lines)


WORSE = 1.15  # times the earlier ratio


def compared(rows: Sequence[Row], earlier: Mapping[str, Any]) -> tuple[str, bool]:
    """The rows beside an earlier measurement, and whether one is worse by more than 15 %. Ratios are compared."""
    before = {(row["what"], row["against"]): row["ratio"] for row in earlier["rows"]}
    lines = [
        f"compared with {str(earlier['commit'])[:7]} ({earlier['machine']})",
        "",
        "| what | before | now | change |",
    ]
    lines.append("| --- | --- | --- | --- |")
    worse = False
    for row in rows:
        if (ratio := before.get((row.what, row.against))) is None:
            lines.append(f"| {row.what} | | {row.ratio:.2f} | new |")
            continue
        change = row.ratio / ratio
        worse = worse or change > WORSE
        lines.append(
            f"| {row.what} | {ratio:.2f} | {row.ratio:.2f} | {change - 1:+.0%}{' WORSE' if change > WORSE else ''} |"
        )
    return "\n".join(lines), worse


def seconds(work: Callable[[], object]) -> float:
    """The seconds that `work` takes."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began
