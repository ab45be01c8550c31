"""Each row of the catalogue is found in facts that show its fault, and in no others."""

import re
from pathlib import Path

import pytest
from tests.documents import ROOT
from tests.unit.doctor.faults import FAULTS, Fault
from tests.unit.doctor.recording import HERE, load

from threezone.doctor.catalogue import BY_ID, ROWS, recognise
from threezone.doctor.diagnose import diagnose
from threezone.doctor.row import ZONES, Row

SEEN = [
    pytest.param(id_, fault, id=id_)
    for id_, fault in FAULTS.items()
    if (fault.broken or fault.recorded) and fault.first
]
SAID = [pytest.param(id_, fault.message, id=id_) for id_, fault in FAULTS.items() if fault.message]


def test_a_healthy_lab_has_no_finding() -> None:
    diagnosis = diagnose(load("healthy"))
    assert diagnosis.data["causes"] == diagnosis.data["risks"] == []
    assert diagnosis.healthy
    assert diagnosis.exit_code == 0


@pytest.mark.parametrize(("id_", "fault"), SEEN)
def test_a_fault_is_named_first_by_its_row(id_: str, fault: Fault) -> None:
    facts = load(fault.recorded) if fault.recorded else load("healthy")
    diagnosis = diagnose(fault.broken(facts) if fault.broken else facts)
    first = (*diagnosis.causes, *diagnosis.risks)[0]
    assert first.row.id == id_, [each.row.id for each in (*diagnosis.causes, *diagnosis.risks)]
    assert first.evidence.lines
    assert first.fix
    assert diagnosis.exit_code == (0 if first in diagnosis.risks else ZONES[first.row.zone].exit_code)


def test_what_something_else_always_explains_is_below_it() -> None:
    for id_ in (id_ for id_, fault in FAULTS.items() if not fault.first):
        change = FAULTS[id_].broken
        assert change is not None
        below = [each for cause in diagnose(change(load("healthy"))).causes for each in cause.consequences]
        assert id_ in [each.row.id for each in below]


@pytest.mark.parametrize(("id_", "message"), SAID)
def test_a_message_is_recognised(id_: str, message: str) -> None:
    row = recognise(f"error: {message} and more")
    assert row is not None
    assert row.id == id_


@pytest.mark.parametrize("row", [row for row in ROWS if row.words], ids=lambda row: row.id)
def test_the_words_of_a_row_are_in_its_symptom_or_message(row: Row) -> None:
    texts = [row.symptom, FAULTS[row.id].message, row.title]
    assert any(re.search(row.words, text, re.IGNORECASE) for text in texts), row.words


def test_every_row_is_reproduced_and_at_least_thirty_on_real_labs_or_with_real_programs() -> None:
    assert sorted(FAULTS) == sorted(BY_ID)
    assert len(ROWS) == len(BY_ID)
    assert sum(fault.reproduced in ("lab", "program") for fault in FAULTS.values()) >= 30


PLACES = {
    "lab": ("tests/e2e/test_doctor.py",),
    "program": ("tests/integration/doctor/test_probes.py",),
    "stand-in": ("tests/integration/doctor/test_probes.py",),
}


@pytest.mark.parametrize(
    ("id_", "fault"), [(id_, fault) for id_, fault in FAULTS.items() if fault.reproduced in PLACES]
)
def test_a_row_that_counts_as_reproduced_is_named_by_a_test_there(id_: str, fault: Fault) -> None:
    assert any(f'"{id_}"' in (ROOT / path).read_text(encoding="utf-8") for path in PLACES[fault.reproduced])


@pytest.mark.parametrize("file", sorted(HERE.glob("*.json")), ids=lambda file: file.stem)
def test_recorded_faults_of_real_labs_are_named_by_their_row(file: Path) -> None:
    diagnosis = diagnose(load(file.stem))
    assert [cause.row.id for cause in diagnosis.causes[:1]] == ([] if file.stem == "healthy" else [file.stem])


@pytest.mark.parametrize("file", sorted(HERE.glob("*.json")), ids=lambda file: file.stem)
def test_recorded_facts_hold_nothing_of_the_machine_that_they_are_from(file: Path) -> None:
    text = file.read_text()
    assert not re.search(r"/work|/root|BEGIN [A-Z ]*PRIVATE|password\": \"[^\"]", text)
