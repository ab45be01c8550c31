"""The images: the Git server with and without the password, the sample app, two nodes with a volume."""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
import signal
import subprocess
import tarfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from tests.e2e.project import Project

from threezone.clients import kind
from threezone.core import labels, process
from threezone.images import build, engine_images
from threezone.images.load import cluster_image, has, load, stored
from threezone.toolchain import channel, golang

pytestmark = pytest.mark.timeout(3600)

PASSWORD = "only-for-this-test"
TWO = "threezone-e2e-two"


@pytest.fixture(scope="module")
def images(project: Project) -> dict[str, engine_images.Image]:  # noqa: ARG001 - its engine works
    """The lab's images by name."""
    made = build.ensure_all(("node", "git-server", "hello"), channel.resolve_channel("auto"))
    return {name: group[0] for name, group in made.items()}


@contextmanager
def running(image: engine_images.Image, *options: str) -> Iterator[tuple[str, str]]:
    """Run a container with the restrictions of a pod; gives its id and the URL of its port 8080."""
    confined = ["--read-only", "--cap-drop=ALL", "--tmpfs=/tmp:mode=1777", "--publish=127.0.0.1::8080"]
    argv = ["docker", "run", "--detach", *confined, *options, image.reference]
    container = process.run(argv, timeout=60).stdout.strip()
    try:
        port = process.run(["docker", "port", container, "8080/tcp"], timeout=30).stdout.split()[0]
        yield container, f"http://{port}"
    finally:
        process.run(["docker", "rm", "--force", "--volumes", container], timeout=60)


def answer(url: str) -> str:
    """The answer of a server, as soon as it listens."""
    deadline = time.monotonic() + 20
    while True:
        try:
            with urllib.request.urlopen(url, timeout=5) as response:  # noqa: S310 - a loopback address
                return str(response.read().decode())
        except (urllib.error.URLError, ConnectionError):
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)


def stopped_within(container: str, seconds: float) -> bool:
    """Whether a container stops within `seconds` after SIGTERM."""
    began = time.monotonic()
    process.run(["docker", "stop", "--time=30", container], timeout=60)
    return time.monotonic() - began < seconds


def test_the_sample_app_serves_its_mount_and_stops_on_request(
    images: dict[str, engine_images.Image], tmp_path: Path
) -> None:
    page = tmp_path / "index.html"
    page.write_text("from a file\n")
    page.chmod(0o644)
    assert images["hello"].size < 5_000_000
    with running(images["hello"], f"--volume={page}:/www/index.html:ro") as (container, url):
        assert answer(f"{url}/") == "from a file\n"
        user = process.run(["docker", "exec", container, "/bin/busybox", "id", "-u"], timeout=30).stdout
        assert user == "65532\n"
        assert stopped_within(container, 5)


@pytest.fixture
def git_server(images: dict[str, engine_images.Image], tmp_path: Path) -> Iterator[tuple[str, str]]:
    """A running Git server with one empty repository."""
    password = tmp_path / "password"
    password.write_text(PASSWORD)
    password.chmod(0o644)
    mounts = ["--volume=/srv/git", f"--volume={password}:/etc/threezone/password:ro"]
    with running(images["git-server"], *mounts) as (container, url):
        assert answer(f"{url}/healthz") == "ok\n"
        yield container, url


@pytest.fixture
def work(tmp_path: Path) -> Callable[..., process.Completed]:
    """A function that runs git in a repository with one commit of 50 MB of random data."""
    directory = tmp_path / "work"
    directory.mkdir()
    identity = {f"GIT_{who}_{what}": "test@example" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}

    def git(*argv: str, check: bool = True) -> process.Completed:
        env = {**identity, "GIT_TERMINAL_PROMPT": "0"}
        return process.run(["git", *argv], timeout=120, cwd=directory, env=env, check=check)

    git("init", "--quiet", "--initial-branch=main")
    (directory / "large").write_bytes(os.urandom(50_000_000))
    git("add", "large")
    git("commit", "--quiet", "--message=large")
    return git


