"""The catalogue keeps its own rules."""

import re

import pytest

from threezone.doctor.catalogue import BY_ID, ROWS
from threezone.doctor.row import Row


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.id)
def test_a_row_is_complete(row: Row) -> None:
    assert re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", row.id)
    assert row.detect or row.words, "nothing recognises it"
    assert bool(row.detect) == bool(row.seen), "a row that is detected says how"
    for text in (row.title, row.symptom, row.cause, row.fix, row.source):
        assert text
    re.compile(row.words)
    assert set(row.because_of) <= set(BY_ID) - {row.id}
    assert re.match(r"https://|\./run invoke|docs/\w+\.md\Z|(kind|flux2|kustomize-controller)#\d+\Z", row.source)


def test_no_row_explains_itself() -> None:
    def above(id_: str, seen: tuple[str, ...]) -> None:
        assert id_ not in seen, " → ".join((*seen, id_))
        for cause in BY_ID[id_].because_of:
            above(cause, (*seen, id_))

    for row in ROWS:
        above(row.id, ())
