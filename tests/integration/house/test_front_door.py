"""invoke and nox as a person starts them: what they say when something is wrong."""

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from tests.integration.house.conftest import invoke

from threezone.core.process import run

ROOT = Path(__file__).parents[3]


def test_another_repository_imports_all_tasks(project: Path) -> None:
    ours = run([sys.executable, "-m", "invoke", "--list"], cwd=ROOT, timeout=60).stdout
    theirs = invoke(project, "--list")
    assert theirs.exit_code == 0
    assert theirs.stdout == ours
    assert "cluster.create" in ours


def test_every_task_has_help() -> None:
    asked = run([sys.executable, "-m", "invoke", "--list", "--list-format=json"], cwd=ROOT, timeout=60)
    listed = json.loads(asked.stdout)
    names = [task["name"] for task in listed["tasks"]]
    names += [f"{room['name']}.{task['name']}" for room in listed["collections"] for task in room["tasks"]]
    assert {"up", "kubeconfig.export", "image.build"} <= set(names)
    for name in names:
        asked = run([sys.executable, "-m", "invoke", name, "--help"], cwd=ROOT, timeout=60)
        assert f"{name} [--options]" in asked.stdout, asked.stdout
        assert "Docstring:\n  none" not in asked.stdout, name


NAMED = [
    ("up", "--yes"), ("down", "--yes"), ("cluster.create", "--yes"), ("cluster.delete", "--yes"), ("cluster.stop",),
    ("cluster.logs",), ("kubeconfig.export", "--for", "ci"), ("kubeconfig.remove",), ("gitops.serve", "--remove"),
    ("addon.proxy", "start"),
]  # fmt: skip


def tree(directory: Path) -> dict[str, str]:
    return {str(path): path.read_text() if path.is_file() else "" for path in directory.rglob("*")}


@pytest.mark.parametrize("task", NAMED, ids=lambda task: task[0])
def test_a_path_as_name_changes_nothing(project: Path, task: tuple[str, ...]) -> None:
    state = Path(os.environ["THREEZONE_STATE"])
    (state / "clusters" / "kind").mkdir(parents=True)
    (state / "clusters" / "kind" / "git-password").write_text("secret")
    (state.parent / "mine").write_text("mine")
    before = tree(state.parent)
    assert invoke(project, *task, "--name", "..").exit_code == 2
    (project / "invoke.yaml").write_text("threezone: {cluster: {name: ../mine}}\n")
    assert invoke(project, *task).exit_code == 2
    assert tree(state.parent) == before


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("threezone: {a: b: c}\n", "invoke.yaml is not valid YAML"),
        ("[1]\n", "invoke.yaml: expected sections, got [1]"),
        ("threezone: {chanel: auto}\n", "unknown key threezone.chanel; did you mean 'channel'?"),
    ],
)
def test_a_broken_invoke_yaml_is_one_sentence(project: Path, text: str, sentence: str) -> None:
    (project / "invoke.yaml").write_text(text)
    done = invoke(project, "tools.list")
    assert done.exit_code == 2
    assert done.stderr.startswith(f"error: {project}/invoke.yaml")
    assert sentence in done.stderr
    assert "Traceback" not in done.stderr


def test_another_error_of_invoke_keeps_its_traceback(project: Path) -> None:
    with (project / "tasks.py").open("a") as tasks:
        tasks.write("raise RuntimeError('not the settings')\n")
    done = invoke(project, "--list")
    assert done.exit_code == 1
    assert "RuntimeError: not the settings" in done.stderr


@pytest.mark.parametrize("unbuffered", ["", "1"], ids=["at the end", "in the middle"])
@pytest.mark.parametrize(
    ("arguments", "both"),
    [(["--list"], False), (["tools.list"], False), (["up", "--dry-run"], True), (["gitops.push"], True)],
    ids=["list", "result", "progress", "error"],
)
def test_a_closed_output_ends_a_task_quietly(
    project: Path, tmp_path: Path, arguments: list[str], both: bool, unbuffered: str
) -> None:
    """As in `… | head -1`: the pipe has no reader when the first line is written; `both` is `2>&1`."""
    reader, writer = os.pipe()
    os.close(reader)
    errors = tmp_path / "stderr"
    with os.fdopen(writer, "wb") as gone, errors.open("wb") as apart:
        done = subprocess.run(
            [sys.executable, "-m", "invoke", *arguments],
            cwd=project,
            env=os.environ | {"PYTHONPATH": str(ROOT / "scripts"), "PYTHONUNBUFFERED": unbuffered},
            stdout=gone,
            stderr=gone if both else apart,
            timeout=60,
            check=False,
        )
    assert done.returncode == -signal.SIGPIPE
    assert errors.read_bytes() == b""


def test_another_broken_pipe_keeps_its_traceback(project: Path) -> None:
    with (project / "tasks.py").open("a") as tasks:
        tasks.write("raise BrokenPipeError('of a connection')\n")
    done = invoke(project, "--list")
    assert done.exit_code == 1
    assert "BrokenPipeError: of a connection" in done.stderr


@pytest.mark.parametrize("session", ["lint", "types", "tests", "e2e", "bench"])
def test_nox_outside_the_environment_is_refused_with_a_fix(tmp_path: Path, session: str) -> None:
    shutil.copy(ROOT / "noxfile.py", tmp_path)
    (tmp_path / "requirements.lock").write_text("another lock file\n")  # so this environment is not that of the lock
    done = run([sys.executable, "-m", "nox", "-s", session], cwd=tmp_path, timeout=60, check=False)
    assert done.exit_code != 0
    assert "start it as: ./run nox" in done.stdout + done.stderr


def test_nox_runs_the_default_sessions() -> None:
    listed = run([sys.executable, "-m", "nox", "--list"], cwd=ROOT, timeout=60).stdout.splitlines()
    chosen = {line[2:].split(" -> ")[0] for line in listed if line.startswith("* ")}
    left = {line[2:].split(" -> ")[0] for line in listed if line.startswith("- ")}
    assert (chosen, left) == ({"lint", "types", "tests", "e2e"}, {"bench", "campaign", "e2e_all"})
