"""README's table of places: what it calls tested names a test that is there, what it calls expected has a reason."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[3]
SECTION = (ROOT / "README.md").read_text(encoding="utf-8").partition("## Where it works\n")[2].partition("\n## ")[0]
HEAD, _, *ROWS = [
    [cell.strip() for cell in line.strip("|").split("|")] for line in SECTION.splitlines() if line[:1] == "|"
]


def test_every_place_says_something_of_every_group_of_tasks() -> None:
    assert len(ROWS) >= 10
    assert {len(row) for row in ROWS} == {len(HEAD)}


def test_what_is_called_tested_names_tests_that_are_there() -> None:
    named = set(re.findall(r"`(\d_\w+)`", SECTION))
    assert named
    assert [name for name in named if not (ROOT / f"tests/e2e/test_{name}.py").is_file()] == []


def test_every_cell_is_tested_by_name_or_expected_with_a_reason_or_refused() -> None:
    reasons = set(re.findall(r"^\(([a-z])\)|(?<=\. )\(([a-z])\)", SECTION, re.MULTILINE))
    given = {first or second for first, second in reasons}
    asked = set()
    for cell in (cell for row in ROWS for cell in row[1:]):
        if reason := re.fullmatch(r"expected \(([a-z])\)", cell):
            asked.add(reason[1])
        else:
            assert re.fullmatch(r"tested:( `\d_\w+`)+|refused: .+", cell), cell
    assert asked == given
