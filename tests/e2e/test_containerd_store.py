"""Images of an engine with containerd's image store, which has only a part of an image for several platforms."""

from __future__ import annotations

import hashlib
import json
import shutil
import socket
import socketserver
import tarfile
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest
from tests.e2e.places import build_image
from tests.e2e.project import NAME, Project

from threezone.clients.docker.images import save
from threezone.core import process
from threezone.images import archive, build
from threezone.images.load import architecture, stored
from threezone.toolchain import channel

pytestmark = pytest.mark.timeout(1800)

IMAGE = "threezone/e2e-engine:1"
CONTAINER = "threezone-e2e-engine"
RECIPE = Path(__file__).with_name("containers") / "engine"
NODE = f"{NAME}-control-plane"
PORT = 5000  # in the engine's container
APP = "by-hand/partial:1"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"
Json = dict[str, Any]


class Registry:
    """The contents of a registry on loopback that serves one image, for two platforms."""

    def __init__(self, file: Path, platform: str) -> None:
        """Take the image of a `docker save`; another platform than `platform` has another configuration."""
        self.contents: dict[str, tuple[str, bytes]] = {}
        other = "arm64" if platform == "amd64" else "amd64"
        with tarfile.open(file) as saved:

            def read(name: str) -> bytes:
                stream = saved.extractfile(name)
                assert stream
                return stream.read()

            (entry,) = json.loads(read("manifest.json"))
            layers = [self._add("application/vnd.oci.image.layer.v1.tar", read(name)) for name in entry["Layers"]]
            config = json.loads(read(entry["Config"]))
        manifests = []
        for each in (platform, other):
            document = json.dumps({**config, "architecture": each}).encode()
            parts = {"config": self._add("application/vnd.oci.image.config.v1+json", document), "layers": layers}
            manifest = self._add(MANIFEST, json.dumps({"schemaVersion": 2, "mediaType": MANIFEST, **parts}).encode())
            manifests.append({**manifest, "platform": {"os": "linux", "architecture": each}})
        index = json.dumps({"schemaVersion": 2, "mediaType": INDEX, "manifests": manifests}).encode()
        self.contents["1"] = (INDEX, index)
        self._add(INDEX, index)
        self.absent = str(manifests[1]["digest"])

    def _add(self, kind: str, data: bytes) -> Json:
        digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
        self.contents[digest] = (kind, data)
        return {"mediaType": kind, "digest": digest, "size": len(data)}


@pytest.fixture(scope="module")
def engine(project: Project) -> Iterator[Path]:  # noqa: ARG001 - its engine works
    """The socket of an engine in a container, in a directory that both sides see.

    It has no network: an engine takes the interfaces that it finds for its own, and would remove this machine's.
    """
    build_image(IMAGE, RECIPE)
    directory = Path(tempfile.mkdtemp(prefix="tz-"))
    (directory / "daemon.json").write_text(json.dumps({"features": {"containerd-snapshotter": True}}))
    process.run(["docker", "rm", "--force", "--volumes", CONTAINER], timeout=60, check=False)
    try:
        process.run(
            ["docker", "run", "--detach", "--init", "--privileged", "--network=none", "--name", CONTAINER,
             "--volume", f"{directory}:{directory}", "--volume", "/var/lib/docker", "--tmpfs", "/run", IMAGE, "dockerd",
             "--config-file", directory / "daemon.json", "--host", f"unix://{directory}/docker.sock",
             "--bridge=none", "--iptables=false", "--ip6tables=false"],
            timeout=60,
        )  # fmt: skip
        _await(directory / "docker.sock")
        yield directory / "docker.sock"
    finally:
        process.run(["docker", "rm", "--force", "--volumes", CONTAINER], timeout=60, check=False)
        shutil.rmtree(directory)


def _await(address: Path) -> None:
    deadline = time.monotonic() + 60
    while True:
        asked = process.run(["docker", "info"], timeout=30, check=False, env={"DOCKER_HOST": f"unix://{address}"})
        if asked.exit_code == 0:
            assert "io.containerd.snapshotter" in asked.stdout, asked.stdout
            return
        assert time.monotonic() < deadline, process.run(["docker", "logs", CONTAINER], timeout=30).stderr
        time.sleep(0.2)


@pytest.fixture(scope="module")
def registry(lab: Project, engine: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str]]:
    """The registry's address for the engine, and the digest of the platform that the nodes are not."""
    assert lab.root.is_dir()
    (hello,) = build.ensure("hello", channel.resolve_channel("auto"))
    file = tmp_path_factory.mktemp("hello") / "hello.tar"
    process.run(["docker", "save", "--output", file, hello.reference], timeout=60)
    contents = Registry(file, architecture(NODE))

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def handle(self) -> None:
            if self.connection.recv(1, socket.MSG_PEEK) == b"\x16":  # TLS, which the engine tries first
                self.wfile.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
            else:
                super().handle()

        def do_HEAD(self) -> None:
            self._answer(body=False)

        def do_GET(self) -> None:
            self._answer(body=True)

        def _answer(self, *, body: bool) -> None:
            name = self.path.rpartition("/")[2]
            known = name in contents.contents or not name
            media, data = contents.contents.get(name, ("application/json", b"{}"))
            self.send_response(200 if known else 404)
            self.send_header("Content-Type", media)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            if body:
                self.wfile.write(data)

        def address_string(self) -> str:
            return "a unix socket"

        def log_message(self, *args: object) -> None:
            """Be silent."""

    path = engine.with_name("registry.sock")
    with socketserver.ThreadingUnixStreamServer(str(path), Handler) as server:
        server.daemon_threads = True  # the engine keeps its connections open
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        forward = ["socat", f"TCP-LISTEN:{PORT},bind=127.0.0.1,fork", f"UNIX-CONNECT:{path}"]
        process.run(["docker", "exec", "--detach", CONTAINER, *forward], timeout=30)
        yield f"127.0.0.1:{PORT}", contents.absent
        server.shutdown()
        thread.join()


@dataclass(frozen=True)
class Saved:
    """Two archives of the image, by `docker save` and by our client; and the digest of what is absent in them."""

    plain: Path
    ours: Path
    absent: str


@pytest.fixture
def saved(engine: Path, registry: tuple[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Saved:
    """What the engine saves after it has pulled the image for its own platform."""
    address, absent = registry
    machine = architecture(NODE)
    found = Saved(tmp_path / "plain.tar", tmp_path / "ours.tar", absent)
    with monkeypatch.context() as other:
        other.setenv("DOCKER_HOST", f"unix://{engine}")
        process.run(["docker", "pull", f"{address}/partial:1"], timeout=120)
        process.run(["docker", "tag", f"{address}/partial:1", APP], timeout=30)
        process.run(["docker", "save", "--output", found.plain, APP], timeout=60)
        save(found.ours, APP, architecture=machine)
    assert archive.read(found.ours, machine).images[0].architectures == (machine,)
    return found


def test_an_image_with_absent_platforms_is_loaded(lab: Project, saved: Saved) -> None:
    refused = lab.run(lab.tool("kind"), "load", "image-archive", saved.plain, "--name", NAME, check=False)
    assert refused.exit_code != 0, "the premise: kind cannot load it"
    assert saved.absent in refused.stdout + refused.stderr
    load = ("image.load", "--name", NAME)
    assert APP in lab.invoke(*load, str(saved.plain)).stdout
    assert f"docker.io/{APP}" in stored(NODE)
    for file in (saved.plain, saved.ours):
        assert "nothing to do" in lab.invoke(*load, str(file)).stdout
