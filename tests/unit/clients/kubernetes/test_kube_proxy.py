"""What kube-proxy's health says."""

import pytest

from threezone.clients.kubernetes.kube_proxy import pending

# As kube-proxy v1.35.0 answers, with nothing to do and with a change that waits.
NOW = "2026-11-21T13:58:44.896275612Z"
JUST_AFTER = "2026-11-21T13:58:44.896328538Z"
BEFORE = "2026-11-21T13:58:43.9Z"


@pytest.mark.parametrize(
    ("answer", "waits"),
    [
        (f'{{"lastUpdated": "{JUST_AFTER}", "currentTime": "{NOW}", "nodeEligible": true}}', False),
        (f'{{"lastUpdated": "{BEFORE}", "currentTime": "{NOW}", "nodeEligible": true}}', True),
        ("ok", False),
        ("[]", False),
        ("{}", False),
    ],
    ids=["nothing to do", "a change waits", "another program", "a list", "other keys"],
)
def test_a_change_that_waits_is_seen_and_other_programs_are_not_waited_for(answer: str, waits: bool) -> None:
    assert pending(answer) is waits