def test_git_needs_the_password_to_push_and_none_to_read(
    git_server: tuple[str, str], work: Callable[..., process.Completed], tmp_path: Path
) -> None:
    container, url = git_server
    scheme, host = url.split("//")
    known, stranger = f"{scheme}//threezone:{PASSWORD}@{host}", f"{scheme}//threezone:guess@{host}"
    assert work("push", f"{url}/lab.git", "main", check=False).exit_code != 0
    assert work("push", f"{stranger}/lab.git", "main", check=False).exit_code != 0
    assert work("ls-remote", f"{url}/lab.git").stdout == "", "nothing arrived"
    work("push", "--quiet", f"{known}/lab.git", "main")
    head = work("rev-parse", "HEAD").stdout.strip()
    assert f"{head}\trefs/heads/main" in work("ls-remote", f"{url}/lab.git").stdout
    clone = tmp_path / "clone"
    work("clone", "--quiet", "--depth=1", f"file://{work('rev-parse', '--show-toplevel').stdout.strip()}", str(clone))
    work("-C", str(clone), "commit", "--quiet", "--allow-empty", "--message=from a shallow clone")
    work("-C", str(clone), "push", "--quiet", f"{known}/lab.git", "main")
    assert PASSWORD not in process.run(["docker", "logs", container], timeout=30).stderr
    assert stopped_within(container, 5)


@pytest.mark.parametrize(
    "path", ["/lab.git/git-receive-pack", "/lab.git/%67it-receive-pack", "/lab.git//git-receive-pack"]
)
def test_no_spelling_of_the_address_avoids_the_password(git_server: tuple[str, str], path: str) -> None:
    _, url = git_server
    with pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.urlopen(url + path, data=b"0000", timeout=10)  # noqa: S310 - a loopback address
    with caught.value as refusal:
        assert refusal.code == 401


def test_the_node_image_is_small_and_found_quickly(images: dict[str, engine_images.Image]) -> None:
    assert images["node"].size < 1_200_000_000
    began = time.monotonic()
    build.ensure("node", channel.resolve_channel("auto"))
    assert time.monotonic() - began < 5


def test_a_clusters_own_node_image_is_derived_once(images: dict[str, engine_images.Image]) -> None:
    first = cluster_image(images["node"].reference, TWO)
    shown = json.loads(process.run(["docker", "image", "inspect", first], timeout=30).stdout)[0]
    base = json.loads(process.run(["docker", "image", "inspect", images["node"].reference], timeout=30).stdout)[0]
    assert shown["Config"]["Labels"][labels.OWNER] == TWO
    assert shown["Config"]["Entrypoint"] == base["Config"]["Entrypoint"]
    assert shown["RootFS"] == base["RootFS"], "only metadata differs"
    assert cluster_image(images["node"].reference, TWO) == first
    again = json.loads(process.run(["docker", "image", "inspect", first], timeout=30).stdout)[0]
    assert again["Id"] == shown["Id"]


@pytest.fixture(scope="module")
def two_nodes(project: Project, images: dict[str, engine_images.Image]) -> Iterator[Callable[..., process.Completed]]:
    """A function that runs kubectl on a cluster with a control plane and a worker."""
    kind, kubectl = project.tool("kind"), project.tool("kubectl")
    config = "kind: Cluster\napiVersion: kind.x-k8s.io/v1alpha4\nnodes: [{role: control-plane}, {role: worker}]\n"
    if not Path("/sys/fs/cgroup/cgroup.controllers").exists():
        config += "kubeadmConfigPatches:\n- |\n  kind: KubeletConfiguration\n  failCgroupV1: false\n"
    image = cluster_image(images["node"].reference, TWO)
    create: list[str | Path] = [kind, "create", "cluster", "--name", TWO, "--image", image, "--config", "-"]
    try:
        project.run(kind, "delete", "cluster", "--name", TWO)
        process.run(create, stdin=config, env=project.env, timeout=600)
        nodes = (f"{TWO}-control-plane", f"{TWO}-worker")
        assert load(Path(kind), TWO, nodes, [images["hello"]]) == (images["hello"],)
        assert load(Path(kind), TWO, nodes, [images["hello"]]) == (), "what a node has is not loaded again"
        yield lambda *argv, **more: process.run(
            [kubectl, "--context", f"kind-{TWO}", *argv], env=project.env, timeout=180, **more
        )
    finally:
        project.run(kind, "delete", "cluster", "--name", TWO)
        process.run(["docker", "image", "rm", image], timeout=60, check=False)


