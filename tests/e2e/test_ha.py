"""Three control planes behind the load balancer, and a worker: the API survives the loss of a control plane."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.e2e.project import Project, free_port

from threezone.core import labels, process
from threezone.core.process import Completed
from threezone.images import build
from threezone.images.load import load
from threezone.toolchain import channel

pytestmark = pytest.mark.timeout(3600)

NAME, PORT = "threezone-ha", free_port(26643, 36643)
CONTEXT = f"kind-{NAME}"
PLANES = [f"{NAME}-control-plane", f"{NAME}-control-plane2", f"{NAME}-control-plane3"]
WORKER, BALANCER = f"{NAME}-worker", f"{NAME}-external-load-balancer"
KILLED = PLANES[0]  # the one that kind itself asks for everything

# The sample app on every node, on port 8080.
TALKERS = """
apiVersion: apps/v1
kind: DaemonSet
metadata: {{name: talker}}
spec:
  selector: {{matchLabels: {{app: talker}}}}
  template:
    metadata: {{labels: {{app: talker}}}}
    spec:
      terminationGracePeriodSeconds: 1
      tolerations: [{{operator: Exists}}]
      containers: [{{name: it, image: "{image}", imagePullPolicy: Never}}]
"""


@pytest.fixture(scope="module")
def ha(project: Project, make_project: Callable[[str, int], Project]) -> Iterator[Project]:  # noqa: ARG001  the engine works
    """A project with the cluster of kind-ha.yaml."""
    made = make_project(NAME, PORT)
    file = made.root / "local/kubernetes/kind-ha.yaml"
    file.write_text(file.read_text().replace("apiServerPort: 6443", f"apiServerPort: {PORT}"))
    settings = made.root / "invoke.yaml"
    settings.write_text(settings.read_text().replace("kubernetes/kind.yaml", "kubernetes/kind-ha.yaml"))
    made.commit("Three control planes")
    made.invoke("down", "--yes")
    made.invoke("cluster.create", timeout=3600)
    yield made
    made.invoke("down", "--yes")


def kubectl(project: Project, *argv: str, check: bool = True) -> Completed:
    return project.kubectl(*argv, context=CONTEXT, check=check)


def until(project: Project, what: str, holds: Callable[[], bool], seconds: float = 90) -> None:
    """Wait until `holds` returns True, or fail with the state of nodes and pods."""
    deadline = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > deadline:
            state = kubectl(project, "get", "nodes,pods", "--all-namespaces", "--output=wide", check=False)
            pytest.fail(f"{what}\n{state.stdout}{state.stderr}")
        time.sleep(0.3)


def talk(project: Project) -> dict[tuple[str, str], str]:
    """The HTTP answer from every pod of the DaemonSet to every other, by (client's node, server's node)."""
    pods = [
        (pod["spec"]["nodeName"], pod["metadata"]["name"], pod["status"]["podIP"])
        for pod in project.json("get", "pods", "--selector=app=talker", context=CONTEXT)["items"]
    ]
    argv = ["--", "/bin/busybox", "timeout", "5", "/bin/busybox", "wget", "-qO-"]
    return {
        (here, there): kubectl(project, "exec", name, *argv, f"http://{address}:8080/", check=False).stdout.strip()
        for here, name, _ in pods
        for there, _, address in pods
    }


def test_all_nodes_are_ready_behind_the_load_balancer(ha: Project) -> None:
    status = json.loads(ha.invoke("cluster.status", "--json").stdout)
    assert sorted(node["name"] for node in status["nodes"]) == [*PLANES, WORKER]
    assert (status["ready"], status["answers"], status["stopped"], status["why"]) == (True, True, [], None)
    view = ha.view()
    server = {entry["name"]: entry["cluster"].get("server") for entry in view["clusters"]}
    assert server[CONTEXT] == f"https://127.0.0.1:{PORT}"
    assert "433e40" in server, "the user's other entries are kept"
    shown = ha.run("docker", "port", BALANCER).stdout
    assert shown.strip() == f"6443/tcp -> 127.0.0.1:{PORT}"
    config = ha.run("docker", "exec", BALANCER, "cat", "/usr/local/etc/haproxy/haproxy.cfg").stdout
    assert re.findall(r"^\s+server (\S+)", config, re.MULTILINE) == PLANES


def test_the_load_balancer_belongs_to_the_cluster(ha: Project) -> None:
    listed = json.loads(ha.invoke("image.list", "--json").stdout)
    balancer = next(image for image in listed if image["name"] == "balancer")
    assert balancer["present"]
    image = json.loads(ha.run("docker", "image", "inspect", balancer["reference"]).stdout)[0]
    source = channel.resolve_channel("auto") == "source"
    assert ((image["Config"]["Labels"] or {}).get(labels.MANAGED) == "true") is source
    clusters = json.loads(ha.invoke("cluster.list", "--json").stdout)
    nodes = next(cluster for cluster in clusters if cluster["name"] == NAME)
    assert nodes["ours"]
    assert BALANCER in [node["name"] for node in nodes["nodes"]]


def test_pods_reach_each_other_across_nodes(ha: Project) -> None:
    hello = build.ensure("hello", channel.resolve_channel("auto"))
    load(Path(ha.tool("kind")), NAME, [*PLANES, WORKER], hello)
    ha.write("talkers.yaml", TALKERS.format(image=hello[0].reference))
    kubectl(ha, "apply", "--filename", "talkers.yaml")
    kubectl(ha, "rollout", "status", "daemonset/talker", "--timeout=90s")
    answers = talk(ha)
    assert len(answers) == 16
    assert all(answers.values()), answers


def test_the_api_survives_a_control_plane_and_status_names_it(ha: Project) -> None:
    process.run(["docker", "kill", KILLED], timeout=60)
    steady = 0

    def answers() -> bool:
        """Whether ten answers in a row came: the load balancer has removed the lost control plane."""
        nonlocal steady
        actual = kubectl(ha, "get", "--raw", "/readyz", "--request-timeout=3s", check=False)
        steady = steady + 1 if actual.stdout == "ok" else 0
        return steady >= 10

    until(ha, "the API does not answer through the balancer", answers)
    kubectl(ha, "create", "configmap", "written-with-two-of-three")
    status = json.loads(ha.invoke("status", "--json").stdout)["cluster"]
    assert (status["ready"], status["answers"], status["stopped"]) == (False, True, [KILLED])
    assert status["why"] == f"not running: {KILLED}; the API server answers through {PLANES[1]} and {PLANES[2]}"
    assert next(node["ready"] for node in status["nodes"] if node["name"] == KILLED) is False
    assert "unchanged" in ha.invoke("kubeconfig.connect").stdout
    result = ha.invoke("cluster.status", check=False)
    assert result.exit_code == 4
    assert f"not running: {KILLED}; the API server answers" in result.stderr
    row = next(line for line in result.stdout.splitlines() if line.startswith(f"{KILLED} "))
    assert "exited" in row


def test_create_starts_the_control_plane_again(ha: Project) -> None:
    assert KILLED in ha.invoke("up", "--dry-run").stdout
    ha.invoke("cluster.create")
    until(ha, "the cluster is not ready", lambda: ha.invoke("cluster.status", check=False).exit_code == 0)
    # Ask in the node itself, so that its own etcd and API server answer.
    own = ["exec", KILLED, "kubectl", "--kubeconfig=/etc/kubernetes/admin.conf", f"--server=https://{KILLED}:6443"]
    until(
        ha,
        f"the API server of {KILLED} does not answer",
        lambda: ha.run("docker", *own, "get", "--raw", "/readyz", check=False).stdout == "ok",
    )
    assert "written-with-two-of-three" in ha.run("docker", *own, "get", "configmaps", "--output=name").stdout
    until(ha, "pods do not talk across nodes", lambda: all(talk(ha).values()))
