"""doctor names the cause of a broken lab first, its fix mends it, and then it has nothing to say.

Every case breaks the real lab in one way, and is mended by `doctor --fix` (with `--yes` where it asks) or by hand.
"""

from __future__ import annotations

import base64
import json
import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
import yaml
from tests.e2e.project import ROOT, Project

from threezone.cluster.marks import MARK
from threezone.core import process

pytestmark = pytest.mark.timeout(1200)

FIX, ASKS, HAND = ("--fix",), ("--fix", "--yes"), ()
GIT_IMAGE = "deployment/git"
Broken = Callable[[Project], Callable[[], object] | None]  # breaks the lab; returns what mends it by hand


def name(lab: Project) -> str:
    return str(yaml.safe_load((lab.root / "invoke.yaml").read_text())["threezone"]["cluster"]["name"])


def node(lab: Project) -> str:
    return f"{name(lab)}-control-plane"


def kubectl(lab: Project, *argv: str, check: bool = True, stdin: str | None = None) -> str:
    command: list[str | Path] = [lab.tool("kubectl"), "--context", f"kind-{name(lab)}", *argv]
    return process.run(command, cwd=lab.root, env=lab.env, stdin=stdin, timeout=120, check=check).stdout


def apply(lab: Project, *items: Any) -> Callable[[], object]:
    """Apply objects; the result deletes them."""
    text = json.dumps({"apiVersion": "v1", "kind": "List", "items": items})
    kubectl(lab, "apply", "--server-side", "-f-", stdin=text)
    return lambda: kubectl(lab, "delete", "--ignore-not-found", "--wait=false", "-f-", stdin=text)


def diagnosis(lab: Project, *options: str, env: Mapping[str, str] | None = None) -> Any:
    """What doctor says, as data; its exit code must be the one that it says."""
    done = lab.invoke("doctor", "--json", *options, check=False, env=env)
    assert done.stdout, done.stderr
    data = json.loads(done.stdout)
    assert done.exit_code == data["exitCode"], done.stderr
    return data


def until(lab: Project, holds: Callable[[Any], bool], seconds: float = 180) -> Any:
    """Ask doctor until it says so."""
    end = time.monotonic() + seconds
    while not holds(data := diagnosis(lab)):
        assert time.monotonic() < end, json.dumps(data, indent=1)
    return data


def first(data: Any) -> str:
    return str(data["causes"][0]["id"]) if data["causes"] else ""


def ids(findings: Any) -> set[str]:
    return {each["id"] for each in findings} | {id_ for each in findings for id_ in ids(each["consequences"])}


# How to break the lab.


def scaled(namespace: str, deployment: str) -> Broken:
    def broken(lab: Project) -> None:
        kubectl(lab, "-n", namespace, "scale", "deployment", deployment, "--replicas=0")

    return broken


def without_kube_proxy(lab: Project) -> None:
    patch = json.dumps({"spec": {"template": {"spec": {"nodeSelector": {"nowhere": "at-all"}}}}})
    kubectl(lab, "-n", "kube-system", "patch", "daemonset", "kube-proxy", f"--patch={patch}")


def suspended(lab: Project) -> None:
    lab.invoke("flux.suspend", "--object", "kustomization/lab")


def another_password(lab: Project) -> None:
    (lab.state / "clusters" / name(lab) / "git-password").write_text("another one")


def without_secret(lab: Project) -> None:
    kubectl(lab, "-n", "threezone", "delete", "secret", "git-password")


