"""The edge between tasks and everything below: options without surprises, progress, errors as sentences, questions."""

from __future__ import annotations

import functools
import json
import select
import signal
import sys
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any, NoReturn, TypeVar

import invoke

from threezone.core.errors import Declined, ThreezoneError
from threezone.core.files import descriptor_of
from threezone.core.plan import Step, describe
from threezone.tasks.display import display

Body = TypeVar("Body", bound=Callable[..., Any])

_HELP = "--help"
INTERRUPTED = 130  # 128 + SIGINT, as shells report it


def task(**options: Any) -> Callable[[Body], Body]:
    """`invoke.task` for this house: long options only; a failure ends with its sentence and its own exit code."""

    def decorate(body: Body) -> Body:
        @functools.wraps(body)
        def guarded(*args: Any, **kwargs: Any) -> Any:
            # A job that is cancelled (SIGTERM) tidies up as one that is interrupted.
            signal.signal(signal.SIGTERM, signal.default_int_handler)
            try:
                if _HELP in kwargs.values():
                    return _help()
                return _told(body, *args, **kwargs)
            except BrokenPipeError:
                end_unheard()
                raise

        made: Body = invoke.task(auto_shortflags=False, **options)(guarded)
        return made

    return decorate


def _help() -> None:
    """Print the help of the task before `--help`: invoke takes the option for the argument that the task requires."""
    from invoke.program import Program

    Program().run(["invoke", _HELP, sys.argv[sys.argv.index(_HELP) - 1]], exit=False)
    sys.exit(0)


def _told(body: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """What `body` returns, with progress while it runs; a failure ends the program with its sentence."""
    try:
        with display():
            return body(*args, **kwargs)
    except ThreezoneError as error:
        fail(error)
    except KeyboardInterrupt:
        sys.stderr.write("interrupted; run the same command again and it goes on from here\n")
        sys.exit(INTERRUPTED)


def end_unheard() -> None:
    """End by SIGPIPE, as other programs do, when whoever read our output is gone (`… | head -1`); else return.

    The signal's own effect is not restored for the whole run: it would also end us for a connection that is closed.
    """
    outputs = select.poll()
    for descriptor in (1, 2):
        outputs.register(descriptor, 0)
    if any(event & (select.POLLERR | select.POLLHUP) for _, event in outputs.poll(0)):
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)
        signal.raise_signal(signal.SIGPIPE)


def flush() -> None:
    """For `atexit`: write what is left on stdout while a broken pipe can still be told from other trouble."""
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        end_unheard()


def uncaught(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """For `sys.excepthook`: what happens to invoke itself, outside of any task.

    It reads invoke.yaml by itself, so a broken one ends it before a task could say so; and it prints `--list`.
    """
    from threezone.core import settings

    if issubclass(kind, BrokenPipeError):
        end_unheard()
    try:
        settings.load(settings.find_root())
    except ThreezoneError as cause:
        fail(cause)
    sys.__excepthook__(kind, error, trace)


def fail(error: ThreezoneError) -> NoReturn:
    """Print the sentence, its evidence and its fix on stderr and leave with the error's exit code."""
    lines = [f"error: {error.message}"]
    lines.extend(f"  | {line}" for line in error.evidence.splitlines() if line.strip())
    if error.fix:
        lines.append(f"fix: {as_started(error.fix)}")
    sys.stderr.write("\n".join(lines) + "\n")
    sys.exit(error.exit_code)


def as_started(text: str) -> str:
    """Commands as they are typed here: a project that installed threezone as a package has no ./run."""
    from threezone.core.settings import find_root

    return text if (find_root() / "run").is_file() else text.replace("./run invoke", "invoke")


def consent(actions: Sequence[Step], *, yes: bool) -> None:
    """Ask once for everything in the plan that needs it. Raises Declined on no, or when nobody can be asked."""
    asking = [action for action in actions if action.asks]
    if not asking or yes:
        return
    sys.stderr.write(describe(asking) + "\n")
    if not sys.stdin.isatty():
        raise Declined("this needs a yes, and there is no terminal to ask at", fix="run it again with --yes")
    sys.stderr.write("Go on? [y/N] ")
    sys.stderr.flush()
    if sys.stdin.readline().strip().lower() not in ("y", "yes"):
        raise Declined("nothing was changed")


def emit(data: Any) -> None:
    """Print data as JSON on stdout, for programs."""
    sys.stdout.write(json.dumps(data, indent=2, ensure_ascii=False) + "\n")


def say(text: str, *outputs: str) -> None:
    """Print a result on stdout; on stderr when one of the files that the task writes (`outputs`) is stdout itself."""
    onto = sys.stderr if any(descriptor_of(each) == 1 for each in outputs) else sys.stdout
    onto.write(text + "\n")


def table(rows: Sequence[Sequence[str]]) -> str:
    """Rows as aligned columns; the first row is the heading."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = ("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows)
    return "\n".join(line.rstrip() for line in lines)
