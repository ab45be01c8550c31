"""The arrows of the house point downwards: read from every import in the sources, those inside functions too."""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from threezone.core.process import run

ROOT = Path(__file__).parents[3]
PACKAGE = ROOT / "scripts" / "threezone"

# Top to bottom; a room may import from the levels below its own. `.` is the modules of the package itself.
LEVELS = (
    {"tasks"},
    {"lab"},
    {"cluster", "gitops", "zones", "doctor", "images", "report", "ci"},
    {"kubeconfig", "tools", "engine", "kube"},
    {"."},
)
# A cluster is made of an image and seen from a zone: these two may look sideways.
SIDEWAYS = {(room, beside) for room in ("cluster", "gitops") for beside in ("zones", "images")}
RUNNERS = {"sh", "subprocess", "pty", "multiprocessing", "webbrowser"}
# The runner; the OCI runtime wrapper, a script that the engine runs and that turns into the real runtime; and the
# tunnel's forwarder, a daemon that stands alone and starts a program for every connection.
MAY_START = {
    "threezone.core.process",
    "threezone.engine.bounded_runtime",
    "threezone.zones.forwarder",
    "threezone.delivery.port_forward",
}
STARTERS = {"system", "popen", "fork", "forkpty", "posix_spawn", "posix_spawnp"}
HEAVY = {"sh", "kubernetes", "yaml", "msgspec", "filelock", "rich", "requests", "urllib3", "http.client", "subprocess"}


def imports(tree: ast.AST) -> Iterator[str]:
    """Every name that is imported, as `package.module`; `from a import b` counts as a.b, which may be a module."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"relative import in line {node.lineno}"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def room_of(module: str) -> str:
    """The room of `threezone.room.module`; `.` for the package's own modules."""
    parts = module.split(".")
    return parts[1] if len(parts) > 1 and any(parts[1] in level for level in LEVELS) else "."


def level_of(room: str) -> int:
    return next(number for number, level in enumerate(LEVELS) if room in level)


def wrong_arrows(module: str, source: str) -> list[str]:
    here = room_of(module)
    found = []
    for name in imports(ast.parse(source)):
        there = room_of(name)
        if not name.startswith("threezone.") or there == here or (here, there) in SIDEWAYS:
            continue
        if level_of(there) <= level_of(here):
            found.append(f"{module} ({here}) imports {name} ({there})")
    return found


def starters(module: str, source: str) -> list[str]:
    """Every way to start a program that stands in `source`."""
    tree = ast.parse(source)
    found = [f"{module} imports {name}" for name in imports(tree) if name.split(".")[0] in RUNNERS]
    for node in ast.walk(tree):
        if isinstance(node, ast.keyword) and node.arg == "shell":
            found.append(f"{module}:{node.value.lineno} has shell=")
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "os":
            starts = node.attr in STARTERS or node.attr.startswith(("exec", "spawn"))
            found.extend([f"{module}:{node.lineno} uses os.{node.attr}"] if starts else [])
        if isinstance(node, ast.ImportFrom) and node.module == "os":
            found.extend(f"{module} imports os.{alias.name}" for alias in node.names if alias.name in STARTERS)
    return found


def sources() -> dict[str, str]:
    paths = sorted(PACKAGE.rglob("*.py"))
    assert len(paths) > 10
    return {
        ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts): path.read_text(encoding="utf-8")
        for path in paths
    }


def test_every_room_has_its_place() -> None:
    rooms = {path.name for path in PACKAGE.iterdir() if (path / "__init__.py").is_file()}
    assert rooms <= set().union(*LEVELS), "say in LEVELS where the new room stands"


def test_arrows_point_downwards() -> None:
    assert [wrong for module, source in sources().items() for wrong in wrong_arrows(module, source)] == []


def test_programs_are_started_in_one_module() -> None:
    outside = {module: source for module, source in sources().items() if module not in MAY_START}
    outside["tasks"] = (ROOT / "tasks.py").read_text(encoding="utf-8")
    assert [wrong for module, source in outside.items() for wrong in starters(module, source)] == []


def test_the_kubernetes_client_is_imported_in_one_module() -> None:
    users = {
        module
        for module, source in sources().items()
        if any(name.split(".")[0] == "kubernetes" for name in imports(ast.parse(source)))
    }
    assert len(users) <= 1, users


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("threezone.core.process", "from threezone import tools"),
        ("threezone.engine.find", "def f():\n    from threezone.cluster.kind import nodes"),
        ("threezone.core.net", "import threezone.kubeconfig.store"),
        ("threezone.images.node_image", "from threezone.gitops import flux"),
        ("threezone.flux.components", "if True:\n    import threezone.tasks"),
    ],
)
def test_a_wrong_arrow_is_found(module: str, source: str) -> None:
    assert len(wrong_arrows(module, source)) == 1


@pytest.mark.parametrize(
    "source",
    [
        "import subprocess as quiet",
        "from sh import ls",
        "import os\nos.system('ls')",
        "import os\nos.execvp('ls', ['ls'])",
        "from os import popen",
        "run('ls', shell=True)",
    ],
)
def test_a_hidden_starter_is_found(source: str) -> None:
    assert starters("somewhere", source)


@pytest.mark.real_program
def test_listing_the_tasks_imports_nothing_heavy() -> None:
    script = "import sys, invoke\nbefore = set(sys.modules)\nimport tasks\nprint(*(set(sys.modules) - before))"
    loaded = set(run([sys.executable, "-c", script], cwd=ROOT, timeout=60).stdout.split())
    assert "threezone.tasks" in loaded
    assert loaded & HEAVY == set()
