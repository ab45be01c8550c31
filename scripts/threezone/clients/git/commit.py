"""Commit one file in the user's repository, as the user would do it by hand."""

from __future__ import annotations

import os
from pathlib import Path

from threezone.clients.git.command import LONG, NO_MAINTENANCE, Answer, environment, run
from threezone.core import process

IDENTITY = ("GIT_AUTHOR_NAME", "GIT_AUTHOR_EMAIL", "GIT_COMMITTER_NAME", "GIT_COMMITTER_EMAIL")


def command(path: str, message: str) -> str:
    """The commit as a command to paste."""
    return process.paste(["git", *_arguments(path, message)])


def _arguments(path: str, message: str) -> tuple[str, ...]:
    return ("commit", "--quiet", "--only", "--message", message, "--", f":(literal){path}")


def commit_file(top: Path, path: str, message: str) -> Answer:
    """Commit the file `path` of the work tree `top`, and nothing else. Raises nothing but CommandFailed, in time.

    What is staged or changed in other files stays so: `git commit --only` makes the commit from an index of its own.
    The user's identity, hooks and signature count. Nobody can be asked: a hook or a signature that needs a terminal
    fails.
    """
    env = environment(own=False) | {name: os.environ[name] for name in IDENTITY if name in os.environ}
    del env["LC_ALL"]  # hooks get the user's language
    return run(top, NO_MAINTENANCE, _arguments(path, message), env | _without_launcher(), seconds=LONG)


def _without_launcher() -> dict[str, str | None]:
    """The changes that undo what the launcher adds to the environment: hooks have Python programs of their own."""
    ours = str(Path(__file__).parents[3])
    paths = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    if paths[0] != ours:
        return {}
    programs = os.path.join(os.environ.get("VIRTUAL_ENV", ""), "bin")  # noqa: PTH118 - as the launcher writes it
    path = [each for each in os.environ.get("PATH", "").split(os.pathsep) if each != programs]
    return {"PYTHONPATH": os.pathsep.join(paths[1:]) or None, "VIRTUAL_ENV": None, "PATH": os.pathsep.join(path)}
