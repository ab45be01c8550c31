"""From facts to ranked findings: the cause first, and its consequences below it. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from threezone.core.plan import Step
from threezone.doctor.catalogue import BY_ID, ROWS
from threezone.doctor.facts import Facts, Subject
from threezone.doctor.row import ZONES, Evidence, Row, Zone

# The zone in which a probe looks, for the exit code when it gave no answer and nothing else is wrong.
PROBES: dict[str, Zone] = {
    "engine": "engine", "networks": "engine", "host": "engine", "declared": "project", "cluster": "cluster",
    "authority": "cluster", "kubeconfig": "project", "route": "route", "world": "cluster", "here": "project",
}  # fmt: skip


@dataclass(frozen=True)
class Finding:
    """A row that applies, and what it explains."""

    row: Row
    evidence: Evidence
    consequences: tuple[Finding, ...] = ()

    @property
    def fix(self) -> str:
        """The command that fixes it here, else the row's own."""
        return self.evidence.fix or self.row.fix

    @property
    def data(self) -> dict[str, Any]:
        """The finding for programs; its keys are an interface."""
        return {
            "id": self.row.id,
            "zone": self.row.zone,
            "summary": self.row.title,
            "cause": self.row.cause,
            "evidence": list(self.evidence.lines),
            "fix": self.fix,
            "safety": self.row.safety,
            "steps": [step.data for step in self.evidence.steps],
            "source": self.row.source,
            "consequences": [each.data for each in self.consequences],
        }

    def walk(self) -> Iterator[Finding]:
        """The finding and all that it explains."""
        yield self
        for each in self.consequences:
            yield from each.walk()


@dataclass(frozen=True)
class Diagnosis:
    """The causes, most basic first; `risks` stop nothing now. `silent` probes gave no answer, `failed` an error."""

    subject: Subject
    causes: tuple[Finding, ...]
    risks: tuple[Finding, ...] = ()
    silent: tuple[str, ...] = ()
    failed: Mapping[str, str] = field(default_factory=dict)
    seconds: float = 0.0

    @property
    def healthy(self) -> bool:
        """Whether nothing is wrong, and everything was observed."""
        return not (self.causes or self.silent or self.failed)

    @property
    def exit_code(self) -> int:
        """0 when healthy, else that of the first cause's zone, or of the first probe without an answer."""
        if self.causes:
            return ZONES[self.causes[0].row.zone].exit_code
        unknown = (*self.silent, *self.failed)
        return ZONES[PROBES[unknown[0]] if unknown[0] in PROBES else BY_ID[unknown[0]].zone].exit_code if unknown else 0

    @property
    def steps(self) -> tuple[Step, ...]:
        """What `--fix` can do about the causes; what it does not mend is found again afterwards."""
        return tuple(dict.fromkeys(step for cause in self.causes for step in cause.evidence.steps))

    @property
    def data(self) -> dict[str, Any]:
        """The diagnosis for programs; its keys are an interface."""
        return {
            "context": self.subject.context,
            "healthy": self.healthy,
            "exitCode": self.exit_code,
            "causes": [each.data for each in self.causes],
            "risks": [each.data for each in self.risks],
            "notAnswered": list(self.silent),
            "failed": dict(self.failed),
            "seconds": round(self.seconds, 3),
        }


def diagnose(facts: Facts, rows: Sequence[Row] = ROWS) -> Diagnosis:
    """Apply every row to the facts, and fold each that applies below the nearest one that explains it."""
    failed = dict(facts.failed)
    applied = {row.id: (row, evidence) for row in rows if (evidence := _detect(row, facts, failed))}
    order = {row.id: number for number, row in enumerate(rows)}
    below: dict[str, list[str]] = {}
    for id_, (row, _) in applied.items():
        causes = [cause for cause in row.because_of if cause in applied]
        below.setdefault(max(causes, key=order.__getitem__) if causes else "", []).append(id_)

    def finding(id_: str) -> Finding:
        row, evidence = applied[id_]
        return Finding(row, evidence, tuple(map(finding, below.get(id_, ()))))

    roots = [finding(id_) for id_ in below.get("", ())]
    found = tuple(root for root in roots if any(not each.row.risk for each in root.walk()))
    risks = tuple(root for root in roots if root not in found)
    return Diagnosis(facts.subject, found, risks, facts.silent, failed, facts.seconds)


def _detect(row: Row, facts: Facts, failed: dict[str, str]) -> Evidence | None:
    """The evidence of a row. One that fails on objects of a shape that nobody expected is named, and hides no other."""
    if row.detect is None:
        return None
    try:
        return row.detect(facts)
    except Exception as error:  # noqa: BLE001
        failed[row.id] = f"{type(error).__name__} in this row"
        return None


def text(diagnosis: Diagnosis) -> str:
    """The diagnosis for a person."""
    parts = [_cause(number, cause) for number, cause in enumerate(diagnosis.causes, 1)]
    parts += [f"not answered: {', '.join(diagnosis.silent)}"] if diagnosis.silent else []
    parts += [f"could not look at {name}: {why}" for name, why in diagnosis.failed.items()]
    if diagnosis.healthy:
        parts.append(f"{diagnosis.subject.context} is healthy ({diagnosis.seconds:.1f} s)")
    parts += [_risk(risk) for risk in diagnosis.risks]
    return "\n".join(parts)


def _cause(number: int, finding: Finding) -> str:
    lines = [f"{number}. {finding.row.id}: {finding.row.title}"]
    lines += [f"  | {line}" for each in finding.evidence.lines for line in each.splitlines()]
    lines += [f"  {'fix:' if first else '    '} {line}" for first, line in _numbered(finding.fix)]
    if finding.evidence.steps:
        asks = any(step.asks for step in finding.evidence.steps)
        lines.append(f"  ./run invoke doctor --fix{' asks, and' if asks else ''} does it")
    lines.append(f"  ./run invoke doctor --explain {finding.row.id}")
    if finding.consequences:
        lines.append("  because of it:")
        lines += [line for each in finding.consequences for line in _consequence(each, "  ")]
    return "\n".join(lines)


def _numbered(text_: str) -> list[tuple[bool, str]]:
    return [(not index, line) for index, line in enumerate(text_.splitlines())]


def _consequence(finding: Finding, indent: str) -> list[str]:
    lines = [f"{indent}- {finding.row.id}: {finding.row.title}"]
    lines += [f"{indent}    | {line}" for line in finding.evidence.lines[:1]]
    return lines + [line for each in finding.consequences for line in _consequence(each, f"{indent}  ")]


def _risk(finding: Finding) -> str:
    return f"notice: {finding.row.id}: {finding.row.title} ({'; '.join(finding.evidence.lines)}); {finding.fix}"
