"""The README is true: every command that it shows was run by the tests before this one."""

from __future__ import annotations

import re

from tests.e2e.project import RAN, ROOT, Project

# What stands for itself: the command that runs these tests, an editor, and what the integration tests run.
ELSEWHERE = {
    "./run nox": "this is what runs here",
    "$EDITOR local/gitops/apps/hello/index.html": "the tests write the file",
    "pip install ../threezone": "tests/integration/house/test_adoption.py",
    "devcontainer up --workspace-folder .": "tests/e2e/test_4_devcontainer.py",
}


def shown() -> list[str]:
    """The commands of the README's console blocks, without prompts, output and comments."""
    blocks = re.findall(r"```console\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    return [line.split("  #")[0].strip() for block in blocks for line in block.splitlines() if line.strip()]


def test_every_command_of_the_readme_was_run(lab: Project) -> None:  # noqa: ARG001  the others came before
    commands = shown()
    ran = {" ".join(each.argv) for each in RAN}
    assert len(commands) > len(ELSEWHERE)
    missing = [c for c in commands if c not in ELSEWHERE and re.sub(r"(['\"])", "", c) not in ran]
    assert missing == []
