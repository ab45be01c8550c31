"""Run functions beside one another in daemon threads: Ctrl-C does not wait for them."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress

from threezone.core.errors import ThreezoneError


class Background:
    """A function that runs in a daemon thread. `check` and `join` raise its failure."""

    def __init__(self, function: Callable[[], object]) -> None:
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, args=(function,), daemon=True)
        self._thread.start()

    def _run(self, function: Callable[[], object]) -> None:
        try:
            function()
        except BaseException as error:  # noqa: BLE001 - raised again in the thread that asks
            self._error = error

    def check(self) -> None:
        """Raise the failure, if there is one yet."""
        if self._error is not None:
            raise self._error

    def join(self) -> None:
        """Wait for the end, and raise the failure."""
        self._thread.join()
        self.check()


def attempt_all(functions: Sequence[Callable[[], object]]) -> Background:
    """Run all functions in the background, one after another. Expected failures are ignored, and stop none of them."""

    def attempt() -> None:
        for function in functions:
            with suppress(ThreezoneError, OSError):
                function()

    return Background(attempt)


def run_all(functions: Sequence[Callable[[], object]], workers: int, check: Callable[[], None] = lambda: None) -> None:
    """Run all functions, started in their order, `workers` at a time; one of the workers is this thread.

    After a failure, or when `check` raises, no further function is started, and the failure is raised.
    """
    waiting = deque(functions)

    def work() -> None:
        try:
            while waiting:
                check()
                waiting.popleft()()
        except BaseException:
            waiting.clear()
            raise

    others = [Background(work) for _ in range(min(workers, len(functions)) - 1)]
    work()
    for each in others:
        each.join()
