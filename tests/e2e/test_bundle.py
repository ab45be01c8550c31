"""A lab on a machine without any network: from a bundle, on an engine that has never had an image."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.e2e.places import IMAGE
from tests.e2e.project import Project, Ran

from threezone.core import process
from threezone.core.process import Completed

pytestmark = pytest.mark.timeout(3600)

CONTAINER = "threezone-e2e-bundle"
SECONDS = 180.0  # from the load to the running lab; here with an engine in a container, and beside other tests


@pytest.fixture(scope="module")
def bundle(project: Project, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle, saved from this machine's engine and cache."""
    path = tmp_path_factory.mktemp("bundle") / "bundle.tar"
    saved = json.loads(project.invoke("bundle.save", str(path), "--python", "3.11", "--json").stdout)
    assert saved["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
    assert {"kind", "kubectl", "flux"} == set(saved["tools"])
    return path


@dataclass(frozen=True)
class Machine:
    """A container that stands for a machine: Docker, Python and git, and no network interface but loopback."""

    def run(self, *argv: str, check: bool = True) -> Completed:
        """Run a command in the checkout."""
        command = ["docker", "exec", "--workdir", "/lab", CONTAINER, *argv]
        done = process.run(command, timeout=900, check=False)
        Ran.record(argv, done.exit_code)
        if check and done.exit_code != 0:
            pytest.fail(f"{argv} ended with {done.exit_code}\n{done.stdout}\n{done.stderr}")
        return done


@pytest.fixture(scope="module")
def machine(project: Project, bundle: Path, places: None) -> Iterator[Machine]:  # noqa: ARG001
    """The machine, with a copy of the repository; its engine is installed, and does not run."""
    process.run(["docker", "rm", "--force", "--volumes", CONTAINER], timeout=60, check=False)
    try:
        process.run(
            ["docker", "run", "--detach", "--init", "--privileged", "--network=none", "--name", CONTAINER,
             "--volume", "/var/lib/docker", "--volume", f"{bundle.parent}:/media:ro", IMAGE, "sleep", "infinity"],
            timeout=60,
        )  # fmt: skip
        process.run(["docker", "cp", f"{project.root}/.", f"{CONTAINER}:/lab"], timeout=60)
        made = Machine()
        made.run("git", "config", "--global", "safe.directory", "*")
        interfaces = made.run("python3", "-c", "import socket; print([name for _, name in socket.if_nameindex()])")
        assert interfaces.stdout.strip() == "['lo']"
        yield made
    finally:
        process.run(["docker", "rm", "--force", "--volumes", CONTAINER], timeout=120, check=False)


def test_a_lab_comes_up_without_a_network(machine: Machine) -> None:
    stopped = machine.run("./run", "bundle.load", "/media/bundle.tar", check=False)
    assert (stopped.exit_code, "engine.start" in stopped.stderr) == (3, True), stopped.stderr
    machine.run("./run", "engine.start", "--yes")
    assert machine.run("docker", "image", "ls", "--quiet", "threezone/node").stdout == ""
    began = time.monotonic()
    loaded = json.loads(machine.run("./run", "bundle.load", "/media/bundle.tar", "--json").stdout)
    assert {"kind", "kubectl", "flux"} == set(loaded["tools"])
    machine.run("./run", "up", "--yes")
    assert time.monotonic() - began < SECONDS
    assert machine.run("./run", "app.open", "--once").stdout.strip() == "Hello from a Git commit."
    assert "nothing to do" in machine.run("./run", "bundle.load", "/media/bundle.tar").stdout
    assert "nothing to do" in machine.run("./run", "up").stdout


def test_a_damaged_bundle_changes_nothing(machine: Machine) -> None:
    machine.run("sh", "-c", "head --bytes=100000000 /media/bundle.tar >/short.tar")
    machine.run("sh", "-c", "rm -rf ~/.cache/threezone/tools ~/.cache/threezone/bundle.json")
    for words in (("/short.tar",), ("/media/bundle.tar", "--sha256", "0" * 64)):
        refused = machine.run("./run", "bundle.load", *words, check=False)
        assert (refused.exit_code, "fix: " in refused.stderr) == (2, True), refused.stderr
    assert (
        machine.run("sh", "-c", "ls ~/.cache/threezone/tools ~/.cache/threezone/bundle.json", check=False).stdout == ""
    )
