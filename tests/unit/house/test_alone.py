"""Unit tests start no programs and see no files of the user (tests/conftest.py)."""

import os
import subprocess
from pathlib import Path

import pytest

from threezone.core import paths
from threezone.core.process import run


def test_a_unit_test_cannot_start_a_program() -> None:
    with pytest.raises(AssertionError, match="mark it real_program"):
        run(["true"], timeout=10)
    with pytest.raises(AssertionError, match="mark it real_program"):
        subprocess.run(["true"], check=True)


@pytest.mark.real_program
def test_a_marked_test_may_start_one() -> None:
    assert run(["true"], timeout=10).exit_code == 0


def test_the_files_of_the_user_are_out_of_reach(outer_environment: dict[str, str]) -> None:
    home = Path.home()
    assert str(home) != outer_environment["HOME"]
    assert Path(os.environ["KUBECONFIG"]).is_relative_to(home)
    assert paths.state_dir().is_relative_to(home)
    assert paths.cache_dir().is_relative_to(home)
    assert "DOCKER_CONFIG" not in os.environ
