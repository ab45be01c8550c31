"""The way to the lab's Git server during a proof: opened again when it breaks, given up where that cannot help."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from threezone.clients.git.command import Answer
from threezone.clients.git.own import Own
from threezone.clients.kubernetes.api import Json
from threezone.cluster.lab import Lab
from threezone.core.errors import DeliveryError
from threezone.core.settings import Settings
from threezone.delivery import git_server
from threezone.delivery.proof.repository import Remote

RUNNING: Json = {"spec": {"replicas": 1}, "status": {"availableReplicas": 1}}
GOOD, BROKEN = Answer(0, "sha\trefs/heads/main\n", ""), Answer(128, "", "fatal: unable to access: Connection refused")


@pytest.fixture
def forwards() -> list[str]:
    """What became of each port-forward, in order."""
    return []


def remote(
    monkeypatch: pytest.MonkeyPatch, forwards: list[str], answers: list[Answer], deployment: Json | None = RUNNING
) -> Remote:
    @contextmanager
    def forwarded(_: Lab) -> Iterator[Any]:
        forwards.append("opened")
        yield SimpleNamespace(address="127.0.0.1:1", kubectl=SimpleNamespace(alive=True))
        forwards.append("closed")

    monkeypatch.setattr(git_server, "forwarded", forwarded)
    monkeypatch.setattr(git_server, "password", lambda *_: "a-password")
    monkeypatch.setattr(git_server, "find_deployment", lambda _: deployment)
    monkeypatch.setattr(Own, "init", lambda _: None)
    monkeypatch.setattr(Own, "remote_refs", lambda *_: answers.pop(0))
    api = SimpleNamespace(retrying=lambda _: None)
    return Remote(cast("Lab", SimpleNamespace(api=api, key="lab", settings=Settings())), Path("/scratch"), 60.0)


def test_a_forward_that_works_is_kept(monkeypatch: pytest.MonkeyPatch, forwards: list[str]) -> None:
    opened = remote(monkeypatch, forwards, [GOOD, GOOD])
    assert opened.branches() == opened.branches() == ["main"]
    opened.close()
    assert forwards == ["opened", "closed"]


def test_a_forward_that_broke_is_opened_again(monkeypatch: pytest.MonkeyPatch, forwards: list[str]) -> None:
    assert remote(monkeypatch, forwards, [BROKEN, GOOD]).branches() == ["main"]
    assert forwards == ["opened", "closed", "opened"]


def test_a_refusal_is_not_tried_again(monkeypatch: pytest.MonkeyPatch, forwards: list[str]) -> None:
    refused = Answer(1, "", "fatal: Authentication failed")
    with pytest.raises(DeliveryError) as error:
        remote(monkeypatch, forwards, [refused]).branches()
    assert "Authentication failed" in error.value.evidence


@pytest.mark.parametrize("deployment", [None, {"spec": {"replicas": 0}}])
def test_a_server_that_is_not_meant_to_run_is_not_waited_for(
    monkeypatch: pytest.MonkeyPatch, forwards: list[str], deployment: Json | None
) -> None:
    with pytest.raises(DeliveryError, match="does not run"):
        remote(monkeypatch, forwards, [], deployment).branches()
    assert forwards == []
