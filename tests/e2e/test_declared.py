"""Every field of a kind file, in one cluster that our tasks make from it.

No value is a default, so each one must come from the declaration.
"""

from __future__ import annotations

import json
import os
import re
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml
from tests.e2e.project import Project

from threezone.core import process

pytestmark = pytest.mark.timeout(3600)

NAME, API_PORT, WEB, WEB_TOO = "threezone-declared", 26447, 26448, 26449
NODE, WORKER, CONTEXT = f"{NAME}-control-plane", f"{NAME}-worker", f"kind-{NAME}"
FILE = "local/kubernetes/declared.yaml"
TEXT = f"""\
kind: Cluster
apiVersion: kind.x-k8s.io/v1alpha4
name: named-by-the-file
featureGates:
  AllAlpha: false
runtimeConfig:
  api/alpha: "false"
networking:
  apiServerPort: {API_PORT}
  podSubnet: 10.66.0.0/16
  serviceSubnet: 10.67.0.0/16
  dnsSearch: [lab.example.com]
kubeadmConfigPatches:
- |
  kind: ClusterConfiguration
  apiServer:
    extraArgs:
      enable-admission-plugins: NodeRestriction,NamespaceAutoProvision
containerdConfigPatches:
- |-
  [plugins."io.containerd.grpc.v1.cri".registry]
    config_path = "/etc/containerd/certs.d"
containerdConfigPatchesJSON6902:
- '[{{"op": "add", "path": "/debug", "value": {{"level": "warn"}}}}]'
nodes:
- role: control-plane
  labels:
    tier: 1
  extraPortMappings:
  - containerPort: 30080
    hostPort: {WEB}
  kubeadmConfigPatchesJSON6902:
  - group: kubeadm.k8s.io
    version: v1beta3
    kind: InitConfiguration
    patch: |
      - op: add
        path: /nodeRegistration/kubeletExtraArgs/max-pods
        value: "77"
"""
OVERLAY = {
    "kubeadmConfigPatchesJSON6902": [
        {
            "group": "kubeadm.k8s.io",
            "version": "v1beta3",
            "kind": "ClusterConfiguration",
            "patch": '[{"op": "add", "path": "/apiServer/certSANs/-", "value": "lab.example.com"}]',
        }
    ]
}


@pytest.fixture(scope="module")
def declared(
    make_project: Callable[[str, int], Project],
    project: Project,  # noqa: ARG001  its engine works, its tools are there
) -> Iterator[Project]:
    """A project with the file above and a settings overlay, and its cluster, which also has flags."""
    made = make_project(NAME, API_PORT)
    made.write(FILE, TEXT)
    made.write("data/file", "from the host")
    settings = yaml.safe_load((made.root / "invoke.yaml").read_text())
    settings["threezone"]["cluster"] |= {
        "config": FILE,
        "workers": 1,
        "mounts": ["./data:/data:ro"],
        "overlay": OVERLAY,
    }
    (made.root / "invoke.yaml").write_text(yaml.safe_dump(settings))
    made.invoke("down", "--yes")
    flags = ("--port", f"{WEB_TOO}:30081", "--feature-gate", "AllBeta=false", "--set", "nodes[1].labels.zone=b")
    plan = made.invoke("cluster.create", "--dry-run", *flags).stdout
    for words in (
        "the file names the cluster named-by-the-file; it is threezone-declared here",
        "(invoke.yaml: threezone.cluster.workers 1)",
        f"127.0.0.1:{WEB_TOO} leads to port 30081 of the node (--port {WEB_TOO}:30081)",
        "featureGates.AllBeta: false (--feature-gate AllBeta=false)",
        f"names no listenAddress ({FILE}:30): it is published on 127.0.0.1",
        "kubeadmConfigPatchesJSON6902: [{group: kubeadm.k8s.io, kind: ClusterConfiguration, patch: ",
    ):
        assert words in plan, plan
    made.invoke("cluster.create", *flags, timeout=5400)
    yield made
    if "THREEZONE_KEEP" not in os.environ:
        made.invoke("down", "--yes")


