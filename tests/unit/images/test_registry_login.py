"""The local registry's login: made once, never shown, written into nobody else's file."""

from __future__ import annotations

import json
from pathlib import Path

import bcrypt
import pytest

from threezone.clients.docker import containers
from threezone.core import redaction
from threezone.core.errors import ToolError, UsageError
from threezone.images import engine_images, registry_login

NAMES = ("localhost:5001", "threezone-registry:5001")
STORE = "/store"


@pytest.fixture
def volume(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """The files of a registry's container, by their paths."""
    files: dict[str, str] = {}

    def put(_: str, texts: dict[str, str], *, directory: str, mode: int) -> None:
        assert mode == 0o600
        files.update({f"{directory}/{path}": text for path, text in texts.items()})

    def read(_: str, path: str) -> bytes | None:
        return files[path].encode() if path in files else None

    monkeypatch.setattr(engine_images, "put_texts", put)
    monkeypatch.setattr(containers, "read", read)
    return files


def test_the_password_is_made_once_and_only_its_hash_is_for_the_registry(volume: dict[str, str]) -> None:
    with pytest.raises(ToolError, match="no password"):
        registry_login.password("it", STORE)
    registry_login.ensure("it", STORE)
    before = dict(volume)
    registry_login.ensure("it", STORE)
    assert volume == before
    password = registry_login.password("it", STORE)
    (setting,) = (
        each for each in registry_login.options(STORE) if each.startswith("--env=REGISTRY_AUTH_HTPASSWD_PATH")
    )
    user, _, hashed = volume[setting.partition("=")[2].partition("=")[2]].strip().partition(":")
    assert user == registry_login.USER
    assert bcrypt.checkpw(password.encode(), hashed.encode())
    assert password not in hashed
    assert len(password) >= 32


@pytest.mark.usefixtures("volume")
def test_it_is_redacted_from_then_on() -> None:
    registry_login.ensure("it", STORE)
    password = registry_login.password("it", STORE)
    shown = redaction.redact(f"docker login -p {password}; Authorization: Basic {registry_login.basic(password)}")
    assert password not in shown
    assert registry_login.basic(password) not in shown


def test_a_password_without_its_hash_is_made_again(volume: dict[str, str]) -> None:
    registry_login.ensure("it", STORE)
    old = registry_login.password("it", STORE)
    del volume[next(path for path in volume if path.endswith("htpasswd"))]
    registry_login.ensure("it", STORE)
    assert registry_login.password("it", STORE) != old


def test_a_file_has_both_names_and_may_be_written_again(tmp_path: Path) -> None:
    file = tmp_path / "login.json"
    for password in ("first", "second"):
        registry_login.write(file, NAMES, password)
        auths = json.loads(file.read_text())["auths"]
        assert auths == {name: {"auth": registry_login.basic(password)} for name in NAMES}
        assert file.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ('{"auths": {"ghcr.io": {"auth": "eA=="}}}', "ghcr.io"),
        ('{"auths": {}, "credsStore": "pass"}', "credsStore"),
        ("hello", "another format"),
        ("[1]", "another format"),
        ('{"auths": 1}', "another format"),
    ],
)
def test_somebody_elses_file_stays(tmp_path: Path, text: str, named: str) -> None:
    file = tmp_path / "config.json"
    file.write_text(text)
    with pytest.raises(UsageError, match=named):
        registry_login.write(file, NAMES, "secret")
    assert file.read_text() == text
