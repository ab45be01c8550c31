"""Zone 1 for real: `devcontainer up` of @devcontainers/cli on this engine, with the lifecycle commands run in it.

The definition without features is what runs, on the base that the channel has. What the test adds to it: this machine's
certificates, and the programs that are here already. Its cluster is made by postCreate, in the container, by a user
who is not root.
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
    made.invoke("image.build", "all", timeout=5400)  # only root can build the base; in there nobody is
    made.invoke("down", "--yes")
    dev = prepare(made, NAME, tmp_path_factory.mktemp("home"))
    try:
        dev.up("--remove-existing-container")
        yield dev
    finally:
        belongs_to(0, made.root)
        made.invoke("down", "--yes")
        dev.remove()


def test_its_lifecycle_brings_the_lab_up_for_a_user_who_is_not_root(opened: Devcontainer) -> None:
    assert opened.run("id", "--user").stdout.strip() == str(USER)
    status = json.loads(opened.run("./run", "invoke", "status", "--json").stdout)
    assert (status["zone"], status["cluster"]["ready"]) == ("container", True)
    nodes = opened.run("kubectl", "get", "nodes").stdout
    assert f"{NAME}-control-plane" in nodes
    assert " Ready " in nodes
    scripts = "/home/vscode/.local/share/bash-completion/completions"
    assert opened.run("ls", scripts).stdout.split() == ["flux", "kind", "kubectl", "run"]


def test_its_way_stands_in_a_file_of_its_own(opened: Devcontainer) -> None:
    kube = opened.home / ".kube"
    assert (kube / "config").read_bytes() == opened.project.kubeconfig.read_bytes(), "the host's is as it was"
    assert f"https://{NAME}-control-plane:6443" in (kube / "devcontainer").read_text()
    assert ((kube / "devcontainer").stat().st_mode & 0o777, (kube / "devcontainer").stat().st_uid) == (0o600, USER)


def test_a_path_of_the_workspace_means_the_same_to_the_engine(opened: Devcontainer) -> None:
    file = opened.project.root / "tasks.py"
    shown = opened.run("docker", "run", "--rm", f"--volume={file}:/seen:ro", base_image(), "cat", "/seen").stdout
    assert shown == file.read_text()


def test_in_there_a_commit_alone_creates_and_destroys(opened: Devcontainer) -> None:
    told = opened.run("./run", "invoke", "gitops.prove", "--phases", "create,destroy").stdout
    assert "create" in told
    assert "destroy" in told


def test_thrown_away_and_made_again_it_reconnects_at_once(opened: Devcontainer) -> None:
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


def test_as_root_too(opened: Devcontainer) -> None:
    belongs_to(0, opened.project.root)
    opened.up("--remove-existing-container", user="root", env=NO_CLUSTER)
    assert opened.run("id", "--user").stdout.strip() == "0"
    assert " Ready " in opened.run("kubectl", "get", "nodes").stdout


def test_without_a_cluster_it_starts_and_says_what_is_missing(opened: Devcontainer) -> None:
    opened.run("./run", "invoke", "down", "--yes")
    process.run(["docker", "stop", "--time=1", opened.container()["Id"]], timeout=60)
    told = opened.up(user="root", env=NO_CLUSTER).text
    assert "nothing to connect to: the cluster" in told
    assert "bring it up: ./run invoke up" in told