def inside(node: str, *argv: str) -> str:
    return process.run(["docker", "exec", node, *argv], timeout=60).stdout


def test_subnets_labels_and_nodes_are_as_declared(declared: Project) -> None:
    nodes = {node["metadata"]["name"]: node for node in declared.json("get", "nodes", context=CONTEXT)["items"]}
    assert set(nodes) == {NODE, WORKER}
    assert nodes[NODE]["metadata"]["labels"]["tier"] == "1"
    assert nodes[WORKER]["metadata"]["labels"]["zone"] == "b"
    assert all(node["spec"]["podCIDR"].startswith("10.66.") for node in nodes.values())
    service = declared.json("get", "service", "kubernetes", context=CONTEXT)
    assert service["spec"]["clusterIP"] == "10.67.0.1"
    assert "lab.example.com" in inside(NODE, "cat", "/etc/resolv.conf")


def test_mounts_are_in_every_node_and_read_only(declared: Project) -> None:  # noqa: ARG001
    for node in (NODE, WORKER):
        assert inside(node, "cat", "/data/file") == "from the host"
        refused = process.run(["docker", "exec", node, "touch", "/data/file"], timeout=60, check=False)
        assert "Read-only file system" in refused.stderr


def test_feature_gates_and_apis_reach_every_component(declared: Project) -> None:
    pods = declared.json("get", "pods", "--namespace", "kube-system", context=CONTEXT)["items"]
    commands = {pod["metadata"]["name"]: pod["spec"]["containers"][0].get("command", []) for pod in pods}
    for part in ("kube-apiserver", "kube-controller-manager", "kube-scheduler"):
        assert "--feature-gates=AllAlpha=false,AllBeta=false" in commands[f"{part}-{NODE}"]
    assert "--runtime-config=api/alpha=false" in commands[f"kube-apiserver-{NODE}"]
    assert "AllBeta: false" in inside(WORKER, "cat", "/var/lib/kubelet/config.yaml")


def test_merge_patches_and_json_patches_are_applied(declared: Project) -> None:
    # NamespaceAutoProvision, by a merge patch: creating an object also creates its namespace
    declared.kubectl("--namespace", "made-by-itself", "create", "configmap", "x", context=CONTEXT)
    nodes = {node["metadata"]["name"]: node for node in declared.json("get", "nodes", context=CONTEXT)["items"]}
    assert nodes[NODE]["status"]["capacity"]["pods"] == "77", "the node's own JSON patch"
    assert nodes[WORKER]["status"]["capacity"]["pods"] == "110"
    certificate = inside(NODE, "cat", "/etc/kubernetes/pki/apiserver.crt")
    read = process.run(["openssl", "x509", "-noout", "-ext", "subjectAltName"], stdin=certificate, timeout=20).stdout
    assert "DNS:lab.example.com" in read, "the JSON patch of the settings overlay"


def test_patches_of_containerd_are_applied(declared: Project) -> None:  # noqa: ARG001
    for node in (NODE, WORKER):
        config = inside(node, "containerd", "config", "dump")
        assert re.search(r"config_path = ['\"]/etc/containerd/certs.d['\"]", config)
        assert re.search(r"level = ['\"]warn['\"]", config)


