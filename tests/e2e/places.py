"""Containers like those of a team (a devcontainer, a CI job) or like another machine."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from tests.e2e.project import Project, Ran

from threezone.core import process
from threezone.core.process import Completed
from threezone.images import debian_base
from threezone.images.versions import images
from threezone.toolchain import channel

IMAGE = "threezone/e2e-place:1"
RECIPE = Path(__file__).with_name("containers") / "place"
HOME = "threezone-e2e-home"  # a volume: all containers share the environment of ./run
NETWORK = "threezone-e2e-jobs"  # for containers that are not on the default bridge
CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")  # may have a company's own authority
SOCKET = "/var/run/docker.sock"
OTHER_CA = "tests/integration/zones/pki/other/ca.crt"


@dataclass(frozen=True)
class Place:
    """A running container with the project and its own kubeconfig."""

    container: str
    project: Project

    def run(self, *argv: str, check: bool = True, stdin: str | None = None) -> Completed:
        command = ["docker", "exec", *(["--interactive"] if stdin is not None else []), self.container, *argv]
        done = process.run(command, timeout=900, check=False, stdin=stdin)
        Ran.record(argv, done.exit_code)
        if check and done.exit_code != 0:
            pytest.fail(f"{argv} in {self.container} ended with {done.exit_code}\n{done.stdout}\n{done.stderr}")
        return done

    def invoke(self, *argv: str, check: bool = True) -> Completed:
        return self.run("./run", "invoke", *argv, check=check)

    def kubectl(self, *argv: str, context: str = "", check: bool = True) -> Completed:
        return self.run("kubectl", *([f"--context={context}"] if context else []), *argv, check=check)

    @property
    def root(self) -> Path:
        return self.project.root

    def entry(self, context: str) -> dict[str, Any]:
        """The cluster of a context as kubectl reads it, without secrets."""
        view = json.loads(self.kubectl("config", "view", "-o", "json").stdout)
        found: dict[str, Any] = next(c["cluster"] for c in view["clusters"] if c["name"] == context)
        return found

    def networks(self) -> set[str]:
        return set(self._seen()["NetworkSettings"]["Networks"])

    def address(self, network: str) -> str:
        return str(self._seen()["NetworkSettings"]["Networks"][network]["IPAddress"])

    def _seen(self) -> Any:
        return json.loads(process.run(["docker", "inspect", self.container], timeout=30).stdout)[0]


@contextmanager
def place(project: Project, name: str, *options: str, socket: bool = True, network: str = "bridge") -> Iterator[Place]:
    """Run a container while the block runs; `options` are docker's."""
    try:
        yield start(project, name, *options, socket=socket, network=network)
    finally:
        remove(name)


def remove(name: str) -> None:
    process.run(["docker", "rm", "--force", "--volumes", f"threezone-e2e-{name}"], timeout=60, check=False)


def start(project: Project, name: str, *options: str, socket: bool = True, network: str = "bridge") -> Place:
    """Start the container, in place of an older one. Its kubeconfig is in the volume, by `name`."""
    remove(name)
    container = f"threezone-e2e-{name}"
    bin_dir = project.invoke("tools.list", "--path").stdout.strip()
    cache = Path(os.environ.get("THREEZONE_CACHE") or Path.home() / ".cache/threezone")
    trust = ["PIP_CERT", "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE"]
    process.run(
        ["docker", "run", "--detach", "--init", "--name", container, "--network", network, "--workdir", project.root,
         *(["--volume", f"{SOCKET}:{SOCKET}"] if socket else []),
         "--volume", f"{project.root}:{project.root}",
         "--volume", f"{cache}:{cache}:ro",  # the programs, which are on PATH in the container
         "--volume", f"{HOME}:/root", "--env", "THREEZONE_CACHE=/root/threezone",
         "--env", f"KUBECONFIG=/root/{name}/config", "--env", f"THREEZONE_STATE=/root/{name}/state",
         "--volume", f"{CERTIFICATES}:{CERTIFICATES}:ro", *(f"--env={variable}={CERTIFICATES}" for variable in trust),
         "--env", f"PATH={bin_dir}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
         *options, IMAGE, "sleep", "infinity"],
        timeout=120,
    )  # fmt: skip
    made = Place(container, project)
    made.run("git", "config", "--global", "--replace-all", "safe.directory", str(project.root))
    return made


def build_image(image: str, recipe: Path) -> None:
    """Build an image of these tests on the channel's base image."""
    process.run(["docker", "build", "--tag", image, "--build-arg", f"BASE={base_image()}", recipe], timeout=900)


def base_image() -> str:
    """The channel's Debian image."""
    return debian_base.ensure() if channel.resolve_channel("auto") == "source" else images().base.release


def holds(zone: Project | Place, context: str, *options: str) -> None:
    """Check that `kubectl get nodes` works with the written entry, and only with the right CA and the right name."""
    get = ["get", "nodes", *options]
    assert " Ready " in zone.kubectl(*get, context=context).stdout
    name = zone.kubectl(*get, "--tls-server-name=somebody-else", context=context, check=False)
    assert name.exit_code != 0
    assert "x509: certificate is valid for" in name.stderr
    authority = zone.kubectl(*get, f"--certificate-authority={zone.root / OTHER_CA}", context=context, check=False)
    assert authority.exit_code != 0
    assert "certificate signed by unknown authority" in authority.stderr
