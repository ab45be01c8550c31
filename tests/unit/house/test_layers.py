"""Which package may import which. All imports are read, including those inside functions."""

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from threezone.core.process import run

ROOT = Path(__file__).parents[3]
PACKAGE = ROOT / "scripts" / "threezone"

# Each package with the packages that it may import. A package may only name packages in the lines above its own, so
# there are no cycles.
MAY_IMPORT = {
    "core": (),
    "clients": ("core",),
    "kubeconfig": ("core",),
    "engine": ("core", "clients"),
    "toolchain": ("core",),
    "images": ("core", "clients", "toolchain"),
    "zones": ("core", "clients", "kubeconfig", "engine", "toolchain"),
    "cluster": ("core", "clients", "kubeconfig", "engine", "toolchain", "images", "zones"),
    "flux": ("core", "clients", "images", "cluster"),
    "delivery": ("core", "clients", "images", "cluster", "flux"),
    "extras": ("core", "clients", "kubeconfig", "toolchain", "images", "zones", "cluster", "flux", "delivery"),
    "lab": (
        *("core", "clients", "kubeconfig", "engine", "toolchain", "images"),
        *("zones", "cluster", "flux", "delivery", "extras"),
    ),
    "doctor": ("core", "clients", "kubeconfig", "engine", "toolchain", "zones", "cluster", "flux", "delivery", "lab"),
    "tasks": (
        *("core", "clients", "kubeconfig", "engine", "toolchain", "images"),
        *("zones", "cluster", "flux", "delivery", "extras", "lab", "doctor"),
    ),
}
RUNNERS = {"sh", "subprocess", "pty", "multiprocessing", "webbrowser"}
# The runner; the wrapper that the engine runs in place of an OCI runtime; and the daemons of the tunnel and of the port
# forward, which start a program for every connection.
MAY_START = {
    "threezone.core.process",
    "threezone.engine.bounded_runtime",
    "threezone.zones.forwarder",
    "threezone.delivery.port_forward",
}
# Modules that write files without core/files: into a new private directory, their own lock or log, a tar stream.
MAY_WRITE = {
    "threezone.engine.bounded_runtime",
    "threezone.engine.prove",
    "threezone.images.engine_images",
    "threezone.core.files",
    "threezone.clients.kind",
    "threezone.delivery.proof.repository",
    "threezone.images.archive",
    "threezone.images.bundle.format",
    "threezone.images.bundle.packed",
    "threezone.images.debian_base",
    "threezone.images.node_image",
    "threezone.kubeconfig.store",
    "threezone.clients.git.own",
    "threezone.core.process",
    "threezone.toolchain.flux_cli",
    "threezone.toolchain.golang",
    "threezone.toolchain.go_toolchain",
    "threezone.toolchain.install",
    "threezone.toolchain.release",
    "threezone.kubeconfig.credentials",
}
STARTERS = {"system", "popen", "fork", "forkpty", "posix_spawn", "posix_spawnp"}
HEAVY = {
    "sh",
    "kubernetes",
    "jinja2",
    "psutil",
    "ruamel",
    "yaml",
    "filelock",
    "rich",
    "requests",
    "urllib3",
    "http.client",
    "subprocess",
}


