"""Fake programs: they replace the runner below the typed clients, whose argument lists and parsing stay real."""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from threezone.core import process
from threezone.core.errors import CommandFailed
from threezone.core.process import Completed

Answer = str | Completed | Exception


def failed(stderr: str, exit_code: int = 1) -> Completed:
    """The answer of a program that did not do what it was asked to."""
    return Completed((), exit_code, "", stderr, 0.1)


def _fake(
    program: str, monkeypatch: pytest.MonkeyPatch, answer: Callable[[list[str]], Answer], stdin: list[str] | None = None
) -> list[list[str]]:
    """Answer for `program`, given its arguments; other programs go to the runner of before.

    Returns the arguments of every command so far. `stdin` collects what each was given.
    """
    commands: list[list[str]] = []
    others = process.run

    def run(argv: Sequence[str | Path], *, check: bool = True, **options: Any) -> Completed:
        if Path(argv[0]).name != program:
            return others(argv, check=check, **options)
        commands.append([str(part) for part in argv[1:]])
        if stdin is not None:
            stdin.append(options.get("stdin") or "")
        given = answer(commands[-1])
        if isinstance(given, Exception):
            raise given
        done = Completed((), 0, given, "", 0.1) if isinstance(given, str) else given
        if check and done.exit_code:
            raise CommandFailed([program, *commands[-1]], done.exit_code, done.stderr)
        return done

    monkeypatch.setattr(process, "run", run)
    return commands


fake_docker = partial(_fake, "docker")
fake_kind = partial(_fake, "kind")
fake_kubectl = partial(_fake, "kubectl")
fake_flux = partial(_fake, "flux")
