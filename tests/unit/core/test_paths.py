import stat
from pathlib import Path

import pytest

from threezone.core import paths


@pytest.fixture(autouse=True)
def _no_choice(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("THREEZONE_CACHE", "THREEZONE_STATE", "XDG_CACHE_HOME", "XDG_STATE_HOME"):
        monkeypatch.delenv(variable, raising=False)


def test_the_places_are_below_home() -> None:
    assert paths.cache_dir() == Path.home() / ".cache" / "threezone"
    assert paths.state_dir() == Path.home() / ".local" / "state" / "threezone"


def test_xdg_moves_them_and_its_relative_paths_are_ignored(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("XDG_STATE_HOME", "relative")
    assert paths.cache_dir() == tmp_path / "threezone"
    assert paths.state_dir() == Path.home() / ".local" / "state" / "threezone"


def test_our_own_variables_come_first(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    monkeypatch.setenv("THREEZONE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("THREEZONE_STATE", str(tmp_path / "state"))
    assert paths.cache_dir() == tmp_path / "cache"
    assert paths.state_dir() == tmp_path / "state"


def test_the_state_is_for_its_owner_only() -> None:
    assert stat.S_IMODE(paths.state_dir().stat().st_mode) == 0o700


def test_without_home_the_password_database_knows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HOME")
    assert paths.cache_dir().is_absolute()
    assert not paths.cache_dir().is_relative_to("/tmp")  # noqa: S108 - the point is that it is not there
