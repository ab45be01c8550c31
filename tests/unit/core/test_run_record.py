"""Records of runs: what is remembered, what is taken out, and which are kept."""

import stat
import threading
from contextlib import suppress
from pathlib import Path

import pytest

from threezone.core import events, redaction, run_record
from threezone.core.errors import ThreezoneError, UsageError
from threezone.core.run_record import MOST, Recorder, RunRecord, StepRecord


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("THREEZONE_STATE", str(tmp_path))
    return tmp_path


def outcomes(record: RunRecord) -> dict[str, tuple[str, str]]:
    return {step.title: (step.outcome, step.text) for step in record.steps}


def run() -> RunRecord:
    """A run with a step that passed, one that failed in it, and one that never ended."""
    recorder = Recorder("up", ("./run", "up"))
    with events.listening(recorder):
        with suppress(ThreezoneError), events.step("outer"), events.step("inner"):
            events.note("half way")
            raise ThreezoneError("it broke")
        with events.step("good") as step:
            step.result = "3 objects"
        unfinished = events.step("unfinished")
        unfinished.__enter__()
        recorder.error = ThreezoneError("it broke", fix="mend it")
        record = recorder.record(1)
        unfinished.__exit__(None, None, None)
    return record


def test_a_run_has_its_steps_with_their_outcomes() -> None:
    record = run()
    assert outcomes(record) == {
        "outer": ("failed", "it broke"),
        "inner": ("failed", "it broke"),
        "good": ("passed", "3 objects"),
        "unfinished": ("interrupted", ""),
    }
    assert [note.text for step in record.steps for note in step.notes] == ["half way"]
    assert (record.outcome, record.error, record.fix) == ("failed", "it broke", "mend it")
    assert [step.began for step in record.steps] == sorted(step.began for step in record.steps)
    outer, inner = record.steps[:2]
    assert outer.began <= inner.began
    assert inner.began + inner.seconds <= outer.began + outer.seconds + 0.002


@pytest.mark.parametrize(("code", "outcome"), [(0, "passed"), (130, "interrupted"), (6, "failed"), (141, "failed")])
def test_the_exit_code_decides_the_outcome(code: int, outcome: str) -> None:
    assert Recorder("up", ()).record(code).outcome == outcome


def test_steps_of_several_threads_are_told_apart() -> None:
    recorder = Recorder("up", ())
    both = threading.Barrier(2)

    def work(number: int) -> None:
        with events.step(f"step {number}") as step:
            both.wait(5)
            step.say(f"note {number}")

    with events.listening(recorder):
        threads = [threading.Thread(target=work, args=(number,)) for number in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert {step.title: step.notes[0].text for step in recorder.record(0).steps} == {
        "step 0": "note 0",
        "step 1": "note 1",
    }


def test_secrets_and_passwords_in_addresses_are_not_remembered() -> None:
    redaction.keep_secret("hunter2")
    recorder = Recorder("up", ("./run", "up", "--set", "https://u:hunter3@example"))
    with events.listening(recorder), events.step("log in with hunter2") as step:
        step.say("hunter2 works")
        step.result = "hunter2"
    recorder.error = ThreezoneError("hunter2 does not work", fix="use https://u:hunter4@example")
    run_record.keep(recorder.record(1))
    (file,) = run_record.directory().iterdir()
    assert "hunter" not in file.read_text()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def record_of(number: int) -> RunRecord:
    step = StepRecord("a step", 0.0, 1.0, "passed")
    return RunRecord(f"20260101-{number:06}-1-up", "up", (), "2026-01-01T00:00:00Z", 1.0, 0, (step,))


def test_the_last_runs_are_kept_and_no_file_of_others_is_removed() -> None:
    run_record.directory().mkdir(parents=True)
    others = [run_record.directory() / name for name in ("notes.json", "20250101-000000-1-up.html", "00000000.json")]
    for other in others:
        other.write_text("mine")
    for number in range(MOST + 5):
        run_record.keep(record_of(number))
    assert run_record.ids() == [record_of(number).id for number in reversed(range(5, MOST + 5))]
    assert all(other.read_text() == "mine" for other in others)
    assert run_record.load("last") == record_of(MOST + 4)


def test_a_run_without_steps_leaves_no_record() -> None:
    run_record.keep(Recorder("status", ()).record(0))
    assert run_record.ids() == []


def test_a_record_that_cannot_be_written_fails_nothing(state: Path) -> None:
    (state / "runs").write_text("a file")
    run_record.keep(record_of(1))


@pytest.mark.parametrize("wanted", ["last", "20260101-000001-1-up", "../../etc/passwd", ""])
def test_an_unknown_run_is_an_error(wanted: str) -> None:
    with pytest.raises(UsageError) as refused:
        run_record.load(wanted)
    assert "report.list" in refused.value.fix


def test_a_broken_record_is_an_error() -> None:
    run_record.keep(record_of(1))
    (run_record.directory() / f"{record_of(1).id}.json").write_text("{")
    with pytest.raises(UsageError):
        run_record.load("last")
