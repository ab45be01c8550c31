"""README and the pages about places: a test runs each command of a block, or the page says that none does."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
from tests.documents import ROOT, SHELL, Code, code, typed
from tests.e2e import shown
from tests.e2e.project import Ran
from tests.e2e.shown import ROWS, Expected, Line, Run

EVERY = [(page, command, row) for page, rows in ROWS.items() for command, row in rows.items()]


def blocks(page: str) -> list[tuple[str, Code]]:
    """The page's commands, each with its block."""
    path = ROOT / "README.md" if page == "README" else ROOT / f"docs/{page}.md"
    found = [piece for piece in code(path) if piece.language == SHELL]
    return [(" ".join(words), piece) for piece in found for words in typed(piece.text)]


def function(path: Path, name: str) -> str:
    """The source of a function; a failure when there is none of this name."""
    text = path.read_text(encoding="utf-8")
    (found,) = (each for each in ast.parse(text).body if isinstance(each, ast.FunctionDef) and each.name == name)
    return ast.get_source_segment(text, found) or ""


def test_every_page_about_a_place_has_rows() -> None:
    places = {"host", "devcontainer", "codespaces", "gitlab", "github", "remote-engine", "adopt"}
    assert set(ROWS) == {"README", "addons", "check", "preview", "release", "secrets", *places}


@pytest.mark.parametrize("page", ROWS)
def test_every_command_of_a_page_has_its_row_and_every_row_its_command(page: str) -> None:
    commands = {command for command, _ in blocks(page)}
    assert commands
    assert commands == set(ROWS[page])


@pytest.mark.parametrize(("command", "row"), [(command, row) for _, command, row in EVERY if isinstance(row, Run)])
def test_the_test_of_a_row_exists(command: str, row: Run) -> None:
    file, _, name = row.test.partition("::")
    assert function(ROOT / f"tests/e2e/test_{file}.py", name), command


@pytest.mark.parametrize(("command", "row"), [(command, row) for _, command, row in EVERY if isinstance(row, Line)])
def test_the_line_of_a_row_is_in_its_function(command: str, row: Line) -> None:
    file, _, name = row.function.partition("::")
    assert row.line in function(ROOT / file, name), command


@pytest.mark.parametrize(
    ("page", "command", "row"),
    [(page, command, row) for page, command, row in EVERY if isinstance(row, Expected)],
)
def test_the_page_says_beside_the_command_that_it_is_not_tested(page: str, command: str, row: Expected) -> None:
    assert any(row.says in piece.beside for each, piece in blocks(page) if each == command)


RAN = [
    ("cluster.adopt --context kind-a --yes", True),
    ("cluster.adopt --context docker-desktop", True),
    ("cluster.adopt --context kind-a --server https://127.0.0.1:1", False),
    ("cluster.adopt", False),
    ("cluster.delete --yes", False),
]


@pytest.mark.parametrize(("words", "counts"), RAN)
def test_only_the_same_task_with_the_same_options_counts(words: str, counts: bool) -> None:
    (row,) = (row for _, command, row in EVERY if command == "./run invoke cluster.adopt --context docker-desktop")
    assert isinstance(row, Run)
    others = [Ran(("./run", "invoke", task), 0) for task in ("up", "status", "gitops.push", "down")]
    asked = ("./run", "invoke", *words.split())
    assert (shown.missing(row.test, [*others, Ran(asked, 0)]) == []) is counts
    assert shown.missing(row.test, [*others, Ran(asked, 8)]) != [], "one that has failed does not count"
    assert shown.missing("lab::some_other_test", []) == []
