"""The local registry, and the channel `release` with files and images from this machine."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
import secrets
import sys
import tarfile
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import yaml
from tests.e2e.places import Place
from tests.e2e.project import (
    BY_HAND,
    NAME,
    Project,
    docker_logged_in,
    free_port,
    registry_logins,
    registry_of_others_kept,
)

from threezone.core import labels, process
from threezone.core.pins import tools as pinned
from threezone.core.process import Completed
from threezone.images import build
from threezone.images.engine_images import derive
from threezone.toolchain import golang, release
from threezone.toolchain.install import CACHED

pytestmark = pytest.mark.timeout(3600)

REGISTRY = "threezone-e2e-registry"
PORT = free_port(15001, 25001)
HOST = f"localhost:{PORT}"
WITHIN = f"{REGISTRY}:{PORT}"
TEAM, TEAM_PORT = "threezone-e2e-team", 26943


@pytest.fixture(scope="module")
def registry(lab: Project, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A separate registry for these tests, beside the user's, with docker logged in; its address in image names."""
    file = lab.root / "invoke.yaml"
    before = file.read_text()
    settings = yaml.safe_load(before)
    settings["threezone"]["registry"] = {"name": REGISTRY, "port": PORT}
    file.write_text(yaml.safe_dump(settings))
    with registry_of_others_kept():
        lab.invoke("registry.stop", "--delete", "--yes")
        lab.invoke("registry.start", timeout=1800)
        with docker_logged_in(lab, tmp_path_factory.mktemp("docker")):
            yield HOST
        lab.invoke("registry.stop", "--delete", "--yes")
    file.write_text(before)
    assert volumes() == ""


def password(lab: Project, host: str) -> str:
    """The password of the local registry."""
    return base64.b64decode(registry_logins(lab)[host]).decode().partition(":")[2]


def volumes() -> str:
    return process.run(["docker", "volume", "ls", "--quiet", "--filter", f"name={REGISTRY}"], timeout=30).stdout


def docker(*argv: str | Path, check: bool = True, timeout: float = 300) -> str:
    return process.run(["docker", *argv], timeout=timeout, check=check).stdout


def pushed(reference: str, by: Callable[..., Completed] | None = None) -> str:
    """Push an image, remove it from the engine, and return its digest."""
    argv = ["docker", "push", reference]
    lines = (by(argv) if by else process.run(argv, timeout=300)).stdout
    docker("image", "rm", reference)
    found = re.search(r"digest: (sha256:[0-9a-f]{64})", lines)
    assert found, lines
    return found.group(1)


def copy_app(reference: str) -> None:
    """Make an image that runs as the sample app does, and is another one.

    From 1.35 a kubelet that has pulled an image pulls it again for a name under which it has not pulled it
    (KubeletEnsureSecretPulledImages): later pods would not get the sample app from the node.
    """
    container = docker("create", build.APP).strip()
    docker("commit", "--change", "LABEL made-for=the-registry", container, reference)
    docker("rm", container)


def catalog(lab: Project) -> list[str]:
    """The repositories of the registry, as a pod with its login sees them."""
    login = registry_logins(lab)[WITHIN]
    names: list[str] = json.loads(from_pod(lab, f"--header=Authorization: Basic {login}").stdout)["repositories"]
    return names


def from_pod(lab: Project, *options: str, check: bool = True) -> Completed:
    """The registry's answer to a pod that asks for its repositories."""
    app = lab.json("get", "pods", "-n", "hello")["items"][0]["metadata"]["name"]
    ask = ("/bin/busybox", "wget", "-qO-", *options, f"http://{WITHIN}/v2/_catalog")
    return lab.kubectl("exec", "-n", "hello", app, "--", *ask, check=check)


POD = """{{
"apiVersion": "v1", "kind": "Pod", "metadata": {{"name": "{name}", "namespace": "default"}},
"spec": {{"containers": [{{"name": "it", "image": "{image}", "imagePullPolicy": "Always"}}]}}
}}"""


def runs(lab: Project, name: str, image: str) -> str:
    """Run a pod with `image`, and return the digest that the node pulled."""
    lab.write(f"{name}.json", POD.format(name=name, image=image))
    try:
        lab.kubectl("apply", "--filename", f"{name}.json")
        lab.kubectl("wait", "--for=condition=Ready", f"pod/{name}", "--timeout=60s")
        actual = lab.json("get", "pod", name)["status"]["containerStatuses"][0]["imageID"]
        return str(actual).rpartition("@")[2]
    finally:
        lab.kubectl("delete", "pod", name, "--wait=false", "--grace-period=1")
        (lab.root / f"{name}.json").unlink()


