"""How a task runs: its options, progress, questions, results and errors."""

from __future__ import annotations

import functools
import json
import logging
import os
import select
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from traceback import walk_tb
from types import TracebackType
from typing import TYPE_CHECKING, NoReturn, Protocol, cast

import invoke

from threezone.core import events, run_record
from threezone.core.errors import Declined, ThreezoneError, UnknownError, UsageError, ours
from threezone.core.files import descriptor_of
from threezone.core.plan import Plan, Step, StepKind, describe
from threezone.core.signals import end_on_signals
from threezone.tasks.display import JSON_ESCAPES, as_typed, display, write
from threezone.tasks.options import P, declaration

if TYPE_CHECKING:
    from threezone.cluster.lab import Lab

_HELP = "--help"
INTERRUPTED = 130  # 128 + SIGINT, as shells report it
_OF_ROOT = ("lab", "doctor", "init")  # modules whose tasks have no namespace
_pages: list[Path] = []


class _Body(Protocol):
    """A task's function; invoke's parser gives it what its signature names."""

    __name__: str

    def __call__(self, **options: object) -> None: ...


def task(body: Callable[P, None]) -> invoke.Task[Callable[P, None]]:
    """Make an invoke task of a function, whose parameters are the task's options (tasks/options.py).

    Options have long names only. A failure ends the program with its message and its own exit code. A trailing
    underscore of the function's name is no part of the task's.
    """
    options = declaration(body)

    @functools.wraps(body)
    def guarded(_context: invoke.Context, **given: object) -> None:
        end_on_signals()
        os.umask(os.umask(0o077) | 0o002)  # whatever the caller's is: others must not write to what is cached
        try:
            if _HELP in given.values():
                _help()
            _run(cast("_Body", body), options.arguments(given))
        except BrokenPipeError:
            end_by_sigpipe()
            raise

    vars(guarded)["__signature__"] = options.signature
    guarded.__doc__ = as_typed(body.__doc__ or "")  # invoke itself prints it, and the help of options
    explained = {name: as_typed(text) for name, text in options.help.items()}
    decorate = invoke.task(
        name=body.__name__.rstrip("_"), auto_shortflags=False, help=explained, iterable=options.repeatable
    )
    return cast("invoke.Task[Callable[P, None]]", decorate(guarded))


def _help() -> NoReturn:
    """Print the help of the task before `--help`, which invoke has taken for the task's required argument."""
    invoke.Program().run(["invoke", _HELP, sys.argv[sys.argv.index(_HELP) - 1]], exit=False)
    sys.exit(0)


def _run(body: _Body, arguments: Mapping[str, object]) -> None:
    """Run a task's function and keep a record of the run; a failure ends the program with its message."""
    recorder = run_record.Recorder(_name(body), (Path(sys.argv[0]).name, *sys.argv[1:]))
    code = 1
    try:
        with events.listening(recorder):
            _show(body, arguments, recorder)
        code = 0
    except SystemExit as ended:
        code = ended.code if isinstance(ended.code, int) else 1
        raise
    finally:
        record = recorder.record(code)
        run_record.keep(record)
        for file in _pages:
            _draw(record, file)


def _name(body: _Body) -> str:
    """The name by which a task is called."""
    space, name = body.__module__.rpartition(".")[2].partition("_")[0], body.__name__.rstrip("_")
    return name if space in _OF_ROOT else f"{space}.{name}"


def report_to(file: str) -> None:
    """Write a page of this run to a file when it has ended, however it ends; "" means no page."""
    if file:
        _pages.append(Path(file))


def _draw(record: run_record.RunRecord, file: Path) -> None:
    from threezone.extras.report import files, run_page

    try:
        files.save(file, run_page.draw(record))
    except ThreezoneError as error:  # the task has ended: its own outcome counts
        write(sys.stderr, f"warning: no report: {error.message}")


def _show(body: _Body, arguments: Mapping[str, object], recorder: run_record.Recorder) -> None:
    """Run a task's function and show its progress."""
    try:
        with display():
            body(**arguments)
    except ThreezoneError as error:
        recorder.error = error
        fail(error)
    except KeyboardInterrupt:
        sys.stderr.write("interrupted; run the same command again to continue\n")
        sys.exit(INTERRUPTED)
    except BrokenPipeError:
        raise
    except Exception as error:
        if is_debugging():
            raise
        fail(UnknownError(error))


def is_debugging() -> bool:
    """Whether invoke's own --debug was given: it logs everything."""
    return logging.getLogger().isEnabledFor(logging.DEBUG)


def end_by_sigpipe() -> None:
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
    """For `atexit`: write the rest of stdout while a broken pipe can still be told from other errors."""
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        end_by_sigpipe()


