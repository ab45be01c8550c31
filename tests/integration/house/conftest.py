"""Another team's repository, and invoke as a person starts it there."""

import sys
from pathlib import Path

import pytest

from threezone.core.process import Completed, run

ROOT = Path(__file__).parents[3]


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """Another team's repository: its own tasks.py imports ours from where they are installed."""
    source = "from threezone.tasks import collection\n\nnamespace = collection()\n"
    (tmp_path / "tasks.py").write_text(source)
    return tmp_path


def invoke(project: Path, *arguments: str, **env: str) -> Completed:
    command = [sys.executable, "-m", "invoke", *arguments]
    return run(command, cwd=project, env={"PYTHONPATH": str(ROOT / "scripts"), **env}, timeout=60, check=False)