def pod(spec: Mapping[str, Any]) -> Broken:
    """A pod of the test in the namespace default; it is deleted by hand."""

    def broken(lab: Project) -> Callable[[], object]:
        metadata = {"name": "of-the-test", "namespace": "default"}
        image = kubectl(
            lab, "-n", "threezone", "get", GIT_IMAGE, "-o", "jsonpath={.spec.template.spec.containers[0].image}"
        )
        container = {"name": "it", "image": image, "imagePullPolicy": "IfNotPresent", **spec.get("container", {})}
        rest = {key: value for key, value in spec.items() if key != "container"}
        body = {"terminationGracePeriodSeconds": 0, "containers": [container], **rest}
        return apply(lab, {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": body})

    return broken


def flux_object(kind: str, group: str, spec: Mapping[str, Any]) -> Broken:
    def broken(lab: Project) -> Callable[[], object]:
        item = {"apiVersion": f"{group}.toolkit.fluxcd.io/v1", "kind": kind, "spec": spec}
        return apply(lab, {**item, "metadata": {"name": "of-the-test", "namespace": "flux-system"}})

    return broken


def source(**spec: Any) -> Broken:
    url = "http://git.threezone.svc.cluster.local/lab.git"
    return flux_object("GitRepository", "source", {"url": url, "interval": "1h", "timeout": "20s", **spec})


def engine(*argv: str) -> Broken:
    def broken(lab: Project) -> None:
        lab.run("docker", *argv, node(lab))

    return broken


def in_node(*argv: str, mend: tuple[str, ...] = ()) -> Broken:
    def broken(lab: Project) -> Callable[[], object] | None:
        lab.run("docker", "exec", node(lab), *argv)
        return (lambda: lab.run("docker", "exec", node(lab), *mend)) if mend else None

    return broken


def edited(change: Callable[[Any, Any, Any], object]) -> Broken:
    """The kubeconfig after a change of the entry's cluster and user, and of the whole."""

    def broken(lab: Project) -> Callable[[], object]:
        before = lab.kubeconfig.read_text()
        view = yaml.safe_load(before)
        of = f"kind-{name(lab)}"
        cluster = next(each["cluster"] for each in view["clusters"] if each["name"] == of)
        user = next(each["user"] for each in view["users"] if each["name"] == of)
        change(view, cluster, user)
        lab.kubeconfig.write_text(json.dumps(view))  # JSON quotes names that Go would read as numbers
        return lambda: lab.kubeconfig.write_text(before)

    return broken


def without_entry(lab: Project) -> None:
    lab.run(lab.tool("kubectl"), "config", "delete-context", f"kind-{name(lab)}")


def without_user(view: Any, _cluster: Any, _user: Any) -> None:
    view["users"] = [each for each in view["users"] if not each["name"].startswith("kind-")]


def certificate(days: str = "30") -> tuple[str, str]:
    """A new certificate that signs itself, and its key, as they are in a kubeconfig."""
    with TemporaryDirectory() as place:
        key, pem = Path(place, "key.pem"), Path(place, "cert.pem")
        request = Path(place, "request.pem")
        curve = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-subj", "/CN=somebody")
        process.run(["openssl", "req", *curve, "-keyout", key, "-out", request], timeout=60)
        sign = ("-req", "-in", request, "-signkey", key, "-days", days, "-out", pem)
        process.run(["openssl", "x509", *sign], timeout=60)
        return base64.b64encode(pem.read_bytes()).decode(), base64.b64encode(key.read_bytes()).decode()


def another_ca(_view: Any, cluster: Any, _user: Any) -> None:
    cluster["certificate-authority-data"] = certificate()[0]


def stale_login(_view: Any, _cluster: Any, user: Any) -> None:
    user["client-certificate-data"], user["client-key-data"] = certificate()


def locked(lab: Project) -> None:
    lock = lab.kubeconfig.with_name("config.lock")
    lock.touch(mode=0)
    os.utime(lock, (time.time() - 3600,) * 2)


def forward_that_hangs(lab: Project) -> Callable[[], object]:
    lab.invoke("gitops.serve", "--forward", timeout=900)
    (record,) = (lab.state / "daemons").glob("git-*.json")
    pid = int(json.loads(record.read_text())["pid"])
    os.kill(pid, signal.SIGSTOP)
    return lambda: None


def expired_login(_view: Any, _cluster: Any, user: Any) -> None:
    user["client-certificate-data"], user["client-key-data"] = certificate(days="-1")


def kubelet_s_port(lab: Project) -> Callable[[], object]:
    """The address of a server with another CA: the node's kubelet."""
    template = "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}"
    address = lab.run("docker", "inspect", "--format", template, node(lab)).stdout.strip()
    mend = edited(lambda _view, cluster, _user: cluster.update(server=f"https://{address}:10250"))(lab)
    assert mend is not None
    return mend


def served(address: str) -> Broken:
    """A pod whose image is to come from a Service of the cluster, which is no registry."""

    def broken(lab: Project) -> Callable[[], object] | None:
        service = json.loads(kubectl(lab, *address.split(), "-o", "json"))["spec"]["clusterIP"]
        port = 443 if "kubernetes" in address else 80
        return pod({"container": {"image": f"{service}:{port}/none:1"}})(lab)

    return broken


def without_flux(lab: Project) -> None:
    kubectl(lab, "-n", "flux-system", "delete", "deployment", "--all")


def committed(directory: str, manifest: Mapping[str, Any], **spec: Any) -> Broken:
    """A commit with a manifest, and a Kustomization of the test that applies it."""

    def broken(lab: Project) -> Callable[[], object] | None:
        lab.write(f"local/gitops/{directory}/it.yaml", json.dumps(manifest))
        lab.commit(directory)
        lab.invoke("gitops.push", timeout=600)
        path = f"./local/gitops/{directory}"
        return flux_object("Kustomization", "kustomize", {**FLUX_GIT, "path": path, **spec})(lab)

    return broken


def moved(path: str) -> Broken:
    """A file or directory in the node under another name."""
    return in_node("mv", path, f"{path}.moved", mend=("mv", f"{path}.moved", path))


def without_network(lab: Project) -> Callable[[], object]:
    """A node without the configuration of its pod network. The directory stays: containerd watches it, for writes."""
    there, away = "/etc/cni/net.d", "/etc/cni/away"
    lab.run("docker", "exec", node(lab), "sh", "-c", f"mkdir -p {away} && mv {there}/* {away}")
    return lambda: lab.run("docker", "exec", node(lab), "sh", "-c", f"cp {away}/* {there} && rm {away}/*")


def manifest(component: str, before: str, after: str) -> Broken:
    """Another flag of a static pod."""
    path = f"/etc/kubernetes/manifests/{component}.yaml"
    change, back = f"s/{before}/{after}/", f"s/{after}/{before}/"
    return in_node("sed", "-i", "-e", change, path, mend=("sed", "-i", "-e", back, path))


@dataclass(frozen=True)
class Case:
    """A fault: the row that must come first, how to break the lab, and how it is mended."""

    id: str
    broken: Broken
    mended_by: tuple[str, ...] = HAND
    below: set[str] = field(default_factory=set)


FLUX_GIT = {"sourceRef": {"kind": "GitRepository", "name": "lab"}, "prune": True, "interval": "1h", "timeout": "20s"}
META = {"metadata": {"name": "of-the-test", "namespace": "default"}}
CASES = [
    Case("dns-down", scaled("kube-system", "coredns"), FIX),
    Case("kube-proxy-down", without_kube_proxy, ASKS),
    Case("storage-down", scaled("local-path-storage", "local-path-provisioner"), FIX),
    Case("flux-scaled-to-zero", scaled("flux-system", "kustomize-controller"), FIX),
    Case("flux-suspended", suspended, ASKS),
    Case("git-server-down", scaled("threezone", "git"), FIX),
    Case("git-password-lost", another_password, FIX),
    Case("git-password-lost", without_secret, FIX),
    Case("forward-dangling", forward_that_hangs, FIX),
    Case("image-pull", pod({"container": {"image": "registry.invalid/none:1"}})),
    Case("pull-localhost", pod({"container": {"image": "localhost:5999/none:1"}})),
    Case("container-config", pod({"container": {"envFrom": [{"configMapRef": {"name": "none"}}]}})),
    Case("crash-loop", pod({"container": {"command": ["busybox", "false"]}})),
    Case("pod-unschedulable", pod({"nodeSelector": {"nowhere": "at-all"}})),
    Case(
        "pods-evicted",
        pod(
            {
                "container": {
                    "command": [
                        "busybox",
                        "sh",
                        "-c",
                        "busybox dd if=/dev/zero of=/full/file bs=1M count=20; busybox sleep 600",
                    ],
                    "volumeMounts": [{"name": "full", "mountPath": "/full"}],
                },
                "volumes": [{"name": "full", "emptyDir": {"sizeLimit": "1Mi"}}],
            }
        ),
        ASKS,
    ),
    Case("source-unreachable", source(url="http://nowhere.threezone.svc.cluster.local/x.git")),
    Case("source-reference", source(ref={"branch": "none"})),
    Case("source-authentication", source(secretRef={"name": "none"})),
    Case("kustomization-build", flux_object("Kustomization", "kustomize", {**FLUX_GIT, "path": "./none"})),
    Case("stale-ca", edited(another_ca), FIX),
    Case("login-refused", edited(stale_login), FIX),
    Case("tls-name", edited(lambda _view, cluster, _user: cluster.update({"tls-server-name": "nobody"})), FIX),
    Case("api-refused", edited(lambda _view, cluster, _user: cluster.update(server="https://127.0.0.1:9")), FIX),
    Case("route-unknown-name", edited(lambda _v, cluster, _u: cluster.update(server="https://host.invalid:6443")), FIX),
    Case("entry-missing", without_entry, FIX),
    Case("kubeconfig-dangling", edited(without_user), FIX),
    Case("kubeconfig-lock", locked, ASKS),
    Case("cluster-paused", engine("pause"), FIX),
    Case("cluster-stopped", engine("stop"), FIX, {"api-refused", "flux-unknown"}),
    Case("client-certificate-expired", edited(expired_login), FIX, {"login-refused"}),
    Case("foreign-authority", kubelet_s_port, FIX),
    Case("pull-plain-http", served("-n threezone get service git")),
    Case("tls-intercepted", served("-n default get service kubernetes")),
    Case("crd-missing", committed("of-a-kind", {**META, "apiVersion": "example.com/v1", "kind": "Unknown"})),
    Case(
        "kustomization-failed",
        committed(
            "of-no-health",
            {**META, "apiVersion": "v1", "kind": "ConfigMap"},
            healthChecks=[{"apiVersion": "apps/v1", "kind": "Deployment", "name": "none", "namespace": "default"}],
        ),
    ),
    Case("flux-missing", without_flux, ASKS),
    Case("cluster-interrupted", moved(MARK)),
    Case("node-network", without_network),
    Case("control-plane-unready", manifest("kube-scheduler", "--leader-elect", "--no-such-flag")),
    Case("kubelet-silent", in_node("systemctl", "stop", "kubelet"), FIX),
]


def recorded(lab: Project, id_: str) -> None:
    """With THREEZONE_RECORD set, record the facts of this fault for the unit tests."""
    if "THREEZONE_RECORD" in os.environ:
        command = [sys.executable, "-P", "-m", "tests.unit.doctor.recording", id_]
        env = {**lab.env, "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'scripts'}"}
        process.run(command, cwd=lab.root, env=env, timeout=60)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_the_cause_is_named_first_and_its_fix_mends_it(lab: Project, case: Case) -> None:
    until(lab, lambda data: data["healthy"])
    by_hand = case.broken(lab)
    try:
        data = until(lab, lambda data: first(data) == case.id)
        assert data["exitCode"] != 0
        recorded(lab, case.id)
        assert case.below <= ids(data["causes"][0]["consequences"])
        if case.mended_by:
            done = lab.invoke("doctor", *case.mended_by, check=False, timeout=900)
            assert case.id not in done.stdout.splitlines()[0], done.stdout
            until(lab, lambda data: data["healthy"])
    finally:
        if by_hand is not None:
            by_hand()
    until(lab, lambda data: data["healthy"])


ENGINES: dict[str, dict[str, str]] = {
    "docker-context": {"DOCKER_CONTEXT": "colima"},
    "docker-host": {"DOCKER_HOST": "unix:///nowhere/docker.sock"},
    "engine-unreachable": {"DOCKER_HOST": "tcp://127.0.0.1:1"},
    "docker-certificates": {"DOCKER_HOST": "tcp://127.0.0.1:1", "DOCKER_TLS_VERIFY": "1", "DOCKER_CERT_PATH": "/none"},
    "docker-proxy": {"DOCKER_HOST": "tcp://engine.invalid:2375", "HTTP_PROXY": "http://127.0.0.1:1"},
    "docker-client-too-old": {"DOCKER_API_VERSION": "1.10"},
}


@pytest.mark.parametrize("id_", ENGINES)
def test_an_engine_that_the_environment_hides_is_the_cause(lab: Project, id_: str) -> None:
    data = diagnosis(lab, env=ENGINES[id_])
    assert first(data) == id_
    assert data["exitCode"] == 3
    assert "cluster-unknown" in ids(data["causes"][0]["consequences"])


def test_an_engine_that_never_answers_delays_nothing_else(lab: Project) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        began = time.monotonic()
        data = diagnosis(lab, env={"DOCKER_HOST": f"tcp://127.0.0.1:{server.getsockname()[1]}"})
        assert time.monotonic() - began < 10
    assert first(data) == "engine-unreachable"
    assert "world" not in data["notAnswered"]


RISKS = {
    "kind-provider": {"KIND_EXPERIMENTAL_PROVIDER": "podman"},
    "docker-default-platform": {"DOCKER_DEFAULT_PLATFORM": "linux/s390x"},
}


@pytest.mark.parametrize("id_", RISKS)
def test_a_risk_is_a_notice_and_no_fault(lab: Project, id_: str) -> None:
    until(lab, lambda data: data["healthy"])
    data = diagnosis(lab, env=RISKS[id_])
    assert (data["exitCode"], [risk["id"] for risk in data["risks"]]) == (0, [id_])


def test_proxies_in_docker_s_configuration_are_a_risk(lab: Project, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"proxies": {"default": {"httpProxy": "http://me:secret@p:1"}}}))
    data = diagnosis(lab, env={"DOCKER_CONFIG": str(tmp_path)})
    assert "docker-container-proxies" in ids(data["risks"] + data["causes"])
    assert "secret" not in json.dumps(data)


