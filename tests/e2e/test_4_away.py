"""The way back, after everything else: down removes what up made, and nothing else."""

from __future__ import annotations

import json
from typing import Any

import pytest
from tests.e2e.places import Place
from tests.e2e.project import FOREIGN, NAME, Project, untouchable, without

pytestmark = pytest.mark.timeout(3600)

CONTEXT = f"kind-{NAME}"


def test_down_removes_ours_and_nothing_else(before: dict[str, Any], lab: Project) -> None:
    assert "error" in lab.invoke("down", check=False).stderr, "it asks first, and nobody is there to answer"
    lab.invoke("down", "--yes")
    left = lab.run("docker", "ps", "--all", "--quiet", "--filter", f"label=io.x-k8s.kind.cluster={NAME}").stdout
    assert left == ""
    view = lab.view()
    assert without(view, CONTEXT) == without(before["kubeconfig"], CONTEXT)
    assert CONTEXT not in json.dumps(view)
    assert untouchable(lab) == before["cluster"]
    assert not (lab.state / "clusters" / NAME).exists()
    assert "port-forward" not in lab.run("ps", "axww", "-o", "args").stdout
    assert lab.invoke("down", "--yes").stdout.strip() == "nothing to do"


def test_down_in_the_container_leaves_the_network_too(gateway: Project, zone1: Place) -> None:
    gateway.invoke("down", "--yes")  # it stays attached while another cluster of ours may be reached that way
    assert zone1.networks() == {"bridge", "kind"}
    zone1.invoke("down", "--yes")
    assert zone1.networks() == {"bridge"}
    assert CONTEXT not in zone1.run("kubectl", "config", "get-contexts", "--output=name").stdout


def test_the_foreign_entries_are_as_they_were(lab: Project) -> None:
    view = lab.view()
    cluster = next(c["cluster"] for c in view["clusters"] if c["name"] == "433e40")
    assert cluster["server"] == FOREIGN["clusters"][0]["cluster"]["server"]  # type: ignore[index]
    raw = lab.kubeconfig.read_text()
    assert "x-of-somebody" in raw, "what kubectl itself would drop is kept"
