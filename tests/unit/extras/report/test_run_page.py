"""The page and the trace of a run."""

import json
import re
from html.parser import HTMLParser

from hypothesis import given
from hypothesis import strategies as st

from threezone.core.run_record import Note, RunRecord, StepRecord
from threezone.extras.report import run_page


def record(*steps: StepRecord, exit_code: int = 0, error: str = "") -> RunRecord:
    return RunRecord(
        "20260101-000000-1-up", "up", ("./run", "up", "--yes"), "2026-01-01T00:00:00Z", 10.0, exit_code, steps, error
    )


NESTED = (
    StepRecord("outer", 0.0, 8.0, "failed", "it <broke>", (Note(1.0, "a & b"),)),
    StepRecord("inner", 1, 2, "passed"),
)


class Page(HTMLParser):
    """The figures, and every attribute that would load something."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.figures: dict[str, float] = {}
        self.loads: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        if tag == "data":
            self.figures[str(values["id"])] = float(values["value"] or "nan")
        self.loads += [str(values[name]) for name in ("src", "href") if values.get(name)]


def test_the_page_has_every_step_and_loads_nothing() -> None:
    html = run_page.draw(record(*NESTED, exit_code=6, error="it <broke>"))
    page = Page(html)
    assert page.figures == {"figure-seconds": 10.0, "figure-1": 8.0, "figure-2": 2.0}
    assert all(each.startswith("data:") for each in page.loads)
    assert "<script" not in html
    assert "it &lt;broke&gt;" in html
    assert "a &amp; b" in html
    assert "<broke>" not in html


def test_a_run_of_a_moment_can_be_drawn() -> None:
    moment = RunRecord("i", "up", (), "2026-01-01T00:00:00Z", 0.0, 0, (StepRecord("s", 0.0, 0.0, "passed"),))
    assert Page(run_page.draw(moment)).figures == {"figure-seconds": 0.0, "figure-1": 0.0}


def test_nested_steps_share_a_lane_and_others_do_not() -> None:
    beside = StepRecord("beside", 2.0, 7.0, "passed")
    later = StepRecord("later", 9.0, 1.0, "passed")
    lanes = {step.title: lane for step, lane in run_page.lanes(record(*NESTED, beside, later))}
    assert lanes == {"outer": 1, "inner": 1, "beside": 2, "later": 1}


Steps = st.lists(st.tuples(st.integers(0, 50), st.integers(0, 30)), max_size=15)


@given(Steps)
def test_steps_of_one_lane_are_nested_or_apart(times: list[tuple[int, int]]) -> None:
    steps = [StepRecord(f"s{number}", began, lasted, "passed") for number, (began, lasted) in enumerate(times)]
    placed = run_page.lanes(record(*steps))
    assert sorted(step.title for step, _ in placed) == sorted(step.title for step in steps)
    for number, (one, lane) in enumerate(placed):
        for other, its_lane in placed[number + 1 :]:
            if lane == its_lane:
                ends = one.began + one.seconds
                assert other.began >= ends or other.began + other.seconds <= ends


def test_the_trace_has_complete_events_in_microseconds() -> None:
    events = json.loads(run_page.trace(record(*NESTED)))["traceEvents"]
    complete = {each["name"]: (each["ts"], each["dur"], each["tid"]) for each in events if each["ph"] == "X"}
    assert complete == {"outer": (0, 8_000_000, 1), "inner": (1_000_000, 2_000_000, 1)}


def test_the_command_can_be_pasted() -> None:
    spaced = RunRecord("i", "up", ("./run", "up", "--config", "a file"), "2026-01-01T00:00:00Z", 1.0, 0, ())
    assert re.search(r"--config &#39;a file&#39;|--config 'a file'", run_page.draw(spaced))