def test_images_pushed_on_the_host_or_in_a_devcontainer_run_under_the_same_name(
    lab: Project, registry: str, zone1: Place
) -> None:
    copy_app(f"{registry}/team/app:1")
    digest = pushed(f"{registry}/team/app:1")
    assert runs(lab, "from-the-host", f"{registry}/team/app:1") == digest
    copy_app(f"{registry}/team/app:2")
    zone1.invoke("registry.login")
    digest = pushed(f"{registry}/team/app:2", by=lambda argv: zone1.run(*argv))
    assert runs(lab, "from-a-devcontainer", f"{registry}/team/app:2") == digest
    assert runs(lab, "by-the-inner-name", f"{WITHIN}/team/app:2") == digest
    assert catalog(lab) == ["team/app"]


def test_nobody_pushes_or_pulls_without_the_login(
    lab: Project, registry: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Loopback is shared with other users, and the clusters' network with every pod."""
    without = from_pod(lab, check=False)
    assert without.exit_code != 0
    assert "401" in without.stderr
    image = f"{registry}/team/foreign:1"
    docker("tag", build.APP, image)
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    refused = process.run(["docker", "push", image], timeout=60, check=False)
    docker("image", "rm", image)
    assert refused.exit_code != 0
    assert "no basic auth credentials" in refused.stderr + refused.stdout
    assert process.run(["docker", "pull", f"{registry}/team/app:1"], timeout=60, check=False).exit_code != 0
    (shown,) = json.loads(docker("inspect", REGISTRY))
    file = tmp_path / "login.json"
    lab.invoke("registry.login", "--output", str(file))
    login = json.loads(file.read_text())["auths"][registry]["auth"]
    password = base64.b64decode(login).decode().partition(":")[2]
    log = process.run(["docker", "logs", REGISTRY], timeout=30)
    for text in (json.dumps(shown), log.stdout, log.stderr, lab.invoke("registry.start").stderr):
        assert password not in text
        assert login not in text
    mode = docker("exec", f"{NAME}-control-plane", "stat", "-c%a", f"/etc/containerd/certs.d/{registry}/hosts.toml")
    assert mode.strip() == "600"


def test_the_registry_listens_on_loopback_and_the_network_of_kind_only(lab: Project, registry: str) -> None:
    (actual,) = json.loads(docker("inspect", REGISTRY))
    bindings = [binding for each in actual["NetworkSettings"]["Ports"].values() for binding in each or ()]
    assert bindings == [{"HostIp": "127.0.0.1", "HostPort": str(PORT)}]
    assert list(actual["NetworkSettings"]["Networks"]) == ["kind"]
    output = lab.json("get", "configmap", "-n", "kube-public", "local-registry-hosting")["data"]
    assert yaml.safe_load(output["localRegistryHosting.v1"])["host"] == registry
    (row,) = json.loads(lab.invoke("registry.status", "--json").stdout)
    assert (row["state"], row["address"], row["for_nodes_and_pods"]) == ("running", registry, WITHIN)
    untouched = process.run(
        ["docker", "exec", f"{BY_HAND}-control-plane", "ls", "/etc/containerd/certs.d"], timeout=30, check=False
    )
    assert untouched.exit_code != 0, "a cluster that is not ours is not changed"


def test_images_survive_a_stop_and_a_later_cluster_is_configured(lab: Project, registry: str) -> None:
    before = docker("inspect", "--format", "{{.Id}}", REGISTRY)
    assert "nothing to do" in lab.invoke("registry.start").stdout
    assert docker("inspect", "--format", "{{.Id}}", REGISTRY) == before
    lab.invoke("registry.stop")
    assert lab.invoke("registry.status", check=False).exit_code == 4
    assert REGISTRY in volumes()
    node = f"{NAME}-control-plane"
    assert docker("exec", node, "find", "/etc/containerd/certs.d", "-type", "f") == ""
    lab.invoke("registry.start")
    assert "team/app" in catalog(lab)
    docker("exec", node, "rm", "-r", f"/etc/containerd/certs.d/{registry}")  # as a new node has it
    lab.kubectl("delete", "configmap", "-n", "kube-public", "local-registry-hosting")
    lab.invoke("cluster.create")
    assert WITHIN in docker("exec", node, "cat", f"/etc/containerd/certs.d/{registry}/hosts.toml")
    assert lab.json("get", "configmap", "-n", "kube-public", "local-registry-hosting")
    declined = lab.invoke("registry.stop", "--delete", check=False)
    assert declined.exit_code == 8
    assert "team/app" in catalog(lab)


class Quiet(SimpleHTTPRequestHandler):
    """Serves files and logs nothing."""

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture(scope="module")
def files(project: Project, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """The address and the directory of a file server with the three programs, in the layout of their releases."""
    root = tmp_path_factory.mktemp("releases")
    for name in ("kind", "kubectl", "flux"):
        pin = getattr(pinned(), name)
        target = root / pin.path.format(version=pin.version, os=release.system(), arch=golang.architecture())
        target.parent.mkdir(parents=True, exist_ok=True)
        if pin.member:
            with tarfile.open(target, "w:gz", compresslevel=1) as tar:
                tar.add(project.tool(name).resolve(), pin.member)
        else:
            target.write_bytes(project.tool(name).read_bytes())
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(root))) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}", root
        server.shutdown()
        thread.join()


