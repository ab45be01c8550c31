"""A project with its own cluster, which is removed afterwards."""

import json
import os
import re
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.bench.rows import MINUTES
from tests.e2e.project import copy_of_repository

from threezone.cluster.drift import detect
from threezone.cluster.lab import Lab
from threezone.core import events, process
from threezone.core.settings import load
from threezone.images import build
from threezone.images.load import cluster_image

NAME = "threezone-bench"
PORT = 16643
FIRST = 90 * MINUTES  # the very first run builds everything from source


class Bench:
    """A project with its own cluster, whose tasks run through ./run."""

    def __init__(self, base: Path) -> None:
        self.root = base / "project"
        self.root.mkdir()
        copy_of_repository(self.root)
        declared = self.root / "local/kubernetes/kind.yaml"
        declared.write_text(re.sub(r"apiServerPort: \d+", f"apiServerPort: {PORT}", declared.read_text()))
        settings = self.root / "invoke.yaml"
        settings.write_text(re.sub(r"(cluster:\n\s+name:) .*", rf"\1 {NAME}", settings.read_text()))
        self.env = {"KUBECONFIG": str(base / "config"), "THREEZONE_STATE": str(base / "state")}
        self.run("git", "commit", "--quiet", "--all", "--message", "A cluster for measuring")
        self.invoke("engine.start", "--yes", timeout=15 * MINUTES)
        self.invoke("tools.install", timeout=FIRST)
        tools = self.invoke("tools.list", "--path", timeout=MINUTES).stdout.strip()
        self.env["PATH"] = f"{tools}{os.pathsep}{os.environ['PATH']}"

    def run(self, *argv: str, timeout: float = 10 * MINUTES) -> process.Completed:
        """Run a command in the project."""
        return process.run(argv, cwd=self.root, env=self.env, timeout=timeout)

    def invoke(self, *argv: str, timeout: float = 10 * MINUTES) -> process.Completed:
        """Run a task through the launcher."""
        return self.run("./run", "invoke", *argv, timeout=timeout)

    def each(self, commands: Sequence[Sequence[str]]) -> None:
        """Run commands one after another."""
        for command in commands:
            self.run(*command)

    def lab(self) -> Lab:
        """The lab of this project."""
        settings = load(self.root)
        return Lab(self.root, settings, NAME, requested_channel=settings.channel)

    def memory(self) -> str:
        """The memory of the running lab, and the disk space of its node images, by the engine."""
        used = self.run("docker", "stats", "--no-stream", "--format", "{{.Name}} {{.MemUsage}}").stdout
        images = self.run("docker", "image", "ls", "--format", "{{.Repository}}:{{.Tag}} {{.Size}}").stdout
        nodes = [line for line in used.splitlines() if line.startswith(f"{NAME}-")]
        disk = [line for line in images.splitlines() if line.startswith(("threezone/node:v", "threezone/preloaded:"))]
        return "; ".join([*nodes, *disk])

    @staticmethod
    def told(stderr: str) -> None:
        """Print the end and the duration of each step of a task."""
        for line in stderr.splitlines():
            if "✓" in line:
                events.note(f"ours: {line.strip()}")

    def raw_create(self) -> tuple[list[str], list[str]]:
        """The two plain commands, with the same node image and what this engine needs."""
        lab = self.lab()
        (node,) = build.ensure("node", lab.channel)
        config = self.root.parent / "kind.yaml"
        config.write_text(json.dumps(detect.configuration(lab)))
        image = cluster_image(node.reference, NAME)
        create = ["kind", "create", "cluster", "--name", NAME, "--config", str(config), "--image", image]
        server = f"--server=https://host.docker.internal:{PORT}"
        return create, ["kubectl", "config", "set-cluster", f"kind-{NAME}", server, "--tls-server-name=localhost"]


@contextmanager
def benched() -> Iterator[Bench]:
    """A bench that is removed after the block."""
    base = Path(tempfile.mkdtemp(prefix="threezone-bench-"))
    try:
        bench = Bench(base)
        try:
            yield bench
        finally:
            bench.invoke("down", "--yes")
    finally:
        shutil.rmtree(base)
