"""What a person sees on a terminal: tasks run in a pseudo-terminal, and pyte draws its screen."""

import fcntl
import os
import pty
import select
import struct
import sys
import termios
import time
from collections.abc import Mapping
from pathlib import Path

import pyte
import pytest

ROOT = Path(__file__).parents[3]
TASK = """
import sys, time
from threezone.core.events import note, step
from threezone.tasks.display import display, table
from threezone.tasks.runtime import consent, say
from threezone.core.plan import Step, StepKind
with display():
    with step("wait until what was removed is gone") as running:
        running.say("waiting for namespaces shop to be gone")
        time.sleep(0.3)
    say(table([["PHASE", "HOLDS", "WHY"], ["create", "yes", WORDS], ["destroy", "no", "short"]]))
    PAUSE
    with step("look again"):
        time.sleep(0.3)
    say("the end")
"""
WORDS = "the objects of the commit are there and ready, and nothing else has changed in the namespaces of the lab"


def screen(columns: int, task: str, resize: int = 0, env: Mapping[str, str] | None = None) -> pyte.Screen:
    """The screen after the task; it is resized when the task prints `resize now`."""
    shown = pyte.Screen(columns, 40)
    stream = pyte.ByteStream(shown)
    pid, terminal = pty.fork()
    if pid == 0:
        environment = {key: value for key, value in os.environ.items() if key not in ("COLUMNS", "LINES", "NO_COLOR")}
        environment |= {"PYTHONPATH": str(ROOT / "scripts"), "TERM": "xterm-256color", "LANG": "C.UTF-8", **(env or {})}
        time.sleep(0.1)  # until the size is set
        os.execve(sys.executable, [sys.executable, "-c", task], environment)  # noqa: S606
    size(terminal, columns)
    seen = b""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline and select.select([terminal], [], [], 30)[0]:
        try:
            data = os.read(terminal, 65536)
        except OSError:  # Linux: the other end is closed
            break
        if not data:
            break
        seen += data
        stream.feed(data)
        if resize and b"resize now" in seen:
            size(terminal, resize)
            shown.resize(40, resize)
            resize = 0
    os.close(terminal)
    _, status = os.waitpid(pid, 0)
    assert os.waitstatus_to_exitcode(status) == 0, seen.decode(errors="replace")
    return shown


def size(terminal: int, columns: int) -> None:
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))


def lines(shown: pyte.Screen) -> list[str]:
    return [line.rstrip() for line in shown.display if line.strip()]


@pytest.mark.parametrize("columns", [60, 100, 200])
def test_results_stand_on_lines_of_their_own_and_tables_fit(columns: int) -> None:
    shown = lines(screen(columns, TASK.replace("WORDS", repr(WORDS)).replace("PAUSE", "pass")))
    heading = next(number for number, line in enumerate(shown) if line.startswith("PHASE "))
    assert shown[heading - 1].startswith("✓ wait until what was removed is gone"), "the live line is erased"
    assert [line for line in shown if "waiting for" in line or "⠋" in line] == []
    assert shown[-1] == "the end"
    assert shown[-2].startswith("✓ look again")
    column = shown[heading].index("WHY")
    end = next(number for number, line in enumerate(shown) if line.startswith("destroy"))
    words = " ".join(line[column:].strip() for line in shown[heading + 1 : end])
    assert words == WORDS, "broken between words, nothing is lost"
    assert max(map(len, shown)) <= columns


def test_a_table_fits_after_a_resize() -> None:
    pause = "say('resize now'); time.sleep(0.5); say(table([['A', 'B'], ['x', WORDS]]))".replace("WORDS", repr(WORDS))
    shown = lines(screen(100, TASK.replace("PAUSE", pause).replace("WORDS", repr(WORDS)), resize=60))
    second = shown[shown.index("resize now") + 1 :]
    assert second[0].startswith("A ")
    assert " ".join(line[3:].strip() for line in second[1:] if not line.startswith(("✓", "the end"))) == WORDS


def test_a_question_stands_on_a_line_of_its_own() -> None:
    question = "import io; sys.stdin = type('In', (io.StringIO,), {'isatty': lambda s: True})('y\\n'); "
    question += "consent([Step(StepKind.DELETE_CLUSTER, 'delete the cluster lab', asks=True)], yes=False); "
    question += "sys.stderr.write('\\n')"  # which the person's own Enter writes
    shown = lines(screen(100, TASK.replace("PAUSE", question).replace("WORDS", "'x'")))
    assert any(line.startswith("Continue? [y/N]") for line in shown)


@pytest.mark.parametrize(("env", "colored"), [({}, True), ({"NO_COLOR": "1"}, False), ({"TERM": "dumb"}, False)])
def test_states_have_colors_where_the_terminal_has(env: dict[str, str], colored: bool) -> None:
    shown = screen(100, TASK.replace("WORDS", "'x'").replace("PAUSE", "pass"), env=env)
    row = next(number for number, line in enumerate(shown.display) if line.startswith("create"))
    column = shown.display[row].index("yes")
    assert (shown.buffer[row][column].fg == "green") is colored
    assert (shown.buffer[row + 1][column].fg == "red") is colored


REDRAWN = """
import time
from threezone.tasks.display import redrawn
print("what was there before")
with redrawn() as show:
    for number in range(3):
        show(f"state {number}" + chr(10) + "a line" * (3 - number))
        time.sleep(0.1)
"""


@pytest.mark.parametrize("columns", [60, 100, 200])
def test_a_live_view_stays_in_one_place_and_gives_the_screen_back(columns: int) -> None:
    shown = lines(screen(columns, REDRAWN))
    assert [line for line in shown if line.startswith("state")][-1:] == ["state 2"]
    assert shown[-1] == "a line"
    assert "state 0" not in shown
