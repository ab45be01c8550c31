"""docs/kubeconfig-cases.md names for every case the tests that hold it."""

import ast
import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
ROWS = [
    line.strip("| ").split(" | ")
    for line in (ROOT / "docs/kubeconfig-cases.md").read_text().splitlines()
    if re.match(r"\| [0-9]+ \|", line)
]


@cache
def functions(path: Path) -> frozenset[str]:
    return frozenset(node.name for node in ast.parse(path.read_text()).body if isinstance(node, ast.FunctionDef))


def test_every_case_has_its_row() -> None:
    assert [row[0] for row in ROWS] == [str(number) for number in range(1, 37)]
    assert {len(row) for row in ROWS} == {4}


@pytest.mark.parametrize("row", ROWS, ids=[f"case {row[0]}" for row in ROWS])
def test_the_tests_that_it_names_are_there(row: list[str]) -> None:
    named = re.findall(r"`(tests/[^`]+)::(\w+)`", row[3])
    assert row[3] == ", ".join(f"`{path}::{name}`" for path, name in named), "nothing but tests stands there"
    assert named
    for path, name in named:
        assert (ROOT / path).is_file(), path
        assert name in functions(ROOT / path), f"{path} has no {name}"
