"""Other versions of Kubernetes than the pinned one, from the setting to a running pod."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator

import pytest
from tests.e2e.project import Project, free_port

from threezone.images import build
from threezone.images.versions import node_for
from threezone.toolchain import channel as reach

pytestmark = pytest.mark.timeout(5400)

NAME, PORT = "threezone-version", free_port(26743, 36743)
CONTEXT = f"kind-{NAME}"


@pytest.fixture(params=["1.34", "1.36"])
def asked(
    request: pytest.FixtureRequest,
    project: Project,  # noqa: ARG001  its engine works
    make_project: Callable[[str, int], Project],
) -> Iterator[tuple[Project, str]]:
    """A project with another version of Kubernetes, and its patch version."""
    version = str(request.param)
    made = make_project(NAME, PORT)
    settings = made.root / "invoke.yaml"
    settings.write_text(settings.read_text().replace("kubernetes: ''", f"kubernetes: '{version}'"))
    made.commit(f"Kubernetes {version}")
    made.invoke("down", "--yes")
    yield made, node_for(version).version
    made.invoke("down", "--yes")


def test_another_version_of_kubernetes_runs_pods(asked: tuple[Project, str]) -> None:
    project, version = asked
    channel = reach.resolve_channel("auto")
    name = f"node:{version}"
    if not build.has_all([name], channel) and channel == "release" and node_for(version).digest is None:
        result = project.invoke("cluster.create", check=False)
        assert result.exit_code == 2
        assert f"no digest is pinned for docker.io/kindest/node:v{version}" in result.stderr
        return
    project.invoke("cluster.create", timeout=5400)
    status = json.loads(project.invoke("cluster.status", "--json").stdout)
    assert (status["kubernetes"], status["ready"], status["skew"]) == (f"v{version}", True, [])
    project.kubectl(
        "wait",
        "--namespace=kube-system",
        "--for=condition=Available",
        "deployment/coredns",
        "--timeout=120s",
        context=CONTEXT,
    )
    assert "nothing to do" in project.invoke("cluster.create").stdout
