"""`devcontainer up` of @devcontainers/cli on this engine, with its lifecycle commands.

The tests start the definition without features, on the base image of the channel. They add this machine's
certificates and programs. postCreate makes the cluster in the container, as a user who is not root.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.e2e.devcontainer import NO_CLUSTER, USER, Devcontainer, belongs_to, prepare, read
from tests.e2e.places import base_image
from tests.e2e.project import ROOT, Project, free_port

from threezone.core import process

pytestmark = pytest.mark.timeout(1200)

NAME, PORT = "threezone-devcontainer", free_port(26444, 26448)
DEFINITIONS = ("devcontainer.json", "docker-in-docker/devcontainer.json", "dockerfile/devcontainer.json")
RECONNECT = 5.0  # seconds that postStart may take


@pytest.mark.parametrize("definition", DEFINITIONS)
@pytest.mark.usefixtures("project")  # the CLI asks the engine for containers
def test_the_cli_reads_every_definition(definition: str, tmp_path: Path) -> None:
    found = read(definition, ROOT, tmp_path)
    assert found["onCreateCommand"] == ["./run", "invoke", "tools.install", "--shell"]
    assert found["postCreateCommand"] == ["./run", "invoke", "up"]
    assert found["postStartCommand"] == ["./run", "invoke", "kubeconfig.connect", "--if-running"]
    for feature in found.get("features", {}):
        assert re.search(r":\d+\.\d+\.\d+$", feature), "at its full version"
    if "docker-in-docker" not in definition:
        assert found["workspaceFolder"] == str(ROOT), "where the engine's host has it"
        assert found["runArgs"] == ["--add-host=host.docker.internal:host-gateway"]
        assert {"source": f"{tmp_path}/.kube", "target": "/home/vscode/.kube", "type": "bind"} in found["mounts"]
    chosen = read(definition, ROOT, tmp_path, NO_CLUSTER | {"THREEZONE_SOCKET": "/run/user/1000/docker.sock"})
    assert chosen["postCreateCommand"] == ["./run", "invoke", "status"]
    sources = [mount["source"] for mount in chosen["mounts"]]
    assert "/var/run/docker.sock" not in sources
    assert ("/run/user/1000/docker.sock" in sources) == ("docker-in-docker" not in definition)


@pytest.fixture(scope="module")
def opened(
    project: Project,  # noqa: ARG001  its engine works, its programs are there
    make_project: Callable[[str, int], Project],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Devcontainer]:
    """The project in its devcontainer, with the cluster that postCreate made."""
    made = make_project(NAME, PORT)
    made.invoke("image.build", "all", timeout=5400)  # only root can build the base image
    made.invoke("down", "--yes")
    dev = prepare(made, NAME, tmp_path_factory.mktemp("home"))
    try:
        dev.up("--remove-existing-container")
        yield dev
    finally:
        belongs_to(0, made.root)
        made.invoke("down", "--yes")
        dev.remove()


def test_the_lifecycle_brings_the_lab_up_for_a_normal_user(opened: Devcontainer) -> None:
    assert opened.run("id", "--user").stdout.strip() == str(USER)
    status = json.loads(opened.run("./run", "invoke", "status", "--json").stdout)
    assert (status["zone"], status["cluster"]["ready"]) == ("container", True)
    nodes = opened.run("kubectl", "get", "nodes").stdout
    assert f"{NAME}-control-plane" in nodes
    assert " Ready " in nodes
    scripts = "/home/vscode/.local/share/bash-completion/completions"
    assert opened.run("ls", scripts).stdout.split() == ["flux", "kind", "kubectl", "run"]


def test_the_container_has_its_own_kubeconfig(opened: Devcontainer) -> None:
    kube = opened.home / ".kube"
    assert (kube / "config").read_bytes() == opened.project.kubeconfig.read_bytes(), "the host's is as it was"
    assert f"https://{NAME}-control-plane:6443" in (kube / "devcontainer").read_text()
    assert ((kube / "devcontainer").stat().st_mode & 0o777, (kube / "devcontainer").stat().st_uid) == (0o600, USER)


def test_workspace_paths_are_the_same_for_the_engine(opened: Devcontainer) -> None:
    file = opened.project.root / "tasks.py"
    shown = opened.run("docker", "run", "--rm", f"--volume={file}:/seen:ro", base_image(), "cat", "/seen").stdout
    assert shown == file.read_text()


def test_the_proof_works_in_the_container(opened: Devcontainer) -> None:
    output = opened.run("./run", "invoke", "gitops.prove", "--phases", "create,destroy").stdout
    assert "create" in output
    assert "destroy" in output


def test_a_recreated_devcontainer_reconnects_quickly(opened: Devcontainer) -> None:
    before, container = opened.cluster(), opened.container()["Id"]
    opened.up("--remove-existing-container", without="postStartCommand", env=NO_CLUSTER)
    stale = opened.run("kubectl", "get", "nodes", "--request-timeout=5s", check=False)
    assert stale.exit_code != 0, "without postStart the way of before leads nowhere"
    assert f"{NAME}-control-plane" in stale.stderr
    again = opened.up("--remove-existing-container", env=NO_CLUSTER)
    assert opened.container()["Id"] != container
    assert " Ready " in opened.run("kubectl", "get", "nodes").stdout
    assert again.seconds(*opened.definition["postStartCommand"]) < RECONNECT
    assert opened.cluster() == before


def test_root_can_use_the_container(opened: Devcontainer) -> None:
    belongs_to(0, opened.project.root)
    opened.up("--remove-existing-container", user="root", env=NO_CLUSTER)
    assert opened.run("id", "--user").stdout.strip() == "0"
    assert " Ready " in opened.run("kubectl", "get", "nodes").stdout


def test_without_a_cluster_the_container_starts_and_says_so(opened: Devcontainer) -> None:
    opened.run("./run", "invoke", "down", "--yes")
    process.run(["docker", "stop", "--time=1", opened.container()["Id"]], timeout=60)
    output = opened.up(user="root", env=NO_CLUSTER).text
    assert "nothing to connect to: the cluster" in output
    assert "bring it up: ./run invoke up" in output