def test_a_cluster_that_is_not_there(lab: Project) -> None:
    data = diagnosis(lab, "--name", "nobody")
    assert first(data) == "api-port-taken", "by the lab: a cluster nobody could not be created"
    assert "cluster-absent" in ids(data["causes"][0]["consequences"])
    assert name(lab) in json.dumps(data["causes"][0]["evidence"])


def test_any_context_can_be_looked_at(lab: Project) -> None:
    until(lab, lambda data: data["healthy"])
    data = diagnosis(lab, "--context", f"kind-{name(lab)}")
    assert data["healthy"], data
    assert first(diagnosis(lab, "--context", "nobody")) == "entry-missing"


def test_a_healthy_lab_is_one_line(lab: Project) -> None:
    until(lab, lambda data: data["healthy"])
    began = time.monotonic()
    done = lab.invoke("doctor")
    assert time.monotonic() - began < 3
    assert "is healthy" in done.stdout
    assert len([line for line in done.stdout.splitlines() if not line.startswith("notice")]) == 1


def test_three_faults_at_once_are_named_in_their_order(lab: Project) -> None:
    scaled("kube-system", "coredns")(lab)
    suspended(lab)
    by_hand = pod({"nodeSelector": {"nowhere": "at-all"}})(lab)
    data = until(lab, lambda data: len(data["causes"]) >= 3)
    assert [each["id"] for each in data["causes"]] == ["dns-down", "pod-unschedulable", "flux-suspended"]
    lab.invoke("doctor", *ASKS, check=False)
    assert by_hand is not None
    by_hand()
    until(lab, lambda data: data["healthy"])