def imports(tree: ast.AST) -> Iterator[str]:
    """Every name that is imported, as `package.module`; `from a import b` counts as a.b, which may be a module."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"relative import in line {node.lineno}"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def package_of(module: str) -> str:
    """The package of `threezone.package.module`; "" for the root, which has only the version."""
    parts = module.split(".")
    return parts[1] if len(parts) > 1 and parts[1] in MAY_IMPORT else ""


def wrong_arrows(module: str, source: str) -> list[str]:
    here = package_of(module)
    return [
        f"{module} imports {name}"
        for name in imports(ast.parse(source))
        if name.startswith("threezone.") and package_of(name) not in ("", here, *MAY_IMPORT[here])
    ]


def starters(module: str, source: str) -> list[str]:
    """Every way to start a program in `source`."""
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


def test_every_package_is_in_the_contract() -> None:
    packages = {path.name for path in PACKAGE.iterdir() if path.is_dir() and path.name != "__pycache__"}
    assert packages == set(MAY_IMPORT)


def test_the_contract_has_no_cycle() -> None:
    order = list(MAY_IMPORT)
    assert [name for name in order if not set(MAY_IMPORT[name]) <= set(order[: order.index(name)])] == []


def test_every_import_is_in_the_contract() -> None:
    modules = {module: source for module, source in sources().items() if package_of(module)}
    assert [wrong for module, source in modules.items() for wrong in wrong_arrows(module, source)] == []


def test_the_contract_allows_nothing_that_is_not_needed() -> None:
    used = {
        (package_of(module), package_of(name))
        for module, source in sources().items()
        for name in imports(ast.parse(source))
        if name.startswith("threezone.")
    }
    allowed = {(name, other) for name, others in MAY_IMPORT.items() for other in others}
    assert sorted(allowed - used) == []


def test_programs_are_started_in_one_module() -> None:
    outside = {module: source for module, source in sources().items() if module not in MAY_START}
    outside["tasks"] = (ROOT / "tasks.py").read_text(encoding="utf-8")
    assert [wrong for module, source in outside.items() for wrong in starters(module, source)] == []


def spelled(source: str, program: str) -> list[int]:
    """The lines of `source` in which an argument list of `program` begins, or `program` is looked for."""
    lines = []
    for node in ast.walk(ast.parse(source)):
        first = node.elts[:1] if isinstance(node, (ast.List, ast.Tuple)) else []
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "process.find":
            first = node.args[:1]
        lines += [each.lineno for each in first if isinstance(each, ast.Constant) and each.value == program]
    return lines


def test_argument_lists_of_git_are_spelled_by_its_client() -> None:
    outside = {
        module: lines
        for module, source in sources().items()
        if not module.startswith("threezone.clients.git.") and (lines := spelled(source, "git"))
    }
    assert outside == {}
    assert spelled("run(['git', *options])", "git")
    assert spelled("process.find('git')", "git")


def writes(source: str) -> bool:
    """Whether the source makes or changes a file by itself."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Attribute) and node.attr in {"write_text", "write_bytes", "O_CREAT", "mkstemp"}:
            return True
        if isinstance(node, ast.Call) and getattr(node.func, "attr", getattr(node.func, "id", "")) == "open":
            options = [*node.args, *(keyword.value for keyword in node.keywords)]
            if any(
                isinstance(each, ast.Constant) and re.fullmatch("[rb]*[wax+][bt+]*", str(each.value))
                for each in options
            ):
                return True
    return False


def test_files_are_written_in_one_module() -> None:
    assert {module for module, source in sources().items() if writes(source)} == MAY_WRITE


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
        ("threezone.core.process", "from threezone import toolchain"),
        ("threezone.engine.find", "def f():\n    from threezone.cluster.marks import nodes"),
        ("threezone.kubeconfig.store", "import threezone.toolchain.install"),
        ("threezone.images.node_image", "from threezone.flux import objects"),
        ("threezone.flux.check", "if True:\n    import threezone.tasks"),
    ],
)
def test_a_wrong_import_is_detected(module: str, source: str) -> None:
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
def test_a_hidden_start_of_a_program_is_detected(source: str) -> None:
    assert starters("somewhere", source)


@pytest.mark.real_program
def test_listing_the_tasks_imports_nothing_heavy() -> None:
    script = "import sys, invoke\nbefore = set(sys.modules)\nimport tasks\nprint(*(set(sys.modules) - before))"
    loaded = set(run([sys.executable, "-c", script], cwd=ROOT, timeout=60).stdout.split())
    assert "threezone.tasks" in loaded
    assert loaded & HEAVY == set()
