from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from threezone.cluster.lab import Lab
from threezone.core.errors import ClusterError, CommandFailed, DeliveryError, RouteError, ThreezoneError, UsageError
from threezone.core.settings import Settings
from threezone.delivery import push, repository, watch
from threezone.delivery.branch import Tip
from threezone.delivery.final import Overtaken
from threezone.delivery.repository import Commit, Rejected
from threezone.delivery.watch import Attempt, _passing
from threezone.flux import components

SHA, FIX = "0123456789" * 4, "f" * 40


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


class Tips:
    """A branch that gets its fix while the first commit is delivered."""

    def other(self, than: str, seconds: float) -> str:
        assert seconds == 0, "nobody waits for a commit while one is delivered"
        return FIX if than == SHA else than


def test_the_newest_commit_wins(monkeypatch: pytest.MonkeyPatch) -> None:
    def reconcile(_: object, commit: Commit, newest: Callable[[], str]) -> str:
        if newer := newest():
            raise Overtaken(commit.sha, newer)
        return commit.sha

    monkeypatch.setattr(repository, "head", lambda _root, path, sha: Commit(sha, path))
    monkeypatch.setattr(components, "observe", lambda _: None)
    monkeypatch.setattr(components, "require", lambda seen: seen)
    monkeypatch.setattr(push, "push", lambda *_, **__: None)
    monkeypatch.setattr(push, "reconcile", reconcile)
    lab, tip = cast("Lab", SimpleNamespace(api=None, root=Path(), settings=Settings())), cast("Tip", Tips())
    overtaken = watch.attempt(lab, tip, SHA)
    assert isinstance(overtaken.failure, Overtaken)
    assert not overtaken.again, "it is not tried again"
    assert watch.attempt(lab, tip, FIX).failure is None
