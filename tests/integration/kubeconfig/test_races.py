"""Writers at once, in the size that every run can afford; the full size is in tests/campaign."""

from pathlib import Path

from tests.integration.kubeconfig.racing import race


def test_beside_kubectl_s_writers_no_entry_is_lost_nothing_is_torn_and_no_lock_is_left(
    tmp_path: Path, kubectl: Path
) -> None:
    outcome = race(tmp_path, kubectl, ours=4, theirs=2, rounds=10, pause=0.3)
    assert outcome.missing == ()
    assert outcome.entries == 60
    assert outcome.reads > 10
    assert outcome.left_behind == ()


def test_writers_of_ours_that_never_pause_lose_nothing(tmp_path: Path, kubectl: Path) -> None:
    outcome = race(tmp_path, kubectl, ours=6, theirs=0, rounds=10, pause=0)
    assert outcome.missing == ()
    assert outcome.entries == 60
    assert outcome.left_behind == ()
