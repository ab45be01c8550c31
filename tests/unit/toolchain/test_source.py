"""Programs from Go modules: what is fetched while another one is compiled."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path

import pytest

from threezone.core.errors import ToolError
from threezone.toolchain import golang, install, source

VERSIONS = {"kind": "0.31.0", "kubectl": "1.35.0", "flux": "2.7.3"}


@pytest.fixture
def fetched(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The programs whose modules are fetched; those of kubectl cannot be."""
    names: list[str] = []

    def fetch(programs: Sequence[golang.Program]) -> None:
        names.extend(f"{each.name} {each.version}" for each in programs)
        if programs[0].name == "kubectl":
            raise ToolError("no module proxy")

    monkeypatch.setattr(golang, "fetch", fetch)
    return names


def test_a_failure_is_left_to_the_build_of_the_same_program(fetched: list[str]) -> None:
    source.fetch(VERSIONS).join()
    assert fetched == ["kind v0.31.0", "kubectl v1.35.0", "flux v2.7.3"]


def test_what_the_later_programs_need_is_fetched_before_the_first_is_built(
    fetched: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    order: list[str] = []
    real = source.fetch

    def fetch(versions: dict[str, str]) -> None:
        real(versions).join()

    def make(name: str, *_: object) -> install.Tool:
        order.append(f"{name} after {len(fetched)}")
        return install.Tool(name, "", Path(), "source")

    monkeypatch.setattr(source, "fetch", fetch)
    monkeypatch.setattr(install, "find", lambda *_: None)
    monkeypatch.setattr(install, "_make", make)
    install.ensure(("kind", "kubectl", "flux"), "source")
    assert fetched == ["kubectl v1.35.0", "flux v2.7.3"]
    assert order[0] == "kind after 2"


def test_the_first_program_is_built_alone_and_the_others_beside_one_another(monkeypatch: pytest.MonkeyPatch) -> None:
    meeting = threading.Barrier(2, timeout=30)
    built: list[str] = []

    def make(name: str, *_: object) -> install.Tool:
        if name != "kind":
            meeting.wait()  # breaks, unless another program is built beside this one
        built.append(name)
        return install.Tool(name, "", Path(), "source")

    monkeypatch.setattr(golang, "fetch", lambda _: None)
    monkeypatch.setattr(install, "find", lambda *_: None)
    monkeypatch.setattr(install, "_make", make)
    assert list(install.ensure(("kind", "kubectl", "flux"), "source")) == ["kind", "kubectl", "flux"]
    assert built[0] == "kind"
