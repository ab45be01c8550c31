"""`down` removes what `up` made and nothing else. Runs last, because it deletes the lab."""

from __future__ import annotations

import json
from typing import Any

import pytest
from tests.e2e.places import Place
from tests.e2e.project import FOREIGN, GATEWAY, NAME, Project, untouchable, without

from threezone.core import labels, process

pytestmark = pytest.mark.timeout(3600)

CONTEXT = f"kind-{NAME}"


def other_clusters() -> set[str]:
    """The threezone clusters on this engine that these tests did not make, such as the user's own lab."""
    fields = ["--all", f"--filter=label={labels.OWNER}", f'--format={{{{.Label "{labels.OWNER}"}}}}']
    return set(process.run(["docker", "ps", *fields], timeout=30).stdout.split()) - {NAME, GATEWAY}


@pytest.fixture(scope="module")
def connected(zone1: Place) -> Place:
    """A container that joined kind's network to reach the lab."""
    zone1.invoke("kubeconfig.connect")
    assert zone1.networks() == {"bridge", "kind"}
    return zone1


@pytest.mark.usefixtures("connected")
def test_down_removes_ours_and_nothing_else(before: dict[str, Any], lab: Project) -> None:
    assert lab.invoke("down", check=False).exit_code == 8, "it asks, and there is no terminal"
    lab.invoke("down", "--yes")
    left = lab.run("docker", "ps", "--all", "--quiet", "--filter", f"label=io.x-k8s.kind.cluster={NAME}").stdout
    assert left == ""
    view = lab.view()
    assert without(view, CONTEXT) == without(before["kubeconfig"], CONTEXT)
    assert CONTEXT not in json.dumps(view)
    assert untouchable(lab) == before["cluster"]
    assert not (lab.state / "clusters" / NAME).exists()
    processes = lab.run("ps", "axww", "-o", "args").stdout.splitlines()
    assert [line for line in processes if "port-forward" in line and CONTEXT in line] == []
    assert lab.invoke("down", "--yes").stdout.strip() == "nothing to do"


def test_down_in_a_container_leaves_the_network_of_kind_with_the_last_cluster(
    gateway: Project, connected: Place
) -> None:
    def contexts() -> str:
        return connected.run("kubectl", "config", "get-contexts", "--output=name").stdout

    connected.invoke("down", "--yes")
    assert CONTEXT not in contexts()
    assert connected.networks() == {"bridge", "kind"}, "another lab may be reached that way"
    gateway.invoke("down", "--yes")
    connected.invoke("kubeconfig.remove")
    assert connected.networks() == ({"bridge", "kind"} if other_clusters() else {"bridge"})


def test_the_entries_of_others_are_unchanged(lab: Project) -> None:
    view = lab.view()
    cluster = next(c["cluster"] for c in view["clusters"] if c["name"] == "433e40")
    assert cluster["server"] == FOREIGN["clusters"][0]["cluster"]["server"]  # type: ignore[index]
    assert "x-of-somebody" in lab.kubeconfig.read_text(), "kubectl drops this key; threezone keeps it"
