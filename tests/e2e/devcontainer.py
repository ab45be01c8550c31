"""A devcontainer that @devcontainers/cli makes on this engine, with what this machine needs."""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from tests.e2e import node
from tests.e2e.places import CERTIFICATES, base_image
from tests.e2e.project import Project, Ran

from threezone.core import process
from threezone.core.process import Completed

RUNS = "dockerfile/devcontainer.json"  # the definition that needs no registry of features
USER = 1000  # vscode in there
PROGRAMS = "/opt/programs"
NO_CLUSTER = {"THREEZONE_POSTCREATE": "status"}


def cli(*arguments: str | Path, home: Path, env: dict[str, str] | None = None, check: bool = True) -> Completed:
    """Run the CLI as somebody whose home directory is `home`."""
    argv = [*node.command("devcontainer"), *arguments]
    done = process.run(argv, env={"HOME": str(home), **(env or {})}, timeout=900, check=False)
    Ran.record(("devcontainer", *arguments), done.exit_code)
    if check and done.exit_code != 0:
        pytest.fail(f"devcontainer {arguments} ended with {done.exit_code}\n{done.stdout}\n{done.stderr}")
    return done


def read(definition: str, root: Path, home: Path, env: dict[str, str] | None = None) -> dict[str, Any]:
    """A definition as the CLI reads it."""
    config = root / ".devcontainer" / definition
    output = cli("read-configuration", "--workspace-folder", root, "--config", config, home=home, env=env).stdout
    found: dict[str, Any] = json.loads(output)["configuration"]
    return found


@dataclass(frozen=True)
class Log:
    """The events that `devcontainer up` printed."""

    events: list[dict[str, Any]]

    @property
    def text(self) -> str:
        """The output of the lifecycle commands."""
        return "".join(each["text"] for each in self.events if each["type"] == "raw")

    def seconds(self, *command: str) -> float:
        """The seconds that a lifecycle command took."""
        wanted = f"Run in container: {' '.join(command)}"
        (ended,) = (each for each in self.events if each["type"] == "stop" and each["text"] == wanted)
        return float(ended["timestamp"] - ended["startTimestamp"]) / 1000


@dataclass(frozen=True)
class Devcontainer:
    """A project in its devcontainer, opened by a user with the home directory `home`."""

    project: Project
    name: str  # of the project's cluster
    home: Path
    definition: dict[str, Any]

    def up(self, *options: str, without: str = "", env: dict[str, str] | None = None, user: str = "") -> Log:
        """Run `devcontainer up`, optionally `without` one lifecycle command or as another `user`."""
        definition = {key: value for key, value in self.definition.items() if key != without}
        if user:
            definition["remoteUser"] = user
        self._override.write_text(json.dumps(definition))
        done = cli("up", *self._which, "--log-format=json", *options, home=self.home, env=env)
        return Log([json.loads(line) for line in done.stderr.splitlines() if line.startswith("{")])

    def run(self, *argv: str, check: bool = True) -> Completed:
        """Run a program in the container, as its user."""
        return cli("exec", *self._which, *argv, home=self.home, check=check)

    @property
    def _override(self) -> Path:
        return self.home / "devcontainer.json"

    @property
    def _which(self) -> tuple[str | Path, ...]:
        root = self.project.root
        config = root / ".devcontainer" / RUNS
        return ("--workspace-folder", root, "--config", config, "--override-config", self._override)

    def container(self) -> Any:
        """The container in the engine's words, or None."""
        label = f"label=devcontainer.local_folder={self.project.root}"
        listed = process.run(["docker", "ps", "--all", "--quiet", "--no-trunc", "--filter", label], timeout=30).stdout
        if not listed:
            return None
        (found,) = json.loads(process.run(["docker", "inspect", *listed.split()], timeout=30).stdout)
        return found

    def remove(self) -> None:
        """Delete the container, its volume and its two images (as built, and with the user's id)."""
        actual = self.container()
        if actual is None:
            return
        process.run(["docker", "rm", "--force", actual["Id"]], timeout=60)
        volumes = [mount["Name"] for mount in actual["Mounts"] if mount["Type"] == "volume"]
        process.run(["docker", "volume", "rm", *volumes], timeout=60)
        built = actual["Config"]["Image"].removesuffix("-uid")
        process.run(["docker", "image", "rm", f"{built}-uid", built], timeout=60, check=False)

    def cluster(self) -> dict[str, str]:
        """The state that must not change: the nodes, their start times, and the cluster's CA."""
        form = "{{.Id}} {{.State.StartedAt}}"
        nodes = process.run(["docker", "inspect", f"{self.name}-control-plane", "--format", form], timeout=30).stdout
        ca = ["docker", "exec", f"{self.name}-control-plane", "sha256sum", "/etc/kubernetes/pki/ca.crt"]
        return {"nodes": nodes, "ca": process.run(ca, timeout=30).stdout}


def prepare(project: Project, name: str, home: Path) -> Devcontainer:
    """The project of a user with this new home directory, ready to open."""
    kube, programs = home / ".kube", home / "programs"
    kube.mkdir(mode=0o700)
    shutil.copy(project.kubeconfig, kube / "config")
    programs.mkdir()  # copies, because other users cannot read the cache of this user
    for program in ("kind", "kubectl", "flux"):
        shutil.copy(project.tool(program), programs)
    shutil.copy(Path(sys.prefix) / "bin" / "uv", programs)  # where uv is on PATH, ./run makes its environment with it
    belongs_to(USER, project.root, kube)
    return Devcontainer(project, name, home, adapted(as_written(project.root / ".devcontainer" / RUNS), programs))


def as_written(definition: Path) -> dict[str, Any]:
    """A definition without its comments; variables are not replaced."""
    found: dict[str, Any] = json.loads(re.sub(r"(?m)^\s*//.*$", "", definition.read_text()))
    return found


def adapted(definition: dict[str, Any], programs: Path) -> dict[str, Any]:
    """The definition with this machine's base image, certificates and programs."""
    trust = dict.fromkeys(("PIP_CERT", "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE"), str(CERTIFICATES))
    path = f"/home/vscode/.local/bin:{PROGRAMS}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    mounts = [
        f"type=bind,source={CERTIFICATES},target={CERTIFICATES},readonly",
        f"type=bind,source={programs},target={PROGRAMS},readonly",
    ]
    return definition | {
        "build": definition["build"] | {"args": {"BASE": base_image()}},
        "containerEnv": definition["containerEnv"] | trust | {"PATH": path},
        "mounts": [*definition["mounts"], *mounts],
    }


def belongs_to(user: int, *places: Path) -> None:
    """Make a user the owner of everything below these paths."""
    for place in places:
        for path in (place, *place.rglob("*")):
            os.chown(path, user, user, follow_symlinks=False)
