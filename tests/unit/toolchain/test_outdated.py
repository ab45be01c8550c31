"""What is newer than a pin, and which server is asked."""

import pytest

from threezone.toolchain import install, outdated
from threezone.toolchain.outdated import Newer, compare, proxy

LISTED = ["v1.34.9", "v1.35.0", "v1.35.4", "v1.36.3", "v1.37.2", "v1.38.0-rc.1", "v1.38.0-alpha.0", "", "nonsense"]


@pytest.mark.parametrize(
    ("wanted", "patch", "newest"),
    [
        ("1.35.0", "1.35.4", "1.37.2"),
        ("1.35.4", "", "1.37.2"),
        ("1.37.1", "1.37.2", "1.37.2"),
        ("1.37.2", "", ""),
        ("1.99.0", "", ""),
    ],
)
def test_the_newest_patch_and_the_newest_release(wanted: str, patch: str, newest: str) -> None:
    assert compare("kubectl", wanted, LISTED) == Newer("kubectl", wanted, patch, newest)


def test_numbers_are_compared_as_numbers() -> None:
    assert compare("flux", "2.7.9", ["v2.7.10", "v2.10.0", "v2.9.5"]) == Newer("flux", "2.7.9", "2.7.10", "2.10.0")


@pytest.mark.parametrize(
    ("setting", "address"),
    [
        ("", "https://proxy.golang.org"),
        ("https://mirror.example/go/,direct", "https://mirror.example/go"),
        ("direct|http://127.0.0.1:3000", "http://127.0.0.1:3000"),
    ],
)
def test_the_first_proxy_of_the_setting_is_asked(setting: str, address: str) -> None:
    assert proxy(setting) == (address, "")


@pytest.mark.parametrize("setting", ["off", "direct", "file:///mirror", "https://me:secret@mirror.example,direct"])
def test_without_a_proxy_there_is_a_note_and_no_credentials_are_named(
    setting: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GOPROXY", setting)
    found = outdated.ask(["kind", "flux"])
    assert [(each.patch, each.newest) for each in found.values()] == [("", ""), ("", "")]
    assert all("GOPROXY" in each.note and "secret" not in each.note for each in found.values())


def test_every_program_has_a_module() -> None:
    assert set(outdated.MODULES) == {*install.NAMES, *install.EXTRA}
