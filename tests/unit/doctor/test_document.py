"""docs/doctor.md is the catalogue, and `--explain` shows one row of it."""

import pytest
from tests.documents import ROOT

from threezone.core.errors import UsageError
from threezone.doctor import document
from threezone.doctor.catalogue import ROWS
from threezone.doctor.row import Row


def test_the_document_is_the_catalogue() -> None:
    wanted = document.document()
    assert (ROOT / document.DOCUMENT).read_text(encoding="utf-8") == wanted, (
        f"./run python -m threezone.doctor.document > {document.DOCUMENT}"
    )


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.id)
def test_every_row_has_a_page(row: Row) -> None:
    page = document.explain(row.id)
    assert page.startswith(f"{row.id} (")
    assert "fix " in page


def test_a_pasted_message_leads_to_its_row() -> None:
    pasted = 'ERROR: failed to create cluster: could not find a log line that matches "Reached target .*"'
    assert document.explain(pasted).startswith("create-timed-out (")


def test_the_page_says_what_a_row_explains() -> None:
    assert "source-unreachable" in document.explain("dns-down")


def test_an_issue_is_an_address() -> None:
    assert "https://github.com/kubernetes-sigs/kind/issues/2460" in document.explain("create-timed-out")


def test_nothing_known_is_an_error_with_the_nearest_ids() -> None:
    with pytest.raises(UsageError) as refused:
        document.explain("dns-dwn")
    assert "doctor --explain dns-down" in refused.value.fix
    with pytest.raises(UsageError):
        document.explain("a sentence that nobody has ever read")
