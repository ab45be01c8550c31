"""A release after each change: when files have settled, but not for the file that a release changes."""

import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from threezone.core.errors import ToolError
from threezone.delivery.release import watch as changes
from threezone.delivery.release.release import Released

DONE = Released("app:1", "k.yaml", "abc", "main@sha1:abc", committed=True, delivered=True, seconds=1.0)


class Ended(BaseException):
    """Ends a watch, which has no end."""


def watched(directory: Path, steps: list[Callable[[], Released]], monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The lines of a watch whose releases are `steps`; the one after the last ends it."""
    monkeypatch.setattr(changes, "POLL_SECONDS", 0.02)
    lines: list[str] = []

    def release() -> Released:
        if not steps:
            raise Ended
        return steps.pop(0)()

    with pytest.raises(Ended):
        changes.watch(release, directory, directory / "k.yaml", lines.append)
    return lines


def test_each_change_is_released_and_a_failure_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = tmp_path / "file"
    source.write_text("0")

    def change(text: str) -> None:
        threading.Timer(0.1, source.write_text, [text]).start()

    def good() -> Released:
        change("good")
        return DONE

    def bad() -> Released:
        (tmp_path / "k.yaml").write_text("ours")
        change("after a failure")
        raise ToolError("the image app could not be built", evidence="line 3", fix="correct it")

    lines = watched(tmp_path, [good, bad], monkeypatch)
    assert lines[0].startswith("app:1 runs")
    assert lines[1].splitlines() == ["the image app could not be built", "  | line 3", "  fix: correct it"]


def test_gits_files_and_our_file_are_no_change(tmp_path: Path) -> None:
    (tmp_path / ".git").mkdir()
    (tmp_path / "src").mkdir()
    (tmp_path / "src/a").write_text("a")
    before = changes.stamp(tmp_path, tmp_path / "k.yaml")
    for name in (".git/index", "k.yaml"):
        (tmp_path / name).write_text("changed")
    assert changes.stamp(tmp_path, tmp_path / "k.yaml") == before
    (tmp_path / "src/b").write_text("b")
    assert changes.stamp(tmp_path, tmp_path / "k.yaml") != before
