"""The whole lab with IPv6 only, and with both families and kube-proxy's nftables mode."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
import yaml
from tests.e2e.project import Project, free_port

NAME, PORT = "threezone-family", free_port(26753, 36753)
DECLARED = {
    "ipv6": {"overlay": {"networking": {"ipFamily": "ipv6"}}},
    "dual": {"overlay": {"networking": {"ipFamily": "dual", "kubeProxyMode": "nftables"}}, "workers": 1},
}


@pytest.fixture(params=DECLARED)
def declared(
    request: pytest.FixtureRequest,
    project: Project,  # noqa: ARG001  its engine works
    make_project: Callable[[str, int], Project],
) -> Iterator[tuple[Project, str]]:
    """A project whose cluster is declared with these families of addresses."""
    made = make_project(NAME, PORT)
    settings = made.root / "invoke.yaml"
    content = yaml.safe_load(settings.read_text())
    content["threezone"]["cluster"].update(DECLARED[request.param])
    settings.write_text(yaml.safe_dump(content))
    made.commit(f"Addresses: {request.param}")
    made.invoke("down", "--yes")
    yield made, request.param
    made.invoke("down", "--yes")


def test_a_commit_is_delivered_and_answers_after_a_restart(declared: tuple[Project, str]) -> None:
    project, families = declared
    project.invoke("up", "--yes", timeout=1200)
    text = (project.root / "local/gitops/apps/hello/index.html").read_text().strip()
    assert project.invoke("app.open", "--once").stdout.strip() == text
    pods = project.json("get", "pods", "--all-namespaces", context=f"kind-{NAME}")
    shown = {
        ":" in address["ip"]
        for pod in pods["items"]
        if not pod["spec"].get("hostNetwork")
        for address in pod["status"]["podIPs"]
    }
    assert shown == ({True} if families == "ipv6" else {False, True})
    project.invoke("cluster.stop", timeout=300)
    project.invoke("cluster.start", timeout=600)
    assert project.invoke("app.open", "--once").stdout.strip() == text
    assert "nothing to do" in project.invoke("up", "--yes").stdout
