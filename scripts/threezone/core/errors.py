"""The exceptions. Each has a message, evidence and a fix for the user."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path
from traceback import FrameSummary, extract_tb

_PACKAGE = f"{Path(__file__).parents[1]}/"


class ThreezoneError(Exception):
    """A failure, as the user reads it.

    `message` names the cause in one sentence, `evidence` has verbatim lines, `fix` says what to do, preferably as a
    command to paste. `exit_code` is the task's exit code (see docs/exit-codes.md).
    """

    exit_code = 1

    def __init__(self, message: str, *, evidence: str = "", fix: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.evidence = evidence
        self.fix = fix
        if evidence:
            self.add_note(evidence)  # for tracebacks and the reports of failed tests

    def __str__(self) -> str:
        return self.message


def ours(error: BaseException) -> FrameSummary | None:
    """The last line of this package that an exception has passed."""
    return next(
        (frame for frame in reversed(extract_tb(error.__traceback__)) if frame.filename.startswith(_PACKAGE)), None
    )


class UnknownError(ThreezoneError):
    """A fault of ours, or of a library: an exception that nobody expected. Its own text may hold secrets."""

    def __init__(self, error: BaseException) -> None:
        place = ours(error)
        where = f" in {place.filename.removeprefix(_PACKAGE)}:{place.lineno} ({place.name})" if place else ""
        super().__init__(
            f"threezone has failed by a fault of its own: {type(error).__name__}{where}",
            fix="run it again with --debug before the task (./run invoke --debug TASK) for the whole traceback",
        )


class UsageError(ThreezoneError):
    """The request is wrong: a bad argument, a broken file, an unknown name."""

    exit_code = 2


class EngineError(ThreezoneError):
    """Zone 2: the container engine is missing, stopped, forbidden, too old or broken."""

    exit_code = 3


class ClusterError(ThreezoneError):
    """Zone 3: the cluster is missing, not ready, or not ours."""

    exit_code = 4


class RouteError(ThreezoneError):
    """There is no proved route from here to the API server."""

    exit_code = 5


class DeliveryError(ThreezoneError):
    """Flux or the Git source did not deliver the commit."""

    exit_code = 6


class ToolError(ThreezoneError):
    """A program or image could not be fetched, built or verified."""

    exit_code = 7


class Declined(ThreezoneError):
    """A question was answered with no, or could not be asked without a terminal."""

    exit_code = 8


class CommandFailed(ThreezoneError):
    """A program ended with an unexpected exit code, or was ended at its deadline (`program_exit_code` is None).

    `argv` and `tail`, its last lines, are redacted.
    """

    def __init__(
        self, argv: Sequence[str], program_exit_code: int | None, tail: str, *, seconds: float = 0.0, hint: str = ""
    ) -> None:
        self.argv = tuple(argv)
        self.program_exit_code = program_exit_code
        self.tail = tail
        command = shlex.join(self.argv)
        if program_exit_code is None:
            message = f"timed out after {seconds:.0f} s: {command}"
        else:
            message = f"exit code {program_exit_code}: {command}"
        super().__init__(message, evidence=tail, fix=hint)
