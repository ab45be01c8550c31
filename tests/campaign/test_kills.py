"""Killed in the middle, run again: it converges. `nox -s campaign`; each point is a moment that the output shows."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from collections.abc import Mapping
from pathlib import Path

import pytest
from tests.e2e.project import NAME, Project

from threezone import process

pytestmark = pytest.mark.timeout(3600)

CREATE = [
    "… create the cluster",
    "Preparing nodes",
    "Writing configuration",
    "Starting control-plane",
    "Installing CNI",
    "Installing StorageClass",
    "… prove a route",
    "… wait for the nodes",
]
INSTALL = ["… install Flux", "… wait for Flux"]
DELIVER = ["… serve Git", "… wait for the Git server", "… push", "… wait until main@sha1"]


def killed_at(
    project: Project, moment: str, sign: signal.Signals, *argv: str, env: Mapping[str, str] | None = None
) -> list[str]:
    """Start a task and end it when a line of its output contains `moment`. Returns the lines until then."""
    lines: list[str] = []
    reached = threading.Event()

    def watch(line: str) -> None:
        lines.append(line)
        if moment in line:
            reached.set()

    command = [str(project.root / "run"), "invoke", *argv]
    with process.Running(command, cwd=project.root, env={**project.env, **(env or {})}, on_line=watch) as running:
        deadline = time.monotonic() + 600
        while not reached.wait(0.05):
            assert running.alive, f"it ended before {moment!r}: {lines}"
            assert time.monotonic() < deadline, f"{moment!r} did not come: {lines}"
        os.kill(running.pid, sign)
        done = running.wait(time.monotonic() - running.started + 120)
    assert done.exit_code != 0
    return lines


def converges(project: Project) -> None:
    project.invoke("up", "--yes", timeout=1200)
    text = (project.root / "local/gitops/apps/hello/index.html").read_text().strip()
    assert project.invoke("app.open", "--once").stdout.strip() == text
    assert "nothing to do" in project.invoke("up", "--yes").stdout
    names = project.run(
        "docker", "ps", "--all", "--filter", f"label=io.x-k8s.kind.cluster={NAME}", "--format", "{{.Names}}"
    ).stdout
    assert names.split() == [f"{NAME}-control-plane"], "nothing is left over"


@pytest.mark.parametrize("sign", [signal.SIGKILL, signal.SIGINT], ids=["kill -9", "Ctrl-C"])
@pytest.mark.parametrize("moment", CREATE)
def test_in_the_middle_of_create(project: Project, moment: str, sign: signal.Signals) -> None:
    project.invoke("down", "--yes")
    killed_at(project, moment, sign, "cluster.create")
    if moment == CREATE[-1] and sign == signal.SIGINT:
        converges(project)  # the whole road once; otherwise the cluster is what counts
    else:
        project.invoke("cluster.create", timeout=1200)
        project.invoke("cluster.status")


@pytest.mark.parametrize("moment", [*INSTALL, *DELIVER])
def test_in_the_middle_of_what_follows(project: Project, moment: str) -> None:
    project.invoke("cluster.create", timeout=1200)
    project.run(
        project.tool("kubectl"), "--context", f"kind-{NAME}", "delete", "namespace", "threezone", "--ignore-not-found"
    )
    if moment in INSTALL:
        project.run(project.tool("flux"), "--context", f"kind-{NAME}", "uninstall", "--silent", check=False)
    project.write("local/gitops/apps/hello/index.html", f"Written before {moment}\n")
    project.commit("Something to deliver")
    killed_at(project, moment, signal.SIGKILL, "up", "--yes")
    converges(project)


@pytest.mark.parametrize("moment", ["… build kind", "compiled"])
def test_in_the_middle_of_a_source_build(project: Project, tmp_path: Path, moment: str) -> None:
    env = {"THREEZONE_CACHE": str(tmp_path / "cache")}
    project.invoke("--version", env=env)  # the environment first: it is not what is being killed here
    argv = ("tools.install", "--channel", "source", "--name", "kind")
    killed_at(project, moment, signal.SIGKILL, *argv, env=env)
    listed = json.loads(project.invoke("tools.list", "--json", env=env).stdout)
    assert next(tool for tool in listed if tool["name"] == "kind")["found"] is None, "half a build is no tool"
    project.invoke(*argv, timeout=1200, env=env)
    listed = json.loads(project.invoke("tools.list", "--json", env=env).stdout)
    built = next(tool for tool in listed if tool["name"] == "kind")["found"]["path"]
    assert "v0.31.0" in project.run(built, "version").stdout
    project.invoke("tools.verify", env=env)


def test_in_the_middle_of_down(project: Project) -> None:
    project.invoke("cluster.create", timeout=1200)
    killed_at(project, "… delete the cluster", signal.SIGKILL, "down", "--yes")
    project.invoke("down", "--yes")
    assert f"kind-{NAME}" not in project.kubeconfig.read_text()
    converges(project)
    project.invoke("down", "--yes")
