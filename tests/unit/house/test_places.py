"""README's table of places: each cell names the tests that cover it, or the reason why none does."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[3]
SECTION = (ROOT / "README.md").read_text(encoding="utf-8").partition("## Where it works\n")[2].partition("\n## ")[0]
HEAD, _, *ROWS = [
    [cell.strip() for cell in line.strip("|").split("|")] for line in SECTION.splitlines() if line[:1] == "|"
]


def test_every_place_has_a_cell_for_every_group_of_tasks() -> None:
    assert len(ROWS) >= 10
    assert {len(row) for row in ROWS} == {len(HEAD)}


def test_the_named_tests_exist() -> None:
    cells = [cell for row in ROWS for cell in row[1:] if cell.startswith("tested:")]
    named = {name for cell in cells for name in re.findall(r"`(\w+)`", cell)}
    assert named
    assert [name for name in named if not (ROOT / f"tests/e2e/test_{name}.py").is_file()] == []


def test_every_cell_is_tested_expected_or_refused() -> None:
    reasons = set(re.findall(r"^\(([a-z])\)|(?<=\. )\(([a-z])\)", SECTION, re.MULTILINE))
    given = {first or second for first, second in reasons}
    asked = set()
    for cell in (cell for row in ROWS for cell in row[1:]):
        if reason := re.fullmatch(r"expected \(([a-z])\)", cell):
            asked.add(reason[1])
        else:
            assert re.fullmatch(r"tested:( `\w+`)+|refused: .+", cell), cell
    assert asked == given
