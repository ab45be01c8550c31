"""Waiting for a revision with a login that may only look."""

from types import SimpleNamespace
from typing import Any, cast

import pytest

from threezone.gitops import arrival, delivery, flux
from threezone.gitops.delivery import Target
from threezone.kube.client import refused
from threezone.lab import wait as room
from threezone.lab.session import Session
from threezone.settings import Settings

NO = 'x is forbidden: User "jane" cannot patch resource "gitrepositories" in API group "g" in the namespace "n"'


def test_who_may_not_have_flux_look_now_waits_until_it_looks_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    def request(*_: Any) -> str:
        raise refused(403, NO)

    stamps = []

    def wait_applied(_api: Any, _at: Target, revision: str, stamp: str, _seconds: float) -> str:
        stamps.append(stamp)
        return f"main@sha1:{revision}"

    monkeypatch.setattr(flux, "observe", lambda _: None)
    monkeypatch.setattr(flux, "require", lambda seen: seen)
    monkeypatch.setattr(delivery, "target", lambda _api, name, namespace: Target(name, namespace))
    monkeypatch.setattr(delivery, "request", request)
    monkeypatch.setattr(arrival, "wait_applied", wait_applied)
    lab = SimpleNamespace(settings=Settings(), delivery=Target("lab"))
    made: Any = SimpleNamespace(api=None, lab=lab)
    assert room.wait(cast("Session", made), "0123456") == "main@sha1:0123456"
    assert stamps == [""], "what Flux said of this revision before counts: nothing was asked of it"
