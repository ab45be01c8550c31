"""Waiting for a revision with a login that may only look."""

from types import SimpleNamespace
from typing import Any, cast

import pytest

from threezone.clients.kubernetes.api import refused
from threezone.cluster.lab import Lab
from threezone.core.settings import Settings
from threezone.delivery import sync, wait
from threezone.delivery.sync import Target
from threezone.flux import components

NO = 'x is forbidden: User "jane" cannot patch resource "gitrepositories" in API group "g" in the namespace "n"'


def test_who_may_not_have_flux_look_now_waits_until_it_looks_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    def request(*_: Any) -> str:
        raise refused(403, NO)

    stamps = []

    def wait_delivered(_api: Any, _at: Target, revision: str, stamp: str, _seconds: float) -> str:
        stamps.append(stamp)
        return f"main@sha1:{revision}"

    monkeypatch.setattr(components, "observe", lambda _: None)
    monkeypatch.setattr(components, "require", lambda seen: seen)
    monkeypatch.setattr(sync, "target", lambda _api, name, namespace: Target(name, namespace))
    monkeypatch.setattr(sync, "request", request)
    monkeypatch.setattr(wait, "wait_delivered", wait_delivered)
    made: Any = SimpleNamespace(api=None, settings=Settings(), foreign="")
    assert wait.wait(cast("Lab", made), "0123456") == "main@sha1:0123456"
    assert stamps == [""], "what Flux said of this revision before counts: nothing was asked of it"
