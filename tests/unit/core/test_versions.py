"""One parser for all versions."""

import pytest

from threezone.core.versions import Version, dotted, parse, parse_release


@pytest.mark.parametrize(
    ("text", "version"),
    [
        ("v1.35.0", (1, 35, 0)),
        ("1.36", (1, 36, 0)),
        ("1.27rc1", (1, 27, 0)),
        ("v1.35.0-rc.1", (1, 35, 0)),
        ("20.10.24+dfsg1", (20, 10, 24)),
        ("26.1.5-ce", (26, 1, 5)),
    ],
)
def test_the_numbers_at_the_start_are_the_version(text: str, version: tuple[int, ...]) -> None:
    assert parse(text) == version
    assert parse(text)
    assert dotted(parse(text)[:2]) == dotted(parse(text).series)


@pytest.mark.parametrize("text", ["", "latest", "devel", "library-import", "v", "1"])
def test_a_text_without_a_version_gives_a_false_one_older_than_any(text: str) -> None:
    assert not parse(text)
    assert parse(text) == Version() < parse("0.1")


def test_versions_compare_as_numbers() -> None:
    assert parse("v2.10.0") > parse("v2.9.9") > parse("v2.9") > (2, 8)
    assert parse("1.36.3").series == (1, 36)


@pytest.mark.parametrize(
    ("text", "is_release"),
    [("1.35.0", True), ("1.35.0+k3s1", True), ("1.35.0-rc.1", False), ("1.35", False), ("", False)],
)
def test_a_release_has_three_numbers_and_nothing_before_the_build(text: str, is_release: bool) -> None:
    assert bool(parse_release(text)) is is_release
