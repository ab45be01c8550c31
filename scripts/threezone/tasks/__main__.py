"""The program behind `./run TASK …`: invoke with the tasks of the project, and a useful answer to an unknown word."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable

from invoke import Program
from invoke.exceptions import ParseError

from threezone import __version__
from threezone.core.errors import UsageError
from threezone.tasks.runtime import fail

_MOST = 3  # suggestions


class Launcher(Program):
    """invoke, with exit code 2 and the nearest names for a word that is no task."""

    def parse_tasks(self) -> None:
        """Parse the tasks and their options. Ends the program for an unknown word."""
        try:
            super().parse_tasks()
        except ParseError as error:
            unknown = re.fullmatch(r"No idea what '([^-].*)' is!", str(error))
            if unknown is None:
                raise
            fix = " or ".join(f"./run {each}" for each in near(unknown[1], self.collection.task_names))
            fail(
                UsageError(f"there is no task {unknown[1]!r}, and no such program in threezone's environment", fix=fix)
            )


def near(word: str, names: Iterable[str]) -> list[str]:
    """What was probably meant instead of `word`, as arguments of ./run; the list of all tasks when nothing is near."""
    by_last_part = {name.rpartition(".")[2]: name for name in sorted(names, key=lambda name: -name.count("."))}
    if any(name.startswith(f"{word}.") for name in names):
        return [f"--list {word}"]
    same_last_part = [name for name in names if name.endswith(f".{word}")]
    similar = difflib.get_close_matches(word, [*names, *by_last_part], _MOST)
    return same_last_part or list(dict.fromkeys(by_last_part.get(each, each) for each in similar)) or ["--list"]


if __name__ == "__main__":
    Launcher(name="threezone", binary="./run", binary_names=["run"], version=__version__).run()