PODS = """
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {{name: pages}}
spec: {{accessModes: [ReadWriteOnce], resources: {{requests: {{storage: 1Mi}}}}}}
---
apiVersion: v1
kind: Pod
metadata: {{name: server}}
spec:
  nodeSelector: {{kubernetes.io/hostname: {two}-worker}}
  containers:
  - {{name: it, image: "{image}", imagePullPolicy: Never, volumeMounts: [{{name: pages, mountPath: /www}}]}}
  volumes: [{{name: pages, persistentVolumeClaim: {{claimName: pages}}}}]
---
apiVersion: v1
kind: Pod
metadata: {{name: client}}
spec:
  nodeSelector: {{kubernetes.io/hostname: {two}-control-plane}}
  tolerations: [{{operator: Exists}}]
  containers: [{{name: it, image: "{image}", imagePullPolicy: Never}}]
"""


def test_pods_of_two_nodes_reach_each_other_and_a_claim_is_bound(
    two_nodes: Callable[..., process.Completed], images: dict[str, engine_images.Image]
) -> None:
    kubectl = two_nodes
    kubectl("wait", "--for=condition=Ready", "node", "--all", "--timeout=120s")
    deadline = time.monotonic() + 60
    while (
        kubectl("get", "serviceaccount", "default", check=False).exit_code != 0
    ):  # pods need it; a controller makes it
        assert time.monotonic() < deadline
        time.sleep(0.2)
    kubectl("apply", "--filename", "-", stdin=PODS.format(two=TWO, image=images["hello"].reference))
    kubectl("wait", "--for=condition=Ready", "pod/server", "pod/client", "--timeout=120s")
    claim = json.loads(kubectl("get", "pvc", "pages", "--output=json").stdout)
    assert (claim["status"]["phase"], claim["spec"]["storageClassName"]) == ("Bound", "standard")
    kubectl("exec", "server", "--", "/bin/sh", "-c", "echo across >/www/index.html")
    address = json.loads(kubectl("get", "pod", "server", "--output=json").stdout)["status"]["podIP"]
    fetched = kubectl("exec", "client", "--", "/bin/busybox", "wget", "-qO-", f"http://{address}:8080/")
    assert fetched.stdout == "across\n"
    log = kubectl("logs", "server").stdout
    client = json.loads(kubectl("get", "pod", "client", "--output=json").stdout)["status"]["podIP"]
    assert f"{client}]:" in log, f"the server sees the client's own address, not a node's: {log}"
    kubectl("wait", "--for=condition=Ready", "pod", "--all", "--all-namespaces", "--timeout=120s")


def for_another_machine(archive: Path) -> Path:
    """A copy of an archive of `docker save`, whose image claims to be for another architecture."""
    other = "amd64" if golang.architecture() == "arm64" else "arm64"
    copy = archive.with_name("other.tar")
    with tarfile.open(archive) as source, tarfile.open(copy, "w") as target:
        (entry,) = json.load(source.extractfile("manifest.json"))  # type: ignore[arg-type]
        config = json.load(source.extractfile(entry["Config"]))  # type: ignore[arg-type]
        data = json.dumps({**config, "architecture": other}).encode()
        name = f"{hashlib.sha256(data).hexdigest()}.json"
        manifest = json.dumps([{**entry, "Config": name, "RepoTags": ["by-hand/other:1"]}]).encode()
        for path, content in ((name, data), ("manifest.json", manifest)):
            member = tarfile.TarInfo(path)
            member.size = len(content)
            target.addfile(member, io.BytesIO(content))
        for layer in entry["Layers"]:
            target.addfile(source.getmember(layer), source.extractfile(layer))
    return copy