def uncaught(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """For `sys.excepthook`: errors of invoke itself, outside of any task.

    invoke reads invoke.yaml before any task runs: for a broken file the cause is printed, not a traceback.
    """
    from threezone.core import settings

    if issubclass(kind, BrokenPipeError):
        end_by_sigpipe()
    try:
        settings.load(settings.find_root())
    except ThreezoneError as cause:
        fail(cause)
    if wrong := _wrong_value(error, trace):
        fail(wrong)
    if not is_debugging() and issubclass(kind, Exception) and ours(error):
        fail(UnknownError(error))
    sys.__excepthook__(kind, error, trace)


def _wrong_value(error: BaseException, trace: TracebackType | None) -> UsageError | None:
    """What was wrong if invoke's parser could not convert the value of an option: it lets Python's error pass."""
    last = [frame for frame, _ in walk_tb(trace)][-1:]
    option = last[0].f_locals.get("self") if last else None
    if not isinstance(error, ValueError) or not isinstance(option, invoke.Argument):
        return None
    wanted = "a whole number" if option.kind is int else f"a value of the type {option.kind.__name__}"
    return UsageError(f"--{option.name} needs {wanted}", evidence=f"given: {last[0].f_locals.get('value')!r}")


def fail(error: ThreezoneError) -> NoReturn:
    """Print the message, its evidence and its fix on stderr and exit with the error's code."""
    lines = [f"error: {error.message}"]
    lines.extend(f"  | {line}" for line in error.evidence.splitlines() if line.strip())
    if error.fix:
        lines.append(f"fix: {error.fix}")
    if known := known_fault(error):
        lines.append(f"doctor: {known} (./run invoke doctor --explain {known})")
    write(sys.stderr, "\n".join(lines))
    sys.exit(error.exit_code)


def known_fault(error: ThreezoneError) -> str:
    """The id of the row in doctor's catalogue whose words are in an error, "" for none."""
    if isinstance(error, Declined | UnknownError):
        return ""
    from threezone.doctor.catalogue import recognise  # only now: it takes longer than a short task

    row = recognise(f"{error.message}\n{error.evidence}")
    return row.id if row else ""


def agreed(plan: Plan | Sequence[Step], *, yes: bool, dry_run: bool = False) -> bool:
    """Whether to carry out a plan: print it and say no with `dry_run`, else ask for what needs consent.

    Raises Declined on no, or when nobody can be asked.
    """
    steps, notices = (plan.steps, plan.notices) if isinstance(plan, Plan) else (plan, ())
    if dry_run:
        say("\n".join((describe(steps), *notices)))
        return False
    consent(steps, yes=yes)
    return True


def consent(steps: Sequence[Step], *, yes: bool) -> None:
    """Ask once for everything in the plan that needs it. Raises Declined on no, or when nobody can be asked."""
    asking = [step for step in steps if step.asks]
    if not asking or yes:
        return
    write(sys.stderr, describe(asking))
    if not sys.stdin.isatty():
        raise Declined("this needs a yes, and there is no terminal to ask at", fix="run it again with --yes")
    write(sys.stderr, "Continue? [y/N] ", end="")
    if sys.stdin.readline().strip().lower() not in ("y", "yes"):
        raise Declined("nothing was changed")


def ask(lab: Lab, change: str, *, yes: bool) -> None:
    """Ask before a cluster that is not ours is changed, unless an earlier yes has created our namespace there."""
    from threezone.delivery import git_server

    if lab.foreign and not git_server.is_installed(lab.api):
        sentence = f"change the cluster of the context {lab.foreign}: {change}"
        consent([Step(StepKind.CHANGE_CLUSTER, sentence, asks=True)], yes=yes)


def emit(data: object) -> None:
    """Print data as JSON on stdout, for programs."""
    is_utf8 = "utf" in (sys.stdout.encoding or "").lower()  # elsewhere JSON's own escapes are used
    write(sys.stdout, json.dumps(data, indent=2, ensure_ascii=not is_utf8).translate(JSON_ESCAPES))


def present(data: object, text: str, *, as_json: bool) -> None:
    """Print a result: as JSON, or as text for people."""
    if as_json:
        emit(data)
    elif text:
        say(text)


def say(text: str, *outputs: str) -> None:
    """Print a result on stdout; on stderr when one of the files that the task writes (`outputs`) is stdout itself."""
    write(sys.stderr if any(descriptor_of(path) == 1 for path in outputs) else sys.stdout, text)


def yes_no(value: object) -> str:
    """A yes-or-no cell of a table."""
    return "yes" if value else "no"
