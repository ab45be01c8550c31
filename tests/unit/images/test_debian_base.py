"""The mirror of the Debian base, from what apt lists."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from threezone.core.errors import ToolError
from threezone.core.process import Completed
from threezone.images import debian_base

PUBLIC = "http://deb.example.com/debian"
PRIVATE = "https://me:hunter2@mirror.example.com/debian"


@pytest.fixture
def listed(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Has apt list these addresses for the machine's release."""

    def of(*addresses: str) -> None:
        lines = [f"bookworm\t{address}\tmain\tDebian" for address in addresses]
        lines.append("other\thttp://other.example.com/debian\tmain\tDebian")
        done = Completed((), 0, "\n".join(lines), "", 0.0)
        monkeypatch.setattr("threezone.core.process.run", lambda *_, **__: done)
        monkeypatch.setattr(debian_base, "_release", lambda: ("debian", "bookworm"))

    return of


def test_the_mirror_is_that_of_the_machines_release(listed: Callable[..., None]) -> None:
    listed(PUBLIC)
    made = debian_base.mirror()
    assert (made.address, made.suite, made.components) == (PUBLIC, "bookworm", ("main",))
    assert made.keyring == Path("/usr/share/keyrings/debian-archive-keyring.gpg")


def test_a_mirror_with_a_password_is_passed_over(listed: Callable[..., None]) -> None:
    listed(PRIVATE, PUBLIC)
    assert debian_base.mirror().address == PUBLIC


@pytest.mark.parametrize("address", [PRIVATE, "https://token@mirror.example.com/debian"])
def test_a_password_never_reaches_arguments_or_images(listed: Callable[..., None], address: str) -> None:
    listed(address)
    with pytest.raises(ToolError) as refused:
        debian_base.mirror()
    assert "hunter2" not in f"{refused.value.message} {refused.value.evidence} {refused.value.fix}"
    assert "--channel release" in refused.value.fix
