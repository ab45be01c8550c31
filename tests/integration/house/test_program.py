"""`python -m threezone`, the program behind `threezone` and `./run`: its list, and its answers to mistakes."""

import json
import re
import shlex
import sys
from pathlib import Path

import pytest

from threezone.core.process import Completed, run
from threezone.tasks import collection

ROOT = Path(__file__).parents[3]


def threezone(directory: Path, *arguments: str) -> Completed:
    command = [sys.executable, "-P", "-m", "threezone", *arguments]
    return run(command, cwd=directory, env={"PYTHONPATH": str(ROOT / "scripts")}, timeout=60, check=False)


def test_every_task_is_listed_once_with_one_line_below_a_heading(tmp_path: Path) -> None:
    listed = json.loads(threezone(tmp_path, "--list", "--list-format=json").stdout)
    names = [task["name"] for task in listed["tasks"]]
    names += [f"{space['name']}.{task['name']}" for space in listed["collections"] for task in space["tasks"]]
    shown = threezone(tmp_path, "--list").stdout
    assert sorted(re.findall(r"^  (\S+)  +\S.*$", shown, flags=re.MULTILINE)) == sorted(names)
    assert re.match(r"\S", shown)
    assert re.findall(r"^  (\S+)", threezone(tmp_path, "--list", "flux").stdout, flags=re.MULTILINE) == sorted(
        name for name in names if name.startswith("flux.")
    )


@pytest.mark.parametrize(
    ("words", "message", "fix"),
    [
        (["stauts"], "'stauts'", "threezone status"),
        (["create"], "'create'", "threezone cluster.create"),
        (["cluster"], "'cluster'", "threezone --list cluster"),
        (["up", "--yess"], "up has no option --yess", "--yes"),
        (["up", "--yes=true"], "--yes takes no value", "threezone --help up"),
        (["up", "--workers"], "--workers needs a value", "threezone --help up"),
        (["up", "--workers", "many"], "--workers needs a whole number", ""),
        (["image.build"], "image.build needs a value", "threezone --help image.build"),
        (["--dry", "up"], "no option --dry before a task", "threezone --help"),
        (["--list", "nothing"], "'nothing'", "threezone --list"),
        (["--list", "--list-format=x"], "expected one of flat, nested, json", "threezone --list"),
        (["--list", "--list-depth=x"], "--list-depth needs a whole number", ""),
        (["--help", "stauts"], "'stauts'", "threezone status"),
        (["--print-completion-script", "csh"], "bash, fish, zsh", "threezone --help"),
    ],
    ids=" ".join,
)
def test_a_mistake_is_one_sentence_and_exit_code_2(tmp_path: Path, words: list[str], message: str, fix: str) -> None:
    done = threezone(tmp_path, *words)
    assert (done.exit_code, done.stdout) == (2, "")
    first, *_, last = done.stderr.splitlines()
    assert first.startswith("error: ")
    assert message in first
    assert not fix or last.startswith(f"fix: {fix}")


@pytest.mark.parametrize("words", [["image.build", "--help"], ["up", "--no-such", "--help"], ["--help", "up"]])
def test_help_of_a_task_needs_nothing_else(tmp_path: Path, words: list[str]) -> None:
    done = threezone(tmp_path, *words)
    assert done.exit_code == 0, done.stderr
    assert re.match(r"Usage: threezone .*(image\.build|up) ", done.stdout)


# What stands before the cursor, and what completes it, in a repository with a tag `v1`.
COMPLETED = {
    "threezone gitops.pu": ["gitops.push"],
    "threezone up --dry": ["--dry-run"],
    "threezone kubeconfig.export --no-p": ["--no-proof"],
    "threezone up --channel ": ["auto", "release", "source"],
    "threezone up --channel=so": ["source"],
    "threezone gitops.wait v": ["v1"],
    "threezone gitops.check --revision ": ["HEAD", "main", "v1"],
    "threezone flux.status --context ki": ["kind-one", "kind-two"],
    "threezone image.load registry/app:": ["1", "2"],
    "threezone status --name ": ["one", "two"],
    "threezone up --port ": [],
    "threezone down stat": ["status"],
}


def test_bash_completes_tasks_options_and_values(tmp_path: Path) -> None:
    """docker and kubectl are stand-ins here; tests/e2e/test_completion.py asks the real ones."""
    programs = {
        "threezone": f'exec {sys.executable} -P -m threezone "$@"',
        "docker": "case $1 in ps) echo one two ;; *) echo registry/app:1 registry/app:2 other:1 ;; esac",
        "kubectl": "echo kind-one kind-two other",
    }
    for name, command in programs.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{command}\n")
        (tmp_path / name).chmod(0o755)
    identity = ("-c", "user.name=A User", "-c", "user.email=user@example.invalid")
    for words in ("init --initial-branch=main", "commit --quiet --allow-empty --message=x", "tag v1"):
        run(["git", *identity, *words.split()], cwd=tmp_path, timeout=30)
    lines = "".join(f"complete {shlex.quote(line)}\n" for line in COMPLETED)
    script = f"""
PATH={tmp_path}:$PATH
source <(threezone --print-completion-script bash)
complete() {{ COMP_LINE=$1 COMP_POINT=${{#1}}; _threezone_complete; echo "${{COMPREPLY[@]}}"; }}
{lines}"""
    env = {"PYTHONPATH": str(ROOT / "scripts")}
    done = run(["bash", "-c", script], cwd=tmp_path, env=env, timeout=60)
    assert dict(zip(COMPLETED, map(str.split, done.stdout.split("\n")), strict=False)) == COMPLETED


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_every_task_is_in_the_completion_script(tmp_path: Path, shell: str) -> None:
    script = threezone(tmp_path, "--print-completion-script", shell).stdout
    names = set(collection().task_names)
    assert names <= set(re.findall(r"[\w.-]+", script))
    assert "--complete" not in re.sub(r"complete --command", "", script), "Python is not asked"


def test_the_tasks_of_a_project_stand_beside_ours_and_somebody_elses_tasks_py_hides_none(tmp_path: Path) -> None:
    own = 'from invoke import task\n\n@task\ndef greet(c):\n    """Say hello."""\n    print(\'hello\')\n\n'
    (tmp_path / "tasks.py").write_text(
        f"from threezone.tasks import collection\n{own}namespace = collection()\nnamespace.add_task(greet)\n"
    )
    assert threezone(tmp_path, "greet").stdout == "hello\n"
    listed = threezone(tmp_path, "--list").stdout
    assert re.search(r"^  greet +Say hello.$", listed, flags=re.MULTILINE)
    assert re.search(r"^  up +\S", listed, flags=re.MULTILINE)
    (tmp_path / "tasks.py").write_text(own)
    listed = threezone(tmp_path, "--list").stdout
    assert "greet" not in listed
    assert re.search(r"^  up +\S", listed, flags=re.MULTILINE)


@pytest.mark.parametrize("broken", ["def broken(:  # threezone", "import threezone.nothing", "threezone = 1 / 0"])
def test_a_tasks_py_that_cannot_be_loaded_is_named(broken: str, tmp_path: Path) -> None:
    (tmp_path / "tasks.py").write_text(broken)
    done = threezone(tmp_path, "up", "--dry-run")
    assert done.exit_code == 2
    assert str(tmp_path / "tasks.py") in done.stderr
    assert "Traceback" not in done.stderr
