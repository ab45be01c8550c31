"""Completion in real shells: what stands on the line after the tabulator key."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.e2e.places import build_image
from tests.e2e.project import NAME, ROOT, Project

from threezone.core import process

IMAGE = "threezone/e2e-shells:1"
CONTAINER = "threezone-e2e-shells"
RECIPE = Path(__file__).with_name("containers") / "shells"
LINES = {
    "threezone gitops.pu": "gitops.push",
    "threezone up --dry": "--dry-run",
    "threezone up --channel so": "source",
    "threezone gitops.wait HE": "HEAD",
}
ZSH = r"""
zmodload zsh/zpty
zpty shell zsh -f -i
zpty -w shell "autoload -Uz compinit && compinit -u; source /completion/zsh; print is-rea''dy"
zpty -r shell out "*is-ready*"
for line in {lines}; do
  zpty -w -n shell "$line"$'\t'$'\C-a'"print -r -- ' "$'\C-e'" :end'"$'\n'
  zpty -r shell out "*:end*:end*"
  print -r -- "$out"
done
"""


@pytest.fixture(scope="module")
def shells(project: Project, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A running container with the shells and their completion scripts."""
    build_image(IMAGE, RECIPE)
    scripts = tmp_path_factory.mktemp("completion")
    for shell in ("bash", "fish", "zsh"):
        argv = (sys.executable, "-P", "-m", "threezone", "--print-completion-script", shell)
        printed = process.run(argv, timeout=60, cwd=scripts, env={"PYTHONPATH": str(ROOT / "scripts")}).stdout
        (scripts / shell).write_text(printed)
    assert project.root.is_dir()
    options = ("--volume", f"{scripts}:/completion:ro", "--init", IMAGE, "sleep", "infinity")
    try:
        process.run(["docker", "run", "--detach", "--name", CONTAINER, *options], timeout=60)
        yield
    finally:
        process.run(["docker", "rm", "--force", CONTAINER], timeout=60, check=False)


def within(*argv: str) -> str:
    return process.run(["docker", "exec", CONTAINER, *argv], timeout=120).stdout


@pytest.mark.usefixtures("shells")
def test_fish_completes() -> None:
    for line, word in LINES.items():
        script = f"source /completion/fish; complete --do-complete '{line}'"
        assert word in within("fish", "-c", script).split(), line


@pytest.mark.usefixtures("shells")
def test_zsh_completes_on_its_line() -> None:
    quoted = " ".join(f"'{line}'" for line in LINES)
    screen = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", within("zsh", "-f", "-c", ZSH.replace("{lines}", quoted)))
    for line, word in LINES.items():
        assert re.search(rf"^ {line.rpartition(' ')[0]} {re.escape(word)} +:end", screen, re.MULTILINE), screen


def test_bash_completes_the_names_of_clusters_and_contexts(lab: Project, tmp_path: Path) -> None:
    argv = (sys.executable, "-P", "-m", "threezone", "--print-completion-script", "bash")
    script = process.run(argv, timeout=60, cwd=tmp_path, env={"PYTHONPATH": str(ROOT / "scripts")}).stdout
    (tmp_path / "bash").write_text(script)
    lines = {"threezone status --name ": NAME, "threezone flux.check --context ": f"kind-{NAME}"}
    for line, word in lines.items():
        typed = f"source {tmp_path}/bash; COMP_LINE='{line}' COMP_POINT={len(line)}; _threezone_complete"
        tools = lab.tool("kubectl").parent
        asked = lab.run("bash", "-c", f"PATH={tools}:$PATH; {typed}; echo ${{COMPREPLY[@]}}")
        assert word in asked.stdout.split()
