"""Another repository adopts threezone: installed as a package, one import in its own tasks.py, a local/ of its own."""

import re
import shutil
import sys
from pathlib import Path

import pytest

from threezone.core import process

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="module")
def adopter(tmp_path_factory: pytest.TempPathFactory, outer_environment: dict[str, str]) -> Path:
    base = tmp_path_factory.mktemp("adopter")
    process.run([sys.executable, "-m", "venv", base / "venv"], timeout=120)
    project = base / "project"
    shutil.copytree(ROOT / "local", project / "local")
    (project / "tasks.py").write_text("from threezone.tasks import collection\n\nnamespace = collection()\n")
    for name in ("scripts", "pyproject.toml", "README.md", "LICENSE"):
        source = ROOT / name
        copy = base / "threezone" / name
        if source.is_dir():
            shutil.copytree(source, copy, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            copy.parent.mkdir(exist_ok=True)
            shutil.copy2(source, copy)
    process.run(
        [base / "venv/bin/pip", "install", "--quiet", "../threezone"],
        cwd=project,
        env={**outer_environment},
        timeout=600,
    )
    return project


def invoke(project: Path, *arguments: str) -> process.Completed:
    return process.run(
        [project.parent / "venv/bin/invoke", *arguments], cwd=project, env={"PYTHONPATH": None}, timeout=60, check=False
    )


def test_all_tasks_are_there(adopter: Path) -> None:
    listed = invoke(adopter, "--list").stdout
    for name in ("up", "down", "status", "cluster.create", "kubeconfig.connect", "flux.install", "gitops.push"):
        assert f" {name} " in listed


def test_the_cluster_file_of_the_project_is_used(adopter: Path) -> None:
    file = adopter / "local/kubernetes/kind.yaml"
    good = file.read_text()
    file.write_text("nodes: 3\n")
    broken = invoke(adopter, "cluster.create")
    file.write_text(good)
    assert broken.exit_code != 0
    assert "error: local/kubernetes/kind.yaml:1: nodes: expected a list" in broken.stderr


def test_fixes_name_threezone_where_there_is_no_launcher(adopter: Path) -> None:
    told = invoke(adopter, "kubeconfig.connect", "--name", "nobody").stderr
    assert "fix: threezone " in told
    assert "./run" not in told


def test_no_help_and_no_file_names_a_launcher_that_the_project_does_not_have(adopter: Path, tmp_path: Path) -> None:
    listed = re.findall(r"^  (\S+)", invoke(adopter, "--list").stdout, re.MULTILINE)
    assert "tools.list" in listed
    ask = "import invoke, sys\nfor task in sys.argv[1:]: invoke.Program().run(['invoke', '--help', task], exit=False)"
    helps = process.run(
        [adopter.parent / "venv/bin/python", "-c", ask, *listed], cwd=adopter, env={"PYTHONPATH": None}, timeout=120
    ).stdout
    assert "$(invoke tools.list --path)" in helps
    assert "./run" not in helps
    for kind in ("gitlab", "github"):
        for runner in ("socket", "dind", "shell", "hosted"):
            file = tmp_path / f"{kind}-{runner}.yml"
            made = invoke(adopter, f"ci.{kind}", "--runner", runner, "--output", str(file))
            assert made.exit_code == 0, made.stderr
            assert "invoke up" in file.read_text()
            assert "./run" not in file.read_text() + made.stdout + made.stderr
    prepare = "from threezone.toolchain import shell; shell.prepare({})"
    process.run(
        [adopter.parent / "venv/bin/python", "-c", prepare],
        cwd=adopter,
        env={"PYTHONPATH": None, "XDG_DATA_HOME": str(tmp_path)},
        timeout=60,
    )
    assert list(tmp_path.rglob("run")) == [], "there is no ./run to complete"
