"""Probes run at once; one that hangs is named and delays nothing."""

import threading
import time

from threezone.core.errors import ClusterError
from threezone.doctor.observe import gather


def test_a_probe_that_hangs_is_named_and_delays_nothing() -> None:
    never = threading.Event()
    began = time.monotonic()
    results, silent, failed = gather({"slow": never.wait, "quick": lambda: 7}, 0.2)
    assert time.monotonic() - began < 1
    assert (results, silent, failed) == ({"quick": 7}, ("slow",), {})
    never.set()


def test_probes_run_at_the_same_time() -> None:
    meet = threading.Barrier(3, timeout=5)
    results, silent, failed = gather({str(number): meet.wait for number in range(3)}, 5)
    assert sorted(results.values()) == [0, 1, 2]
    assert (silent, failed) == ((), {})


def test_a_probe_that_fails_does_not_hide_the_others() -> None:
    def wrong() -> None:
        raise ZeroDivisionError("by zero")

    def refused() -> None:
        raise ClusterError("refused")

    results, silent, failed = gather({"wrong": wrong, "refused": refused, "right": lambda: 1}, 5)
    assert (results, silent) == ({"right": 1}, ())
    assert failed == {"wrong": "ZeroDivisionError: by zero", "refused": "refused"}
