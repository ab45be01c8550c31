"""`cluster.adopt`: an existing cluster becomes the lab of a project, on the host and in containers."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest
from tests.e2e.places import Place, place
from tests.e2e.project import BY_HAND, Project

pytestmark = pytest.mark.timeout(3600)

CONTEXT = f"kind-{BY_HAND}"
NOWHERE = "kubernetes.docker.internal"  # what Docker Desktop writes for its own cluster
KINDS = "namespaces,customresourcedefinitions,clusterroles,clusterrolebindings,persistentvolumes"


def everything(project: Project) -> set[str]:
    """The namespaces and the cluster-scoped objects that could be left behind."""
    listed = project.json("get", KINDS, context=CONTEXT)["items"]
    return {f"{each['kind']} {each['metadata']['name']} {each['metadata']['uid']}" for each in listed}


def entry(project: Project) -> dict[str, Any]:
    found: dict[str, Any] = next(each["cluster"] for each in project.view()["clusters"] if each["name"] == CONTEXT)
    return found


@pytest.fixture
def same_file(project: Project) -> Iterator[None]:
    """Restore the kubeconfig byte for byte after the test, because kubectl drops what it does not know."""
    file = project.kubeconfig.read_bytes()
    yield
    project.kubeconfig.write_bytes(file)


@pytest.mark.usefixtures("same_file")
def test_an_adopted_cluster_is_the_lab_until_it_is_given_back(project: Project, by_hand: str) -> None:
    was, before = project.view(), everything(project)
    port = urlsplit(entry(project)["server"]).port
    kubectl = project.tool("kubectl")
    project.run(kubectl, "config", "set-cluster", CONTEXT, f"--server=https://{NOWHERE}:{port}")
    moved = project.view()
    try:
        asked = project.invoke("cluster.adopt", "--context", CONTEXT, check=False)
        assert (asked.exit_code, "which does not lead there from here" in asked.stderr) == (8, True)
        assert project.view() == moved, "nothing is written before the yes"
        project.invoke("cluster.adopt", "--context", CONTEXT, "--yes")
        assert "Ready" in project.kubectl("get", "nodes", context=CONTEXT).stdout

        for task in ("cluster.create", "cluster.delete", "cluster.stop"):
            refused = project.invoke(task, check=False)
            assert (refused.exit_code, f"the context {CONTEXT} is adopted, not ours" in refused.stderr) == (4, True)
        named = project.invoke("cluster.delete", "--name", by_hand, "--yes", check=False)
        assert (named.exit_code, "was not made by threezone; it is left alone" in named.stderr) == (4, True)

        assert project.invoke("up", check=False).exit_code == 8
        assert everything(project) == before, "nothing is changed before the yes"
        project.invoke("up", "--yes", timeout=1200)
        assert project.invoke("up").stdout.startswith("nothing to do\n")
        project.invoke("gitops.push", "--yes")
        sha = project.run("git", "rev-parse", "HEAD").stdout.strip()
        assert f"@sha1:{sha}" in project.invoke("gitops.wait", "--revision", "HEAD").stdout
        text = project.run("git", "show", "HEAD:local/gitops/apps/hello/index.html").stdout.strip()
        assert project.invoke("app.open", "--once").stdout.strip() == text
        actual = json.loads(project.invoke("status", "--json").stdout)
        assert (actual["cluster"]["name"], actual["cluster"]["adopted"], actual["cluster"]["ready"]) == (
            CONTEXT,
            True,
            True,
        )
        assert actual["gitops"]["revision"] == actual["gitops"]["wanted"]
        assert "yes" in project.invoke("cluster.status").stdout

        output = project.invoke("cluster.adopt", "--remove").stdout
        assert f"gitops.serve --remove --context {CONTEXT}" in output
        assert f"flux.uninstall --context {CONTEXT}" in output
        assert project.view() == moved, "the entry is as it was before the adoption"

        project.invoke("cluster.adopt", "--context", CONTEXT, "--yes")
        assert "is released" in project.invoke("down", "--yes").stdout
        assert project.view() == moved
        project.run(kubectl, "config", "set-cluster", CONTEXT, f"--server=https://127.0.0.1:{port}")
        assert everything(project) == before
    finally:
        project.invoke("cluster.adopt", "--remove")
        project.run(kubectl, "config", "set-cluster", CONTEXT, f"--server=https://127.0.0.1:{port}")
        project.invoke("gitops.serve", "--remove", "--yes", "--context", CONTEXT, check=False)
        project.invoke("flux.uninstall", "--yes", "--context", CONTEXT, check=False)
    assert everything(project) == before
    assert project.view() == was
    assert not (project.state / "adopted").exists()


def moved_to_desktop(project: Project, context: str) -> str:
    """The kubeconfig of the cluster made by hand, as Docker Desktop would write it."""
    text = project.run(project.tool("kind"), "get", "kubeconfig", "--name", BY_HAND).stdout
    return text.replace(CONTEXT, context).replace("https://127.0.0.1:", f"https://{NOWHERE}:")


def give(zone: Place, name: str, text: str) -> None:
    zone.run("sh", "-c", f"umask 077; mkdir -p /root/{name}; cat > /root/{name}/config", stdin=text)


def test_the_name_of_docker_desktop_is_explained_in_a_container(project: Project, by_hand: str, places: None) -> None:  # noqa: ARG001
    with place(project, "adopt-alone", socket=False) as zone:
        give(zone, "adopt-alone", moved_to_desktop(project, "docker-desktop"))
        refused = zone.invoke("cluster.adopt", "--context", "docker-desktop", "--yes", check=False)
        words = " ".join(refused.stderr.replace("|", " ").split())
        assert refused.exit_code == 5, refused.stderr
        assert f"Could not resolve host: {NOWHERE}" in words
        assert "Only Docker Desktop knows that name, not the resolver of this container" in words
        assert "--add-host=host.docker.internal:host-gateway" in words
        assert zone.entry("docker-desktop")["server"].startswith(f"https://{NOWHERE}:")


@pytest.mark.usefixtures("places")
def test_the_name_of_docker_desktop_is_replaced_in_a_container_with_the_socket(project: Project, by_hand: str) -> None:
    with place(project, "adopt-socket") as zone:
        give(zone, "adopt-socket", moved_to_desktop(project, CONTEXT))
        zone.invoke("cluster.adopt", "--context", CONTEXT, "--yes")
        assert zone.entry(CONTEXT)["server"] == f"https://{by_hand}-control-plane:6443"
        assert " Ready " in zone.kubectl("get", "nodes", context=CONTEXT).stdout
        zone.invoke("cluster.adopt", "--remove")
        assert zone.entry(CONTEXT)["server"].startswith(f"https://{NOWHERE}:")
