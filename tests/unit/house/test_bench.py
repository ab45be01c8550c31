"""The comparison of two measurements."""

import pytest
from tests.bench.rows import Row, compared


@pytest.mark.parametrize(("before", "worse"), [(1.0, True), (1.8, False), (1.74, False), (1.7, True), (3.0, False)])
def test_a_ratio_that_is_more_than_15_percent_worse_fails(before: float, worse: bool) -> None:
    now = Row("up", "the plain commands", (2.0, 2.0, 9.0), (1.0, 1.0, 1.0))
    row = {"what": "up", "against": "the plain commands", "ratio": before}
    text, failed = compared([now], {"commit": "abc", "machine": "m", "rows": [row]})
    assert failed is worse
    assert ("WORSE" in text) is worse


def test_a_row_that_was_not_measured_before_is_new() -> None:
    text, failed = compared([Row("up", "x", (1.0,), (1.0,))], {"commit": "abc", "machine": "m", "rows": []})
    assert (failed, "new" in text) == (False, True)