def test_images_are_loaded_once_and_for_the_right_architecture_only(
    project: Project,
    two_nodes: Callable[..., process.Completed],
    images: dict[str, engine_images.Image],
    tmp_path: Path,
) -> None:
    assert two_nodes("get", "nodes").exit_code == 0
    archive = tmp_path / "app.tar"
    process.run(["docker", "tag", images["hello"].reference, "by-hand/app:1"], timeout=30)
    process.run(["docker", "save", "--output", archive, "by-hand/app:1"], timeout=60)
    argv = ("image.load", f"git-server,{images['hello'].reference}", "--archive", str(archive), "--name", TWO)
    try:
        loaded = project.invoke(*argv).stdout
        assert images["git-server"].reference in loaded
        assert "by-hand/app:1" in loaded
        assert images["hello"].reference not in loaded, "the nodes had it"
        assert "nothing to do" in project.invoke(*argv).stdout
        for node in (f"{TWO}-control-plane", f"{TWO}-worker"):
            assert has(stored(node), replace(images["hello"], reference="by-hand/app:1"))
        other = for_another_machine(archive)
        process.run(["docker", "load", "--input", other], timeout=60)
        for what in ("by-hand/other:1", str(other)):
            refused = project.invoke("image.load", what, "--name", TWO, check=False)
            assert refused.exit_code == 2
            assert "by-hand/other:1 is made for a" in refused.stderr
        assert "docker.io/by-hand/other:1" not in stored(f"{TWO}-worker")
    finally:
        process.run(["docker", "image", "rm", "by-hand/app:1", "by-hand/other:1"], timeout=60, check=False)


@contextmanager
def kept(references: list[str]) -> Iterator[None]:
    """Keep images of the user from `image.prune`, which removes what no lab needs from the whole engine."""
    present = engine_images.inspect(references)
    keepers = {reference: f"threezone-e2e-kept:{number}" for number, reference in enumerate(present)}
    for reference, keeper in keepers.items():
        process.run(["docker", "tag", reference, keeper], timeout=30)
    try:
        yield
    finally:
        for reference, keeper in keepers.items():
            process.run(["docker", "tag", keeper, reference], timeout=30)
            process.run(["docker", "image", "rm", keeper], timeout=30)


def test_prune_removes_unused_images_of_ours_and_no_other(
    project: Project, images: dict[str, engine_images.Image], by_hand: str
) -> None:
    stale, theirs = "threezone/hello:of-another-day", "by-hand/on-ours:1"  # the second inherits our label
    for name in (stale, theirs):
        process.run(["docker", "tag", images["hello"].reference, name], timeout=30)
    used = {node.image for node in kind.nodes(by_hand)}
    try:
        plan = project.invoke("image.prune", "--dry-run").stdout
        assert f"docker image rm {stale}" in plan
        assert theirs not in plan
        assert project.invoke("image.prune", check=False).exit_code == 8, "it asks"
        named = set(re.findall(r"\S+[/:]\S+", plan))
        with kept([name for name in named if name.startswith("threezone/") and name != stale]):
            project.invoke("image.prune", "--yes")
        present = engine_images.inspect([stale, theirs, *used, *(image.reference for image in images.values())])
        assert set(present) == {theirs, *used, *(image.reference for image in images.values())}
    finally:
        process.run(["docker", "image", "rm", stale, theirs], timeout=30, check=False)


def test_a_killed_build_is_finished_by_the_next_one(project: Project, images: dict[str, engine_images.Image]) -> None:
    reference = images["hello"].reference
    argv = ["./run", "invoke", "image.build", "hello"]
    for seconds in (0.5, 1.0, 2.0):
        process.run(["docker", "image", "rm", "--force", reference], timeout=60, check=False)
        with subprocess.Popen(argv, cwd=project.root, start_new_session=True, stderr=subprocess.DEVNULL) as builder:
            time.sleep(seconds)
            os.killpg(builder.pid, signal.SIGKILL)
        project.invoke("image.build", "hello")
        assert engine_images.inspect([reference])[reference].recipe == images["hello"].recipe
