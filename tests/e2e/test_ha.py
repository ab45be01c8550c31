"""Three control planes behind the balancer, and a worker: pods talk across nodes, the API outlives a control plane."""

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

# The sample app on every node: it answers on port 8080.
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
    """A project whose cluster is kind-ha.yaml's, beside whatever else runs here."""
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
    """Wait for what the engine or the API server shows."""
    deadline = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > deadline:
            seen = kubectl(project, "get", "nodes,pods", "--all-namespaces", "--output=wide", check=False)
            pytest.fail(f"{what}\n{seen.stdout}{seen.stderr}")
        time.sleep(0.3)


def talk(project: Project) -> dict[tuple[str, str], str]:
    """What every pod of the DaemonSet fetches from every other one, by their nodes."""
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


def test_three_control_planes_and_a_worker_are_ready_behind_the_balancer(ha: Project) -> None:
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


def test_the_balancer_is_kinds_own_or_ours_and_goes_with_the_cluster(ha: Project) -> None:
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


def test_pods_of_every_node_reach_those_of_every_other(ha: Project) -> None:
    hello = build.ensure("hello", channel.resolve_channel("auto"))
    load(Path(ha.tool("kind")), NAME, [*PLANES, WORKER], hello)
    ha.write("talkers.yaml", TALKERS.format(image=hello[0].reference))
    kubectl(ha, "apply", "--filename", "talkers.yaml")
    kubectl(ha, "rollout", "status", "daemonset/talker", "--timeout=90s")
    answers = talk(ha)
    assert len(answers) == 16
    assert all(answers.values()), answers


def test_the_api_outlives_a_control_plane_and_status_says_which(ha: Project) -> None:
    process.run(["docker", "kill", KILLED], timeout=60)
    steady = 0

    def answers() -> bool:
        """Ten answers in a row: the balancer has noticed which one is gone."""
        nonlocal steady
        seen = kubectl(ha, "get", "--raw", "/readyz", "--request-timeout=3s", check=False)
        steady = steady + 1 if seen.stdout == "ok" else 0
        return steady >= 10

    until(ha, "the API does not answer through the balancer", answers)
    kubectl(ha, "create", "configmap", "written-with-two-of-three")
    status = json.loads(ha.invoke("status", "--json").stdout)["cluster"]
    assert (status["ready"], status["answers"], status["stopped"]) == (False, True, [KILLED])
    assert status["why"] == f"not running: {KILLED}; the API server answers through {PLANES[1]} and {PLANES[2]}"
    assert next(node["ready"] for node in status["nodes"] if node["name"] == KILLED) is False
    assert "unchanged" in ha.invoke("kubeconfig.connect").stdout
    told = ha.invoke("cluster.status", check=False)
    assert told.exit_code == 4
    assert f"not running: {KILLED}; the API server answers" in told.stderr
    row = next(line for line in told.stdout.splitlines() if line.startswith(f"{KILLED} "))
    assert "exited" in row


def test_it_is_started_again_and_becomes_ready_and_its_pods_talk(ha: Project) -> None:
    assert KILLED in ha.invoke("up", "--dry-run").stdout
    ha.invoke("cluster.create")
    until(ha, "the cluster is not ready", lambda: ha.invoke("cluster.status", check=False).exit_code == 0)
    # Its own etcd and API server again, not those of the others: asked in the node itself.
    own = ["exec", KILLED, "kubectl", "--kubeconfig=/etc/kubernetes/admin.conf", f"--server=https://{KILLED}:6443"]
    until(
        ha,
        f"the API server of {KILLED} does not answer",
        lambda: ha.run("docker", *own, "get", "--raw", "/readyz", check=False).stdout == "ok",
    )
    assert "written-with-two-of-three" in ha.run("docker", *own, "get", "configmaps", "--output=name").stdout
    until(ha, "pods do not talk across nodes", lambda: all(talk(ha).values()))
