import pytest

from threezone.core.errors import ClusterError, CommandFailed, DeliveryError, RouteError, ThreezoneError, UsageError
from threezone.delivery.repository import Rejected
from threezone.delivery.watch import Attempt, _passing

SHA = "0123456789" * 4


@pytest.mark.parametrize(
    ("failure", "pushed", "again"),
    [
        (ClusterError("the API server does not answer"), False, True),
        (ClusterError("the API server does not answer"), True, True),
        (RouteError("no way"), False, True),
        (DeliveryError("the Git server does not serve"), False, True),
        (CommandFailed(["git", "push"], None, ""), False, True),
        (Rejected("it does not follow"), False, False),
        (DeliveryError("Flux could not apply it"), True, False),
        (UsageError("the commit does not contain the path"), False, False),
    ],
)
def test_a_commit_is_tried_again_after_failures_that_pass(failure: ThreezoneError, pushed: bool, again: bool) -> None:
    assert _passing(failure, pushed=pushed) is again


def test_a_line_has_the_times_or_the_failure_with_its_fix() -> None:
    assert Attempt(SHA, 0.42, 3.14).line == "0123456 applied in 3.1 s (push 0.4 s)"
    failure = DeliveryError("Flux could not apply it", evidence="kustomize build failed\n\n", fix="correct it")
    assert Attempt(SHA, 0.4, 3.1, failure).line.splitlines() == [
        "0123456 was not delivered: Flux could not apply it",
        "  | kustomize build failed",
        "  fix: correct it",
    ]
    assert Attempt(SHA, failure=failure, again=True).line.startswith("0123456 waits: ")
