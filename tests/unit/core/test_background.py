"""Functions beside one another: order, number at a time, and failures."""

from __future__ import annotations

import threading
from functools import partial

import pytest

from threezone.core.background import Background, run_all
from threezone.core.errors import ToolError


def fail() -> None:
    raise ToolError("no mirror")


def test_a_failure_in_the_background_is_raised_where_it_is_asked_for() -> None:
    running = Background(fail)
    with pytest.raises(ToolError, match="no mirror"):
        running.join()
    with pytest.raises(ToolError, match="no mirror"):
        running.check()


def test_two_workers_run_two_functions_at_a_time_and_start_them_in_order() -> None:
    meeting = threading.Barrier(2, timeout=30)
    started: list[int] = []

    def work(number: int) -> None:
        started.append(number)
        meeting.wait()  # breaks, unless another function runs beside this one

    run_all([partial(work, number) for number in range(4)], 2)
    assert sorted(started[:2]) == [0, 1]
    assert sorted(started) == [0, 1, 2, 3]


def test_one_worker_is_this_thread() -> None:
    threads: list[threading.Thread] = []
    run_all([lambda: threads.append(threading.current_thread())] * 2, 1)
    assert threads == [threading.main_thread()] * 2
    run_all([], 2)


@pytest.mark.parametrize("workers", [1, 2])
def test_after_a_failure_nothing_more_is_started(workers: int) -> None:
    failed, started = threading.Event(), []

    def break_down() -> None:
        failed.set()
        fail()

    def wait() -> None:
        failed.wait(30)

    with pytest.raises(ToolError, match="no mirror"):
        run_all([*[wait] * (workers - 1), break_down, *[lambda: started.append(1)] * 50], workers)
    assert len(started) <= workers  # one may have begun before the failure was noticed


def test_a_failed_check_ends_the_work_before_the_next_function() -> None:
    done: list[str] = []
    running = threading.Event()

    def check() -> None:
        if running.is_set():
            fail()

    with pytest.raises(ToolError, match="no mirror"):
        run_all([running.set, lambda: done.append("next")], 1, check)
    assert done == []
