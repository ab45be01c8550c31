"""The files that ci.gitlab and ci.github write: against the published schemas, and written only where they may be."""

import shutil
from collections.abc import Callable
from itertools import product
from pathlib import Path

import pytest

from threezone.core.process import Completed, run
from threezone.extras.ci import pipeline
from threezone.extras.ci.pipeline import Pipeline

ROOT = Path(__file__).parents[4]
SCHEMAS = {"gitlab": "vendor.gitlab-ci", "github": "vendor.github-workflows"}

Invoke = Callable[..., Completed]


@pytest.mark.parametrize("kind", ["gitlab", "github"])
def test_every_file_holds_against_the_published_schema(kind: str, tmp_path: Path) -> None:
    files = []
    for runner, setup in product(("dind", "socket", "shell", "hosted"), ("", "pip install -r requirements.txt")):
        files.append(tmp_path / f"{runner}-{bool(setup)}.yml")
        files[-1].write_text(pipeline.text(kind, Pipeline(pipeline.runner(kind, runner), setup=setup)))
    checked = run(["check-jsonschema", "--builtin-schema", SCHEMAS[kind], *files], timeout=120, check=False)
    assert checked.exit_code == 0, checked.stdout
    files[0].write_text(files[0].read_text().replace("    - ", "    - {a: ", 1).replace("stages:", "stages: 1 #"))
    broken = run(["check-jsonschema", "--builtin-schema", SCHEMAS[kind], files[0]], timeout=120, check=False)
    assert broken.exit_code != 0, "a check that finds nothing wrong with anything is none"


@pytest.fixture
def project(tmp_path: Path) -> Invoke:
    """A project that installed threezone, and invoke in it."""
    shutil.copy(ROOT / "tasks.py", tmp_path / "tasks.py")
    scripts = tmp_path / "scripts"
    scripts.symlink_to(ROOT / "scripts")

    def invoke(*argv: str) -> Completed:
        return run(["invoke", *argv], cwd=tmp_path, timeout=60, check=False)

    return invoke


def test_a_file_is_written_once_and_an_edited_one_is_asked_about(project: Invoke, tmp_path: Path) -> None:
    path = tmp_path / ".github/workflows/threezone.yml"
    assert "is written" in project("ci.github").stdout
    first = path.read_text()
    assert "      - name: Bring the lab up\n        run: threezone up --yes" in first, "there is no ./run here"
    again = project("ci.github")
    assert "nothing to do" in again.stdout
    assert project("ci.github", "--runner", "shell").exit_code == 0, "nobody has edited it"
    path.write_text(first.replace("timeout-minutes: 60", "timeout-minutes: 5"))
    refused = project("ci.github")
    assert refused.exit_code == 8
    assert "-    timeout-minutes: 5" in refused.stderr
    assert "timeout-minutes: 5" in path.read_text()
    assert project("ci.github", "--yes").exit_code == 0
    assert path.read_text() == first


def test_a_file_of_one_s_own_stays(project: Invoke, tmp_path: Path) -> None:
    (tmp_path / ".gitlab-ci.yml").write_text("stages: [mine]\n")
    assert project("ci.gitlab").exit_code == 8
    assert (tmp_path / ".gitlab-ci.yml").read_text() == "stages: [mine]\n"
    printed = project("ci.gitlab", "--stdout", "--runner", "dind", "--namespace", "shop")
    assert printed.stdout == pipeline.text("gitlab", Pipeline("dind", invoke="threezone", namespace="shop"))
    assert project("ci.gitlab", "--runner", "kubernetes").exit_code == 2


def test_stdout_as_the_file_holds_the_file_alone(project: Invoke) -> None:
    asked = ("ci.gitlab", "--runner", "dind")
    assert project(*asked, "--output", "/dev/stdout").stdout == project(*asked, "--stdout").stdout