@dataclass(frozen=True)
class Team:
    """A team's project with pins to its own servers, an empty cache, and the digest of its node image."""

    project: Project
    cache: Path
    node: str
    digest: str

    def invoke(self, *argv: str, check: bool = True) -> Completed:
        command = [sys.executable, "-m", "invoke", *argv]  # ./run would make its environment in the empty cache
        env = {**self.project.env, "THREEZONE_CACHE": str(self.cache)}
        return process.run(command, cwd=self.project.root, env=env, timeout=600, check=check)


@pytest.fixture(scope="module")
def team(registry: str, files: tuple[str, Path], make_project: Callable[[str, int], Project]) -> Iterator[Team]:
    made = make_project(TEAM, TEAM_PORT)
    base, root = files
    image = next(found[0] for channel in CACHED if (found := build.observe(["node"], channel).get("node")))
    reference = f"{registry}/kindest/node:{image.reference.partition('@')[0].rpartition(':')[2]}"
    # A new image, because the engine pulls nothing that it knows by digest. And without our label, like a released
    # one, because unnamed images of ours are removed after a build.
    derive(image.reference, reference, {labels.MANAGED: "", "io.threezone.test": secrets.token_hex()})
    digest = pushed(reference)
    by_digest = f"{reference.rpartition(':')[0]}@{digest}"
    pins = f'[images.released]\nflux = []\n[images.node]\nrelease = "{registry}/kindest/node"\ndigest = "{digest}"\n'
    platform = f"{release.system()}-{golang.architecture()}"
    for name in ("kind", "kubectl", "flux"):
        (file,) = (path for path in root.rglob(f"{name}*") if path.is_file())
        checksum = hashlib.sha256(file.read_bytes()).hexdigest()
        pins += f'[tools.{name}]\nbase = "{base}"\n[tools.{name}.sha256]\n{platform} = "{checksum}"\n'
    made.write("local/pins.toml", pins)
    at = Team(made, made.state.parent / "cache", reference, digest)
    yield at
    if "THREEZONE_KEEP" not in os.environ:
        at.invoke("down", "--yes")
        docker("image", "rm", by_digest, check=False)


def test_a_tampered_program_is_refused_and_not_kept(team: Team, files: tuple[str, Path]) -> None:
    (kind,) = files[1].rglob("kind-*")
    good = kind.read_bytes()
    kind.write_bytes(good[:-1] + bytes([good[-1] ^ 1]))
    refused = team.invoke("tools.install", "--channel", "release", check=False)
    kind.write_bytes(good)
    assert refused.exit_code == 7
    assert f"error: the checksum of {files[0]}/" in refused.stderr
    assert "do not use the file" in refused.stderr
    assert not list(team.cache.rglob("kind")), "nothing of it was kept"


def test_a_tampered_image_is_refused(team: Team) -> None:
    value = team.digest.partition(":")[2]
    blob, kept = f"/r/docker/registry/v2/blobs/sha256/{value[:2]}/{value}/data", "/r/kept"
    inside = ["run", "--rm", "--user=0", f"--volume={REGISTRY}:/r", "--entrypoint=/bin/sh", build.APP, "-c"]
    docker(*inside, f"/bin/busybox cp {blob} {kept} && echo >>{blob}")
    try:
        refused = team.invoke("image.build", "node", "--channel", "release", check=False)
    finally:
        docker(*inside, f"/bin/busybox mv {kept} {blob}")
    assert refused.exit_code == 7
    assert f"error: the image {team.node}@{team.digest} could not be pulled" in refused.stderr
    assert "verification failed" in refused.stderr


def test_a_cluster_is_made_from_a_teams_own_servers(team: Team) -> None:
    team.invoke("cluster.create", "--channel", "release")
    got = [team.cache.glob(f"tools/{name}-*-release-*/{name}") for name in ("kind", "kubectl", "flux")]
    _, kubectl, _ = (next(paths) for paths in got)  # each one from the file server
    (image,) = json.loads(docker("image", "inspect", f"{team.node.rpartition(':')[0]}@{team.digest}"))
    (node,) = json.loads(docker("inspect", f"{TEAM}-control-plane"))
    (own,) = json.loads(docker("image", "inspect", node["Image"]))
    layers = image["RootFS"]["Layers"]
    assert own["RootFS"]["Layers"][: len(layers)] == layers, "the cluster's image is based on the pulled one"
    nodes = team.project.run(kubectl, "--context", f"kind-{TEAM}", "get", "nodes", "-o", "json")
    assert [each["metadata"]["name"] for each in json.loads(nodes.stdout)["items"]] == [f"{TEAM}-control-plane"]
