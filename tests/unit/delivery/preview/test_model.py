"""Names of previews, their end, and their record in Flux's objects."""

import re
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from threezone.core.errors import UsageError
from threezone.delivery.preview import model
from threezone.delivery.preview.model import Preview, slug
from threezone.delivery.sync import Target

NOW = datetime(2026, 1, 1, tzinfo=UTC)
BRANCHES = st.one_of(st.text(min_size=1, max_size=80), st.from_regex(r"[a-c/_-]{1,40}", fullmatch=True))


@settings(deadline=None)
@given(BRANCHES)
def test_a_slug_is_a_bounded_dns_label(branch: str) -> None:
    assert re.fullmatch(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?", slug(branch))
    assert len(slug(branch)) <= model.SLUG_LENGTH


@settings(deadline=None)
@given(st.sets(BRANCHES, min_size=2, max_size=40))
def test_no_two_branches_share_a_slug(branches: set[str]) -> None:
    every = branches | {slug(branch) for branch in branches}
    assert len({slug(branch) for branch in every}) == len(every)


@pytest.mark.parametrize(
    ("branch", "expected"),
    [("new-colors", "new-colors"), ("feature/Login", r"feature-login-[0-9a-f]{8}"), ("ä", r"branch-[0-9a-f]{8}")],
)
def test_only_what_has_to_be_changed_gets_a_digest(branch: str, expected: str) -> None:
    assert re.fullmatch(expected, slug(branch))


@pytest.mark.parametrize(("text", "seconds"), [("90s", 90), ("30m", 1800), ("8h", 28800), ("2d", 172800)])
def test_a_time_has_a_unit(text: str, seconds: int) -> None:
    assert model.duration(text) == timedelta(seconds=seconds)


@pytest.mark.parametrize("text", ["8", "h", "0h", "-1h", "8 h", "8w", "1h30m", "999999999d"])
def test_another_time_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="expected a number"):
        model.duration(text)


def test_the_record_is_read_as_it_was_written() -> None:
    wanted = Preview(
        "feature/x", "deploy", "a" * 40, {"hello": "preview-x"}, NOW, NOW + timedelta(hours=8),
        message="it has no Kustomization",
    )  # fmt: skip
    written = model.source(wanted, Target(wanted.name), "http://git/lab.git")
    assert model.read([written], []) == (wanted,)
    assert wanted.data(NOW)["expired"] is False
    assert wanted.is_expired(NOW + timedelta(hours=8))
    assert not Preview("x").is_expired(NOW), "it has no end"


def test_a_record_that_somebody_has_changed_is_still_a_preview() -> None:
    written = model.source(Preview("x"), Target("preview-x"), "http://git/lab.git")
    written["metadata"]["annotations"] = {model.NAMESPACES: "[", model.EXPIRES: "soon"}
    (found,) = model.read([written], [])
    assert (found.branch, found.namespaces, found.expires) == ("x", {}, None)
    del written["metadata"]["labels"]
    assert model.read([written], []) == ()


def test_a_namespace_that_would_be_too_long_is_refused() -> None:
    assert model.suffixed("backend", "x") == "backend-x"
    with pytest.raises(UsageError, match="longer than 63"):
        model.suffixed("n" * 60, "long")
