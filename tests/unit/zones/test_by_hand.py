"""An address that is given by hand: what is one, and what is not."""

import pytest

from threezone.core.errors import UsageError
from threezone.tasks.options import given


@pytest.mark.parametrize(
    ("server", "name", "expected"),
    [
        ("", "", None),
        ("https://host.docker.internal:6443", "localhost", ("https://host.docker.internal:6443", "localhost")),
        ("https://[fd00::1]:6443/", "", ("https://[fd00::1]:6443", "")),
        ("https://lab.example/clusters/one", "", ("https://lab.example/clusters/one", "")),
    ],
)
def test_an_https_address_is_taken_as_it_is(server: str, name: str, expected: tuple[str, str] | None) -> None:
    assert given(server, name) == expected


@pytest.mark.parametrize(
    "server",
    [
        "http://127.0.0.1:6443",
        "127.0.0.1:6443",
        "https://",
        "https://:6443",
        "https://host:port",
        "https://[::1:6443",
        "https://me:secret@host:6443",
        "https://host:6443?x=1",
    ],
)
def test_anything_else_is_refused(server: str) -> None:
    with pytest.raises(UsageError, match="--server needs an https address"):
        given(server, "")


def test_a_tls_name_alone_is_no_address() -> None:
    with pytest.raises(UsageError, match="needs --server"):
        given("", "localhost")
