"""What will be done, as data: every plan is a tuple of actions that status, --dry-run, the question and apply share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Action:
    """One change. `key` tells apply what to do, `sentence` tells the user, `command` is what runs, to paste.

    `asks` marks what needs consent: it destroys something of the user's, or changes the machine outside our own cache.
    """

    key: str
    sentence: str
    command: str = ""
    asks: bool = False


def describe(actions: Sequence[Action]) -> str:
    """The plan as text: a line per action, its command below it."""
    lines = []
    for action in actions:
        lines.append(("! " if action.asks else "+ ") + action.sentence)
        lines.extend(f"    $ {line}" for line in action.command.splitlines())
    return "\n".join(lines) or "nothing to do"
