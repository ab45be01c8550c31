"""A container that stands for a devcontainer: the engine's socket, Python, git, and the project mounted."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.e2e.project import Project

from threezone import process
from threezone.process import Completed

IMAGE = "threezone/e2e-zone1:1"
DOCKERFILE = Path(__file__).with_name("containers") / "zone1" / "Dockerfile"
CONTAINER = "threezone-e2e-zone1"
CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")  # a company's own authority may be among them


@dataclass(frozen=True)
class Zone1:
    """A running container that stands for a devcontainer."""

    project: Project

    def run(self, *argv: str, check: bool = True) -> Completed:
        done = process.run(["docker", "exec", CONTAINER, *argv], timeout=900, check=False)
        if check and done.exit_code != 0:
            pytest.fail(f"{argv} ended with {done.exit_code}\n{done.stdout}\n{done.stderr}")
        return done

    def invoke(self, *argv: str, check: bool = True) -> Completed:
        return self.run("./run", "invoke", *argv, check=check)

    def networks(self) -> set[str]:
        seen = json.loads(process.run(["docker", "inspect", CONTAINER], timeout=30).stdout)[0]
        return set(seen["NetworkSettings"]["Networks"])


def start(project: Project) -> None:
    process.run(["docker", "rm", "--force", CONTAINER], timeout=60, check=False)
    bin_dir = project.invoke("tools.list", "--path").stdout.strip()
    cache = Path(os.environ.get("THREEZONE_CACHE") or Path.home() / ".cache/threezone")
    trust = ["PIP_CERT", "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE"]
    process.run(
        ["docker", "run", "--detach", "--init", "--name", CONTAINER, "--workdir", project.root,
         "--volume", "/var/run/docker.sock:/var/run/docker.sock",
         "--volume", f"{project.root}:{project.root}",
         "--volume", f"{cache}:{cache}:ro",  # the programs, which stand on PATH in there
         "--volume", "threezone-e2e-zone1:/root", "--env", "THREEZONE_CACHE=/root/threezone",
         "--volume", f"{CERTIFICATES}:{CERTIFICATES}:ro", *(f"--env={name}={CERTIFICATES}" for name in trust),
         "--env", f"PATH={bin_dir}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
         IMAGE, "sleep", "infinity"],
        timeout=120,
    )  # fmt: skip
