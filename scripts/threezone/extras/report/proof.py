"""A proof's data as `gitops.prove` writes it, read and checked for the page and the JUnit file."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated, Any

import msgspec

from threezone.core.errors import UsageError

PHASES = ("create", "update", "drift", "broken", "repair", "suspend", "destroy")
STAGES = ("push", "fetch", "apply", "settle")
NO_REASON = "No reason was recorded."
MAKE_ONE = "./run invoke gitops.prove --json >proof.json makes one"
YEAR = 365 * 24 * 3600

# The characters that XML 1.0 cannot hold (https://www.w3.org/TR/xml/#charsets): controls, surrogates, non-characters.
_FORBIDDEN = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")

Second = Annotated[float, msgspec.Meta(ge=0, le=YEAR)]  # finite, too


class Seconds(msgspec.Struct, frozen=True, kw_only=True):
    """The duration of each stage; None for a stage that was not reached. `total` ends with the phase."""

    push: Second | None = None
    fetch: Second | None = None
    apply: Second | None = None
    settle: Second | None = None
    total: Second | None = None

    def stages(self) -> tuple[tuple[str, float | None], ...]:
        """Each stage's name and its seconds, in order of time."""
        return tuple((name, getattr(self, name)) for name in STAGES)


class Phase(msgspec.Struct, frozen=True, kw_only=True):
    """One phase. `ok` is None when it was not run; `began` is in seconds since the proof's start."""

    name: str
    ok: bool | None
    title: str = ""
    revision: str | None = None
    began: Second | None = None
    seconds: Seconds = msgspec.field(default_factory=Seconds)
    objects: tuple[str, ...] = ()
    commands: tuple[str, ...] = ()
    why: str | None = None
    evidence: str | None = None

    @property
    def state(self) -> str:
        """The outcome in a word or two."""
        return {True: "passed", False: "failed", None: "not run"}[self.ok]

    @property
    def commit(self) -> str:
        """The short commit of its revision: `main@sha1:0123456789…` is 0123456."""
        return (self.revision or "").rpartition(":")[2][:7]

    @property
    def lasted(self) -> float:
        """Its seconds from the commit on, without stages that it did not reach."""
        known = sum(seconds or 0.0 for _, seconds in self.seconds.stages())
        return known if self.seconds.total is None else self.seconds.total


class Proof(msgspec.Struct, frozen=True, kw_only=True):
    """One run of the proof. Unknown fields are ignored: a newer version may have more."""

    id: str
    ok: bool
    context: str
    cluster: str
    namespace: str
    repository: str
    branch: str
    started: datetime
    seconds: Second
    versions: dict[str, str | None]
    managers: tuple[str, ...]
    phases: tuple[Phase, ...]

    def __post_init__(self) -> None:
        names = [phase.name for phase in self.phases]
        if len(set(names)) != len(names):
            raise ValueError("a phase occurs twice")

    @property
    def all_phases(self) -> tuple[Phase, ...]:
        """The phases in their order; one that is missing in the data was not run."""
        ran = {phase.name: phase for phase in self.phases}
        names = [*PHASES, *(name for name in ran if name not in PHASES)]
        return tuple(ran.get(name) or Phase(name=name, ok=None) for name in names)

    @property
    def failed(self) -> tuple[str, ...]:
        """The names of the phases that failed."""
        return tuple(phase.name for phase in self.phases if phase.ok is False)

    @property
    def when(self) -> datetime:
        """The start in UTC; a time without a zone counts as UTC."""
        return self.started.astimezone(UTC) if self.started.tzinfo else self.started.replace(tzinfo=UTC)


def clean(text: str) -> str:
    """The text as XML can hold it; other characters become U+FFFD."""
    return _FORBIDDEN.sub("\ufffd", text)


def read(data: Mapping[str, Any]) -> Proof:
    """The proof in `data` (decoded JSON). Raises UsageError with the wrong field."""
    try:
        return msgspec.convert(data, Proof)
    except msgspec.ValidationError as error:
        problem, _, place = str(error).partition(" - at `$")
        where = place.rstrip("`").removeprefix(".")
        why = f"{where}: {problem}" if where else problem
        raise UsageError(f"this is not a report of a proof: {why}", fix=MAKE_ONE) from None
