"""Scripts by which a shell completes tasks, their options, and the values of options.

Tasks and options are in the script, and values come from a program that is fast: Python, which takes a fifth of a
second to start, is not asked.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from importlib import resources
from typing import ParamSpec, get_args

from invoke import Collection, Task
from invoke.parser import ParserContext
from invoke.util import helpline

from threezone.tasks.options import VALUES

P = ParamSpec("P")
SHELLS = {"bash": "bash.sh", "zsh": "bash.sh", "fish": "fish.fish"}


@dataclass(frozen=True)
class Option:
    """An option, or a positional argument (with an empty flag): its help, and the kind of its values ("": any)."""

    flag: str
    help: str
    values: str
    takes_value: bool


def script(shell: str, program: str, collection: Collection) -> str:
    """The script for a shell of SHELLS, which completes `program`."""
    from jinja2 import Environment, StrictUndefined

    template = resources.files(__package__).joinpath(SHELLS[shell]).read_text(encoding="utf-8")
    environment = Environment(
        autoescape=False,  # noqa: S701 - a script, not a page
        undefined=StrictUndefined,
        block_start_string="#%",
        block_end_string="%#",
        variable_start_string="<<",
        variable_end_string=">>",
        comment_start_string="##{",
        comment_end_string="}##",
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["fish"] = _in_fish
    tasks = {name: (helpline(collection[name]) or "", options(collection[name])) for name in collection.task_names}
    return environment.from_string(template).render(
        dialect=shell, program=program, tasks=dict(sorted(tasks.items())), values=VALUES
    )


def options(task: Task[Callable[P, object]]) -> tuple[Option, ...]:
    """The options of a task as invoke understands them, with the help and the kinds that its function declares."""
    about = {
        parameter.name: [*map(str, get_args(parameter.annotation)[1:]), "", ""]
        for parameter in inspect.signature(task.body).parameters.values()
    }
    parsed = ParserContext(args=task.get_arguments())
    found = []
    for flag, each in parsed.flags.items():
        help_, kind, *_ = about.get(str(each.attr_name or each.name), ["", ""])
        found.append(Option("" if each.positional else flag.lstrip("-"), help_, kind, each.takes_value))
    return (*found, *(Option(flag.lstrip("-"), "", "", takes_value=False) for flag in parsed.inverse_flags))


def _in_fish(text: str) -> str:
    """A text in single quotes, as fish reads it."""
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"
