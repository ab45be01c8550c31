"""The user's files that are mounted into nodes stay unchanged."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml
from tests.e2e.project import Project, docker_logged_in, free_port, registry_logins, registry_of_others_kept

from threezone.cluster import local_registry
from threezone.core import process
from threezone.delivery import git_server
from threezone.images import build
from threezone.images.registry import instances

pytestmark = pytest.mark.timeout(3600)

NAME, API_PORT = "threezone-mounts", 26953
REGISTRY, PORT = "threezone-e2e-mounts", free_port(15003, 25003)
NODES = (f"{NAME}-control-plane", f"{NAME}-worker")
CERTS = "/etc/containerd/certs.d"
OWN = {f"localhost:{PORT}/hosts.toml": "# not yet\n", "registry.example.com/hosts.toml": "# somebody's own\n"}


def files(directory: Path) -> dict[str, str]:
    """The content of every file below a directory, by path."""
    return {str(path.relative_to(directory)): path.read_text() for path in directory.rglob("*") if path.is_file()}


def ids() -> list[str]:
    """The container ids of the nodes; a recreated cluster has others."""
    return process.run(["docker", "inspect", "--format", "{{.Id}}", *NODES], timeout=30).stdout.split()


def knows(project: Project) -> bool:
    """Whether the cluster has the ConfigMap that names the registry."""
    only = f"metadata.name={local_registry.CONFIG_MAP}"
    argv = ["get", "configmaps", "-n", local_registry.NAMESPACE, "--field-selector", only]
    return bool(project.json(*argv, context=f"kind-{NAME}")["items"])


@pytest.fixture
def mounted(project: Project, make_project: Callable[[str, int], Project]) -> Iterator[Project]:  # noqa: ARG001  engine
    """A project with the user's directories in its nodes: read-only in one node, writable in the other."""
    made = make_project(NAME, API_PORT)
    settings = yaml.safe_load((made.root / "invoke.yaml").read_text())
    settings["threezone"]["registry"] = {"name": REGISTRY, "port": PORT}
    made.write("invoke.yaml", yaml.safe_dump(settings))
    certs = {"hostPath": "./local/certs.d", "containerPath": CERTS}
    store = {"hostPath": "./local/store", "containerPath": str(Path(git_server.STORE).parent)}
    nodes = [
        {"role": "control-plane", "extraMounts": [{**certs, "readOnly": True}]},
        {"role": "worker", "extraMounts": [certs, store]},
    ]
    kind = {"kind": "Cluster", "apiVersion": "kind.x-k8s.io/v1alpha4", "networking": {"apiServerPort": API_PORT}}
    made.write("local/kubernetes/kind.yaml", yaml.safe_dump({**kind, "nodes": nodes}))
    for name, text in OWN.items():
        made.write(f"local/certs.d/{name}", text)
    (made.root / "local/store").mkdir()
    with registry_of_others_kept():
        made.invoke("registry.stop", "--delete", "--yes")
        made.invoke("cluster.delete", "--yes", check=False)
        yield made
        made.invoke("registry.stop", "--delete", "--yes")
    if "THREEZONE_KEEP" not in os.environ:
        made.invoke("cluster.delete", "--yes")


def test_nothing_is_written_into_the_users_mounts(mounted: Project, tmp_path: Path) -> None:
    certs, store = mounted.root / "local/certs.d", mounted.root / "local/store"
    mounted.invoke("registry.start", timeout=1800)
    made = mounted.invoke("cluster.create", timeout=5400)
    assert str(certs / f"localhost:{PORT}/hosts.toml") in made.stderr, "what to add is shown"
    before = ids()
    assert "nothing to do" in mounted.invoke("cluster.create").stdout
    assert ids() == before, "it counts as made to the end"
    assert NAME not in mounted.invoke("registry.start").stdout.splitlines()[0], "it does not know the registry"
    assert not knows(mounted)
    mounted.invoke("registry.stop")
    assert files(certs) == OWN

    mounted.invoke("gitops.serve", timeout=1200)
    chosen = mounted.json("get", "deployment", "git", "-n", git_server.NAMESPACE, context=f"kind-{NAME}")
    assert git_server.storage_node(chosen) == NODES[0], "the worker's place for it is the user's"
    assert list(store.iterdir()) == []

    mounted.invoke("registry.start")
    login = registry_logins(mounted)[f"localhost:{PORT}"]
    texts = local_registry.hosts_files(instances(REGISTRY, PORT), login)
    added = {**OWN, **{path.removeprefix(f"{CERTS[1:]}/"): text for path, text in texts.items()}}
    for path, text in added.items():
        mounted.write(f"local/certs.d/{path}", text)  # as the notes say
    assert NAME in mounted.invoke("registry.start").stdout.splitlines()[0]
    assert knows(mounted)
    image = f"localhost:{PORT}/team/app:1"
    process.run(["docker", "tag", build.APP, image], timeout=30)
    with docker_logged_in(mounted, tmp_path):
        process.run(["docker", "push", image], timeout=300)
    process.run(["docker", "image", "rm", image], timeout=30)
    for node in NODES:
        containers = [{"name": "app", "image": image, "imagePullPolicy": "Always"}]
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": node, "namespace": "default"}}
        mounted.write("pod.json", json.dumps({**pod, "spec": {"nodeName": node, "containers": containers}}))
        mounted.kubectl("apply", "--filename", "pod.json", context=f"kind-{NAME}")
        mounted.kubectl("wait", "--for=condition=Ready", f"pod/{node}", "--timeout=120s", context=f"kind-{NAME}")
    mounted.invoke("registry.stop")
    assert files(certs) == added
    assert not knows(mounted)
    (shown,) = json.loads(process.run(["docker", "inspect", NODES[0]], timeout=30).stdout)
    assert [mount["Destination"] for mount in shown["Mounts"] if mount["Source"] == str(certs)] == [CERTS]
