"""Another repository adopts threezone: sdist, wheel made from it, a fresh environment, and no checkout in reach."""

import re
import shutil
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from threezone.core import process

ROOT = Path(__file__).resolve().parents[3]
# What the package reads at run time beside its modules.
DATA = (
    "threezone/py.typed", "threezone/core/pins.toml", "threezone/extras/ci/gitlab.yml",
    "threezone/templates/local/gitops/apps/hello/deployment.yaml",
    "threezone/templates/local/gitops/addons/dashboard/kustomization.yaml",
    "threezone/templates/.devcontainer/dockerfile/devcontainer.json",
)  # fmt: skip


def copied() -> list[str]:
    """Every file below scripts/threezone, by its name in the wheel."""
    paths = (path for path in (ROOT / "scripts/threezone").rglob("*") if path.is_file() and path.suffix != ".pyc")
    return [path.relative_to(ROOT / "scripts").as_posix() for path in paths]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory, outer_environment: dict[str, str]) -> Path:
    """A directory with `dist`, a `venv` that has the wheel, and a `project`: a fresh repository after `init`."""
    base = tmp_path_factory.mktemp("adopter")
    env = {**outer_environment, "PYTHONPATH": None}
    source = base / "threezone"
    ignored = shutil.ignore_patterns("__pycache__", ".git", ".*_cache", "tests")
    shutil.copytree(ROOT, source, ignore=ignored)
    process.run([sys.executable, "-m", "venv", base / "builder"], timeout=120)
    process.run([sys.executable, "-m", "venv", base / "venv"], timeout=120)
    process.run([base / "builder/bin/pip", "install", "--quiet", "build"], env=env, timeout=300)
    # Without options, `build` makes the sdist from the tree and the wheel from the sdist.
    process.run([base / "builder/bin/python", "-m", "build", "--outdir", base / "dist", source], env=env, timeout=300)
    (built,) = (base / "dist").glob("*.whl")
    process.run([base / "venv/bin/pip", "install", "--quiet", built], env=env, timeout=600)
    project = base / "project"
    process.run(["git", "init", "--quiet", project], timeout=30)
    assert threezone(base, "init", "--yes").exit_code == 0
    return base


def threezone(base: Path, *arguments: str) -> process.Completed:
    return process.run(
        [base / "venv/bin/threezone", *arguments],
        cwd=base / "project",
        env={"PYTHONPATH": None},
        timeout=60,
        check=False,
    )


def test_the_wheel_and_the_sdist_are_complete(base: Path) -> None:
    (wheel,) = (base / "dist").glob("*.whl")
    (sdist,) = (base / "dist").glob("*.tar.gz")
    assert set(zipfile.ZipFile(wheel).namelist()) >= {*copied(), *DATA}
    with tarfile.open(sdist) as archive:
        inside = {name.partition("/")[2] for name in archive.getnames()}
    assert {"run", "requirements.lock", "scripts/bootstrap.py", "local/kubernetes/kind.yaml", "LICENSE"} <= inside


def test_a_clone_beside_the_project_can_be_installed(base: Path, outer_environment: dict[str, str]) -> None:
    target = base / "installed"
    command: list[str | Path] = [base / "venv/bin/pip", "install", "--quiet", "--no-deps", "--target", target]
    process.run(
        [*command, "../threezone"], cwd=base / "project", env={**outer_environment, "PYTHONPATH": None}, timeout=300
    )
    assert (target / "threezone/templates/local/gitops/apps/hello/deployment.yaml").is_file()


def test_all_tasks_are_there_also_without_a_tasks_py(base: Path, tmp_path: Path) -> None:
    listed = threezone(base, "--list").stdout
    for name in ("init", "up", "down", "status", "cluster.create", "kubeconfig.connect", "flux.install", "gitops.push"):
        assert f"  {name} " in listed
    elsewhere = process.run(
        [base / "venv/bin/python", "-m", "threezone", "--list"], cwd=tmp_path, env={"PYTHONPATH": None}, timeout=60
    )
    assert elsewhere.stdout == listed


def test_init_writes_what_it_writes_in_a_checkout(base: Path) -> None:
    project = base / "project"
    sample = "local/gitops/apps/hello/service.yaml"
    assert (project / sample).read_text().endswith((ROOT / sample).read_text())
    assert threezone(base, "init").stdout.startswith("nothing to do")
    assert threezone(base, "init", "--yes", "--devcontainer").exit_code == 0
    assert (project / ".devcontainer/threezone/entrypoint.sh").read_text().startswith("#!/bin/sh\n")


def test_the_cluster_file_of_the_project_is_used(base: Path) -> None:
    file = base / "project/local/kubernetes/kind.yaml"
    good = file.read_text()
    file.write_text("nodes: 3\n")
    broken = threezone(base, "cluster.create")
    file.write_text(good)
    assert broken.exit_code != 0
    assert "error: local/kubernetes/kind.yaml:1: nodes: expected a list" in broken.stderr


def test_fixes_name_threezone_where_there_is_no_launcher(base: Path) -> None:
    told = threezone(base, "kubeconfig.connect", "--name", "nobody").stderr
    assert "fix: threezone " in told
    assert "./run" not in told


def test_no_help_and_no_file_names_a_launcher_that_the_project_does_not_have(base: Path, tmp_path: Path) -> None:
    project, python = base / "project", base / "venv/bin/python"
    listed = re.findall(r"^  (\S+)", threezone(base, "--list").stdout, re.MULTILINE)
    assert "tools.list" in listed
    ask = "import invoke, sys\nfor task in sys.argv[1:]: invoke.Program().run(['invoke', '--help', task], exit=False)"
    helps = process.run([python, "-c", ask, *listed], cwd=project, env={"PYTHONPATH": None}, timeout=120).stdout
    assert "$(threezone tools.list --path)" in helps
    assert "./run" not in helps
    for kind in ("gitlab", "github"):
        for runner in ("socket", "dind", "shell", "hosted"):
            file = tmp_path / f"{kind}-{runner}.yml"
            made = threezone(base, f"ci.{kind}", "--runner", runner, "--output", str(file))
            assert made.exit_code == 0, made.stderr
            assert "threezone up" in file.read_text()
            assert "./run" not in file.read_text() + made.stdout + made.stderr
    prepare = "from threezone.toolchain import shell; shell.prepare({})"
    process.run(
        [python, "-c", prepare],
        cwd=project,
        env={"PYTHONPATH": None, "XDG_DATA_HOME": str(tmp_path)},
        timeout=60,
    )
    assert list(tmp_path.rglob("run")) == [], "there is no ./run to complete"
