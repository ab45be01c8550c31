"""Modules and functions stay short. ruff checks complexity, branches and statements, but not lines."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
MODULE_LINES = 350
FUNCTION_LINES = 70

# Modules and functions that are longer, with their lines. Entries may only shrink or disappear.
LONG_MODULES: dict[str, int] = {}
LONG_FUNCTIONS: dict[str, int] = {}


def function_lines(source: str) -> Iterator[tuple[str, int]]:
    """Every function with its lines, from `def` on, methods as `Class.method`."""
    for node in ast.walk(ast.parse(source)):
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
                owner = f"{node.name}." if isinstance(node, ast.ClassDef) else ""
                assert child.end_lineno is not None
                yield owner + child.name, child.end_lineno - child.lineno + 1


def sources() -> Iterator[tuple[str, str]]:
    for path in sorted((ROOT / "scripts").rglob("*.py")):
        yield str(path.relative_to(ROOT / "scripts")).removeprefix("threezone/"), path.read_text(encoding="utf-8")


def above(sizes: dict[str, int], limit: int, known: dict[str, int]) -> list[str]:
    """What is too long and not known, longer than known, or known without need."""
    grown = [f"{name}: {size} lines" for name, size in sizes.items() if size > known.get(name, limit)]
    mended = [f"{name}: take it off the list" for name in known if sizes.get(name, 0) <= limit]
    return grown + mended


def test_no_module_is_too_long() -> None:
    sizes = {name: len(text.splitlines()) for name, text in sources()}
    assert above(sizes, MODULE_LINES, LONG_MODULES) == []


def test_no_function_is_too_long() -> None:
    sizes = {f"{name}: {function}": lines for name, text in sources() for function, lines in function_lines(text)}
    assert above(sizes, FUNCTION_LINES, LONG_FUNCTIONS) == []


@pytest.mark.parametrize(
    ("size", "known", "wrong"),
    [(70, {}, 0), (71, {}, 1), (71, {"f": 71}, 0), (72, {"f": 71}, 1), (70, {"f": 71}, 1), (71, {"f": 71, "g": 90}, 1)],
)
def test_the_list_only_shrinks(size: int, known: dict[str, int], wrong: int) -> None:
    assert len(above({"f": size}, 70, known)) == wrong


def test_methods_and_inner_functions_are_counted() -> None:
    source = "class A:\n    def one(self):\n        def two():\n            pass\n\nasync def three():\n    pass\n"
    assert dict(function_lines(source)) == {"A.one": 3, "two": 2, "three": 2}
