import contextvars
import io
import re
import sys
import threading
import time
from collections.abc import Iterator

import pytest

from threezone.core import events
from threezone.core.events import Event
from threezone.tasks.display import display


@pytest.fixture
def seen() -> Iterator[list[Event]]:
    collected: list[Event] = []
    with events.listening(collected.append):
        yield collected


def told(seen: list[Event]) -> list[tuple[str, str, str]]:
    return [(event.kind, event.step, event.text) for event in seen]


def test_a_step_tells_its_beginning_its_progress_and_its_result(seen: list[Event]) -> None:
    with events.step("boil water") as step:
        step.say("60 °C")
        events.note("80 °C")
        step.result = "100 °C"
    assert told(seen) == [
        ("start", "boil water", ""),
        ("note", "boil water", "60 °C"),
        ("note", "boil water", "80 °C"),
        ("done", "boil water", "100 °C"),
    ]
    ages = [event.seconds for event in seen]
    assert ages == sorted(ages)
    assert [event.elapsed for event in seen] == sorted(event.elapsed for event in seen)


def test_a_failure_is_told_by_its_first_line_and_goes_on_upwards(seen: list[Event]) -> None:
    with pytest.raises(ValueError, match="too hot"), events.step("boil water"):
        raise ValueError("too hot\nand more")
    assert told(seen)[-1] == ("failed", "boil water", "too hot")


def test_an_interrupt_is_told_as_one(seen: list[Event]) -> None:
    with pytest.raises(KeyboardInterrupt), events.step("boil water"):
        raise KeyboardInterrupt
    assert told(seen)[-1] == ("failed", "boil water", "interrupted")


def test_notes_belong_to_the_innermost_step(seen: list[Event]) -> None:
    with events.step("outer"):
        with events.step("inner"):
            events.note("in")
        events.note("out")
    events.note("nowhere")
    notes = [(event.step, event.text) for event in seen if event.kind == "note"]
    assert notes == [("inner", "in"), ("outer", "out"), ("", "nowhere")]


def test_threads_tell_their_own_steps(seen: list[Event]) -> None:
    together = threading.Barrier(2)

    def work(name: str) -> None:
        with events.step(name):
            together.wait(10)  # both are inside their steps now
            events.note(f"from {name}")

    threads = [threading.Thread(target=work, args=(name,)) for name in ("one", "two")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    notes = {(event.step, event.text) for event in seen if event.kind == "note"}
    assert notes == {("one", "from one"), ("two", "from two")}


def test_a_copied_context_carries_the_step_into_a_thread(seen: list[Event]) -> None:
    with events.step("outer"):
        context = contextvars.copy_context()
        thread = threading.Thread(target=context.run, args=(events.note, "from within"))
        thread.start()
        thread.join()
    assert ("note", "outer", "from within") in told(seen)


def test_plain_lines_carry_elapsed_time() -> None:
    out = io.StringIO()

    def work() -> None:
        with events.step("outer"):
            with events.step("inner") as inner:
                inner.say("half")
                inner.result = "whole"
            raise RuntimeError("broken")

    with display(out), pytest.raises(RuntimeError, match="broken"):
        work()
    lines = [re.sub(r" *\d+\.\d", "0.0", line) for line in out.getvalue().splitlines()]
    assert lines == [
        "[0.0s] … outer",
        "[0.0s] … inner",
        "[0.0s]     half",
        "[0.0s] ✓ inner: whole  (0.0 s)",
        "[0.0s] ✗ outer: broken  (0.0 s)",
    ]
    assert "\x1b" not in out.getvalue()


def test_after_the_display_nobody_listens() -> None:
    out = io.StringIO()
    with display(out):
        pass
    with events.step("unheard"):
        pass
    assert out.getvalue() == ""


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_terminal_gets_the_live_display_with_the_finished_steps_left_behind() -> None:
    out = Terminal()
    with display(out), events.step("outer [not markup]"), events.step("inner") as inner:
        inner.say("[half]")
        inner.result = "whole"
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", out.getvalue())
    assert "✓ inner: whole" in text
    assert "✓ outer [not markup]" in text


def test_on_a_terminal_what_is_said_is_shown_to_the_letter(monkeypatch: pytest.MonkeyPatch) -> None:
    out = Terminal()
    monkeypatch.setattr("sys.stderr", out)
    with display(), events.step("ask") as running:
        running.say("[/closing] words")  # as markup this would be an error
        sys.stderr.write("Go on? [y/N] \n")
        deadline = time.monotonic() + 30  # it draws ten times a second, when it is given the time
        while "[/closing] words" not in out.getvalue() and time.monotonic() < deadline:
            time.sleep(0.02)
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", out.getvalue())
    assert "[/closing] words" in text
    assert "Go on? [y/N]" in text
