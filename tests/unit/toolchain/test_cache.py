"""The content cache: all or nothing, one builder at a time, whoever dies when."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

import threezone
from threezone.core import events
from threezone.toolchain import cache

SOURCES = str(Path(threezone.__file__).parents[1])
# Builds an entry of two files with a pause between them, and tells when it is in the middle.
SLOW_BUILDER = """
import sys, time
from pathlib import Path
from threezone.toolchain import cache

def build(into: Path) -> None:
    (into / "first").write_text("1")
    print("middle", flush=True)
    time.sleep(float(sys.argv[1]))
    (into / "second").write_text("2")

print(cache.entry("kind", "key", build), flush=True)
"""


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of the test's own, for child processes too."""
    monkeypatch.setenv("THREEZONE_CACHE", str(tmp_path))
    return tmp_path


def fill(into: Path) -> None:
    """A build that succeeds."""
    (into / "whole").write_text("yes")


def start(pause: float) -> subprocess.Popen[str]:
    """A builder in a process of its own, which has reached the middle of its work."""
    argv = [sys.executable, "-c", SLOW_BUILDER, str(pause)]
    builder = subprocess.Popen(argv, stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": SOURCES})
    assert builder.stdout is not None
    assert builder.stdout.readline() == "middle\n"
    return builder


def test_an_entry_is_built_once_and_found_afterwards() -> None:
    built: list[Path] = []

    def build(into: Path) -> None:
        built.append(into)
        fill(into)

    assert cache.lookup("kind", "key") is None
    first = cache.entry("kind", "key", build)
    assert cache.entry("kind", "key", build) == first == cache.lookup("kind", "key")
    assert len(built) == 1
    assert (first / "whole").read_text() == "yes"


def test_a_failed_build_leaves_nothing(home: Path) -> None:
    def fail(into: Path) -> None:
        fill(into)
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        cache.entry("kind", "key", fail)
    assert cache.lookup("kind", "key") is None
    assert list((home / "kind").iterdir()) == []
    assert (cache.entry("kind", "key", fill) / "whole").is_file()


@pytest.mark.real_program
def test_a_killed_build_is_not_taken_for_whole_and_is_cleared_away(home: Path) -> None:
    with start(60) as builder:
        builder.kill()
    assert [path.name.startswith(".key.") for path in (home / "kind").iterdir()] == [True]
    assert cache.lookup("kind", "key") is None
    entry = cache.entry("kind", "key", fill)
    assert list((home / "kind").iterdir()) == [entry]
    assert [path.name for path in entry.iterdir()] == ["whole"]


@pytest.mark.real_program
def test_two_at_once_share_one_build_and_the_second_says_that_it_waits() -> None:
    seen: list[str] = []

    def never(into: Path) -> None:
        raise AssertionError(f"built a second time, in {into}")

    with start(1.0) as builder, events.listening(lambda event: seen.append(event.text)):
        entry = cache.entry("kind", "key", never)
    assert {path.name for path in entry.iterdir()} == {"first", "second"}
    assert any("another threezone is working on kind-key" in text for text in seen)
    assert builder.returncode == 0


@pytest.mark.real_program
def test_a_waiting_builder_takes_over_from_a_killed_one() -> None:
    with start(60) as builder:
        began = time.monotonic()
        threading.Timer(0.5, builder.kill).start()
        entry = cache.entry("kind", "key", fill)
    assert (entry / "whole").is_file()
    assert time.monotonic() - began >= 0.4  # it had to wait for the kill


def test_keys_differ_with_any_part_and_are_the_same_for_the_same_data() -> None:
    assert cache.key("name", 1, ["a", "b"]) == cache.key("name", 1, ("a", "b"))
    assert cache.key("name", 1, ["a", "b"]) != cache.key("name", 1, ["a", "c"])
    assert cache.key("name", "1") != cache.key("name", 1)
    assert cache.key("name").startswith("name-")
