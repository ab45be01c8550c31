"""Races between writers of a kubeconfig, at full size. They need no engine."""

from pathlib import Path

import pytest
from tests.integration.kubeconfig.racing import race

from threezone.toolchain.install import ensure

pytestmark = pytest.mark.timeout(3600)


def test_concurrent_writers_lose_nothing_in_two_hundred_rounds(tmp_path: Path) -> None:
    kubectl = ensure(("kubectl",))["kubectl"].path
    outcome = race(tmp_path, kubectl, ours=8, theirs=4, rounds=200, pause=1.5)
    print(outcome)  # noqa: T201 - `pytest -s` shows the figures
    assert outcome.missing == ()
    assert outcome.entries == 12 * 200
    assert outcome.reads > 200
    assert outcome.refused > 0, "no kubectl ever met a lock of ours: that was no race"
    assert outcome.left_behind == ()