def test_the_sample_app_answers_on_the_mapped_ports(declared: Project) -> None:
    answer = declared.invoke("app.deploy").stdout
    assert "Hello from a Git commit." in answer
    assert declared.invoke("app.open", "--once").stdout == answer
    for port, name in ((30080, "web"), (30081, "web-too")):
        spec = {"type": "NodePort", "selector": {"app.kubernetes.io/name": "hello"}}
        ports = [{"port": 80, "targetPort": "http", "nodePort": port}]
        service = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": name}, "spec": {**spec, "ports": ports}}
        argv: list[str | Path] = [
            declared.tool("kubectl"),
            "--context",
            CONTEXT,
            "--namespace",
            "hello",
            "apply",
            "--filename",
            "-",
        ]
        process.run(argv, stdin=json.dumps(service), env=dict(declared.env), timeout=60)
    published = json.loads(process.run(["docker", "inspect", NODE], timeout=30).stdout)[0]["NetworkSettings"]["Ports"]
    for port, outside in ((30080, WEB), (30081, WEB_TOO)):
        assert published[f"{port}/tcp"] == [{"HostIp": "127.0.0.1", "HostPort": str(outside)}]
        # kube-proxy writes the rules of a new service a moment later
        curl = [
            "curl",
            "--silent",
            "--show-error",
            "--fail",
            "--retry",
            "30",
            "--retry-all-errors",
            "--retry-delay",
            "1",
        ]
        page = process.run([*curl, f"http://127.0.0.1:{outside}/"], timeout=60).stdout
        assert page.strip() in answer


REFUSED = """\
kind: Cluster
apiVersion: kind.x-k8s.io/v1alpha4
featureGates:
  Nonsense: true
"""
BY_KUBEADM = """\
kind: Cluster
apiVersion: kind.x-k8s.io/v1alpha4
nodes:
- role: control-plane
  kubeadmConfigPatches:
  - |
    kind: KubeletConfiguration
    maxPods: 50
  - |
    kind: InitConfiguration
    nodeRegistration:
      taints: none
"""
BY_KIND = """\
kind: Cluster
apiVersion: kind.x-k8s.io/v1alpha4
kubeadmConfigPatchesJSON6902:
- kind: ClusterConfiguration
  patch: |
    - op: add
      path: /apiServer/certSANs/-
      value: lab.example.com
    - op: replace
      path: /apiServer/timeoutForControlPlain
      value: 5m
"""


@pytest.mark.parametrize(
    ("text", "exit_code", "words"),
    [
        (REFUSED, 2, "refused.yaml:4: featureGates.Nonsense: Kubernetes v1.35.0 refuses it: "),
        (
            BY_KUBEADM,
            2,
            "refused.yaml:12: nodes[0].kubeadmConfigPatches[1]: Kubernetes v1.35.0 refuses it: json: cannot ",
        ),
        (BY_KUBEADM.replace("taints", "taint"), 2, 'unknown field "nodeRegistration.taint"'),
        (
            BY_KIND,
            4,
            "refused.yaml:9: /apiServer/timeoutForControlPlain: failed to apply JSON 6902 patch: replace oper",
        ),
    ],
    ids=["gate", "value", "field", "json"],
)
def test_a_refusal_of_kubernetes_is_reported_with_its_line(
    project: Project, text: str, exit_code: int, words: str
) -> None:
    config = project.root.parent / "refused.yaml"
    config.write_text(text)
    done = project.invoke("cluster.create", "--name", "threezone-refused", "--config", str(config), check=False)
    assert done.exit_code == exit_code, done.stderr
    assert words in next(line for line in done.stderr.splitlines() if line.startswith("error: "))
    assert (
        process.run(["docker", "ps", "--all", "--quiet", "--filter", "name=threezone-refused"], timeout=30).stdout == ""
    )
    project.invoke("down", "--yes", "--name", "threezone-refused")  # the node image's name for it stays after a failure


def test_a_used_port_and_a_missing_mount_are_reported_before_the_create(project: Project) -> None:
    create = ("cluster.create", "--name", "threezone-refused", "--set", "networking.apiServerPort=0")
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        port = listener.getsockname()[1]
        done = project.invoke(*create, "--port", f"{port}:80", check=False)
    assert done.exit_code == 2
    assert f"--port {port}:80: port {port} on 127.0.0.1 is taken by process {os.getpid()}" in done.stderr
    done = project.invoke(*create, "--mount", "/no/such/place:/data", check=False)
    assert done.exit_code == 2
    assert "--mount /no/such/place:/data: there is no /no/such/place here to mount at /data" in done.stderr
