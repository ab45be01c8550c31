"""The signals that end us: SIGTERM and SIGHUP clean up like Ctrl-C."""

from __future__ import annotations

import os
import signal
import stat
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import NoReturn

ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def end_on_signals() -> None:
    """Let SIGTERM (a job is cancelled) and SIGHUP (the terminal is closed) clean up like Ctrl-C.

    An ignored SIGHUP stays ignored: `nohup` wants that.
    """
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        signal.signal(signal.SIGHUP, _hang_up)


def _hang_up(_number: int, _frame: FrameType | None) -> NoReturn:
    """Write to /dev/null from now on where a terminal is gone: an error there would interrupt the clean-up."""
    nothing = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
    for descriptor in (0, 1, 2):
        with suppress(OSError):
            if stat.S_ISCHR(os.fstat(descriptor).st_mode) and not os.isatty(descriptor):
                os.dup2(nothing, descriptor)
    raise KeyboardInterrupt


@contextmanager
def delayed_signals() -> Iterator[None]:
    """Delay the signals that end us until the end of the block: a program that is starting cannot be ended yet."""
    if threading.current_thread() is not threading.main_thread():  # Python handles signals only there
        yield
        return
    arrived: list[int] = []
    handlers = {number: signal.getsignal(number) for number in ENDING}
    before = {number: handler for number, handler in handlers.items() if handler not in (signal.SIG_IGN, None)}
    for number in before:
        signal.signal(number, lambda number, _: arrived.append(number))
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    if arrived:
        signal.raise_signal(arrived[0])