def test_a_controller_without_an_image_is_a_consequence_of_the_pull(lab: Project) -> None:
    kubectl(lab, "-n", "flux-system", "set", "image", "deployment/helm-controller", "manager=registry.invalid/none:1")
    kubectl(lab, "-n", "flux-system", "delete", "pod", "--selector=app=helm-controller", "--wait=false")
    data = until(lab, lambda data: first(data) == "image-pull" and "flux-controller-down" in ids(data["causes"]))
    assert "flux-controller-down" in ids(data["causes"][0]["consequences"])
    kubectl(lab, "-n", "flux-system", "rollout", "undo", "deployment/helm-controller")
    until(lab, lambda data: data["healthy"])


def test_a_foreign_holder_of_the_port_is_the_cause_of_the_stopped_cluster(lab: Project) -> None:
    engine("stop")(lab)
    port = int(diagnosis_port(lab))
    with socket.socket() as holder:
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        holder.bind(("127.0.0.1", port))
        holder.listen()
        data = diagnosis(lab)
        assert {"api-port-taken"} <= ids(data["causes"])
        assert f"process {os.getpid()}" in json.dumps(data)
    lab.invoke("doctor", *FIX, check=False, timeout=900)
    until(lab, lambda data: data["healthy"])


def diagnosis_port(lab: Project) -> str:
    view = yaml.safe_load(lab.kubeconfig.read_text())
    servers = [each["cluster"]["server"] for each in view["clusters"] if each["name"] == f"kind-{name(lab)}"]
    return str(servers[0].rpartition(":")[2])


def test_a_deletion_without_its_controller_is_stuck_because_of_it(lab: Project) -> None:
    by_hand = flux_object("Kustomization", "kustomize", {**FLUX_GIT, "path": "./none"})(lab)
    until(lab, lambda data: first(data) == "kustomization-build")  # its controller has given it a finalizer
    scaled("flux-system", "kustomize-controller")(lab)
    assert by_hand is not None
    by_hand()
    data = until(lab, lambda data: "deletion-stuck" in ids(data["causes"]))
    assert first(data) == "flux-scaled-to-zero"
    assert "deletion-stuck" in ids(data["causes"][0]["consequences"])
    lab.invoke("doctor", *FIX, check=False)
    until(lab, lambda data: data["healthy"])
