"""What a check finds: findings, and what it could not look at."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

from threezone.core.errors import DeliveryError

Severity = Literal["error", "warning"]


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong: with which object (`Kind namespace/name`), in which file and line (0: not known).

    `rule` is a stable id, see docs/check.md. An error keeps the commit from being pushed.
    """

    severity: Severity
    rule: str
    object: str
    message: str
    fix: str = ""
    file: str = ""
    line: int = 0

    @property
    def place(self) -> str:
        """Its file and line, or as much of that as is known."""
        return f"{self.file}:{self.line}" if self.line else self.file


@dataclass(frozen=True)
class Report:
    """The result of a check: what was looked at, the findings, errors first, and what was not checked and why."""

    source: str
    kustomizations: int
    objects: int
    findings: tuple[Finding, ...] = ()
    unchecked: tuple[str, ...] = ()

    @property
    def errors(self) -> tuple[Finding, ...]:
        """The findings that keep the commit from being pushed."""
        return tuple(finding for finding in self.findings if finding.severity == "error")

    def data(self) -> dict[str, Any]:
        """The report for programs. Its keys are stable."""
        return {
            "ok": not self.errors,
            "source": self.source,
            "kustomizations": self.kustomizations,
            "objects": self.objects,
            "findings": [asdict(finding) for finding in self.findings],
            "unchecked": list(self.unchecked),
        }

    def text(self) -> str:
        """The report for people."""
        lines = []
        for finding in self.findings:
            where = ", ".join(filter(None, (finding.object, finding.place)))
            lines.append(f"{finding.severity}: {where}: {finding.message} [{finding.rule}]")
            lines += [f"  fix: {finding.fix}"] if finding.fix else []
        lines += [f"not checked: {words}" for words in self.unchecked]
        figures = f"{_count(self.objects, 'object')} of {_count(self.kustomizations, 'Kustomization')}"
        errors = len(self.errors)
        found = f"{_count(errors, 'error')}, {_count(len(self.findings) - errors, 'warning')}"
        return "\n".join([*lines, f"{self.source}: {figures}: {found}"])

    def require(self, fix: str) -> None:
        """Raise DeliveryError when there is an error."""
        if errors := self.errors:
            first = f"{errors[0].object}: {errors[0].message}".removeprefix(": ")
            more = f", and {_count(len(errors) - 1, 'more error')}" if errors[1:] else ""
            raise DeliveryError(f"{self.source} cannot be delivered: {first}{more}", fix=fix)


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def ordered(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """The findings without repetitions, errors first."""
    return tuple(sorted(dict.fromkeys(findings), key=lambda finding: (finding.severity != "error", finding.file)))


def weaker(finding: Finding) -> Finding:
    """The same finding as a warning."""
    return replace(finding, severity="warning")
