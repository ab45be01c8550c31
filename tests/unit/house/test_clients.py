"""Only clients/ contains argument lists of docker, kind, kubectl and flux."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[3] / "scripts" / "threezone"
PROGRAMS = ("docker", "kind", "kubectl", "flux")
# Lists of names, not of arguments: the module and the second element.
NAMES = {
    ("zones/locate.py", "'libpod'"),
    ("toolchain/install.py", "'kubectl'"),
    ("cluster/lab.py", "'kubectl'"),
    ("cluster/spec/validate.py", "'Cluster'"),
    ("lab/status.py", "_yes(flux['ready'])"),
}


def _begins_arguments(parts: list[ast.expr]) -> bool:
    """Whether the list begins with a program's name, or with its path and an argument."""
    if len(parts) < 2:
        return False
    first, second = parts[:2]
    if isinstance(first, ast.Subscript) and ast.unparse(first.value).endswith("tools"):
        first = ast.Name(ast.literal_eval(first.slice))
    if isinstance(first, ast.Name):
        return first.id in PROGRAMS and isinstance(second, ast.Constant) and isinstance(second.value, str)
    return isinstance(first, ast.Constant) and first.value in PROGRAMS


def argument_lists(file: str, source: str) -> Iterator[str]:
    """Every list or tuple in `source` that begins with one of the programs, and every call that gives docker's name."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.List | ast.Tuple) and _begins_arguments(node.elts):
            if (file, ast.unparse(node.elts[1])) not in NAMES:
                yield f"{file}:{node.lineno}: {ast.unparse(node)}"
        elif isinstance(node, ast.Call) and any(isinstance(a, ast.Constant) and a.value == "docker" for a in node.args):
            yield f"{file}:{node.lineno}: {ast.unparse(node)}"


def test_programs_are_named_in_the_clients_alone() -> None:
    files = {str(path.relative_to(PACKAGE)): path.read_text(encoding="utf-8") for path in PACKAGE.rglob("*.py")}
    outside = {file: source for file, source in files.items() if not file.startswith("clients/")}
    assert len(outside) > 100
    assert [found for file, source in outside.items() for found in argument_lists(file, source)] == []


@pytest.mark.parametrize(
    "source",
    [
        'run(["docker", "ps"])',
        'argv = ("kubectl", "get", "pods")',
        'run([session.tools["kind"], "get", "nodes"])',
        'argv = [kubectl, "--context", context]',
        '[*x, ["flux", "check"]]',
        'call("docker", "ps")',
        'process.find("docker")',
    ],
)
def test_an_argument_list_elsewhere_is_detected(source: str) -> None:
    assert list(argument_lists("lab/up.py", source))
