"""Restart the whole engine under a running lab. All containers of the machine stop with it: run this alone."""

from __future__ import annotations

import json

import pytest
from tests.campaign.test_kills import clean, whole
from tests.e2e.project import NAME, Project
from tests.e2e.test_lifecycle import all_back

__all__ = ["clean"]  # a fixture

pytestmark = pytest.mark.timeout(1800)


@pytest.mark.parametrize("repair", [("cluster.start",), ("up", "--yes")], ids=["start", "up"])
def test_a_restarted_engine_is_reported_and_the_lab_repaired(
    project: Project, clean: set[str], repair: tuple[str, ...]
) -> None:
    project.invoke("engine.stop", timeout=300)
    seen = json.loads(project.invoke("status", "--json").stdout)
    assert (seen["engine"]["state"], seen["cluster"]["ready"]) == ("stopped", False)
    assert project.invoke("cluster.start", check=False).exit_code == 3
    project.invoke("engine.start", "--yes", timeout=300)
    # The engine may restart the nodes or not (kind asks for on-failure). In both cases they are not Ready.
    told = project.invoke("cluster.status", check=False)
    assert told.exit_code == 4, told.stdout + told.stderr
    project.invoke(*repair, timeout=600)
    all_back(project)
    whole(project, clean)


def test_up_starts_a_stopped_engine(project: Project, clean: set[str]) -> None:
    project.invoke("engine.stop", timeout=300)
    project.invoke("up", "--yes", timeout=600)
    assert json.loads(project.invoke("status", "--json").stdout)["cluster"]["name"] == NAME
    all_back(project)
    whole(project, clean)
