"""Tasks that are killed and run again complete their work. Each moment of a kill is a line of the output."""

from __future__ import annotations

import json
import os
import signal
import tempfile
import threading
import time
from collections.abc import Mapping
from pathlib import Path

import pytest
from tests.e2e.project import NAME, Project

from threezone.core import paths, process

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
STOP = ["… stop the nodes", "end the pods of", "halt "]
START = ["… start the nodes", "… prove a route", "… wait until every pod"]
DELETE = ["… delete the cluster", "… remove the context"]
RECREATE = ["… back up the Git", "… delete the cluster", "… create the cluster", "… restore the Git"]
SIGNS = pytest.mark.parametrize("sign", [signal.SIGKILL, signal.SIGINT], ids=["kill -9", "Ctrl-C"])
INSTALL = ["… install Flux"]
DELIVER = ["… serve Git", "… wait for the Git server", "… push", "… wait until main@sha1"]


def killed_at(
    project: Project, moment: str, sign: signal.Signals, *argv: str, env: Mapping[str, str] | None = None
) -> list[str]:
    """Start a task, and kill it when a line of its output contains `moment`. Returns the lines before that."""
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


def left_over(project: Project) -> set[str]:
    """The things that a killed run may leave: containers, unused volumes, files and locks."""
    listed = {
        "container": ["docker", "ps", "--all", "--filter", f"label=io.threezone.cluster={NAME}", "--format={{.Names}}"],
        "volume": ["docker", "volume", "ls", "--filter", "dangling=true", "--format", "{{.Name}}"],
        "process": ["docker", "ps", "--filter", "label=io.threezone.managed", "--filter", "status=created"],
    }
    found = {f"{what} {line}" for what, argv in listed.items() for line in project.run(*argv).stdout.splitlines()}
    files = [
        *project.kubeconfig.parent.glob("*"),  # a lock, or half a file
        *project.state.glob("clusters/*/kind/**/*"),  # kind's private files
        *(paths.cache_dir() / "tmp").glob(f"load-{NAME}*"),
        *Path(tempfile.gettempdir()).glob("threezone-*"),
    ]
    return found | {f"file {file}" for file in files if file.exists()}


@pytest.fixture(scope="module")
def clean(project: Project) -> set[str]:
    """The same for a lab that was not interrupted."""
    project.invoke("up", "--yes", timeout=1200)
    return left_over(project)


def whole(project: Project, clean: set[str]) -> None:
    """Check that `up` completes the lab, and leaves nothing behind."""
    converges(project)
    assert left_over(project) - clean == set()


def converges(project: Project) -> None:
    project.invoke("up", "--yes", timeout=1200)
    text = (project.root / "local/gitops/apps/hello/index.html").read_text().strip()
    assert project.invoke("app.open", "--once").stdout.strip() == text
    assert "nothing to do" in project.invoke("up", "--yes").stdout
    names = project.run(
        "docker", "ps", "--all", "--filter", f"label=io.x-k8s.kind.cluster={NAME}", "--format", "{{.Names}}"
    ).stdout
    assert names.split() == [f"{NAME}-control-plane"], "nothing is left over"


@SIGNS
@pytest.mark.parametrize("moment", CREATE)
def test_kill_create(project: Project, moment: str, sign: signal.Signals) -> None:
    project.invoke("down", "--yes")
    killed_at(project, moment, sign, "cluster.create")
    if moment == CREATE[-1] and sign == signal.SIGINT:
        converges(project)  # the whole lab once; otherwise only the cluster
    else:
        project.invoke("cluster.create", timeout=1200)
        project.invoke("cluster.status")


@pytest.mark.parametrize("moment", [*INSTALL, *DELIVER])
def test_kill_install_or_delivery(project: Project, moment: str) -> None:
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
def test_kill_a_source_build(project: Project, tmp_path: Path, moment: str) -> None:
    env = {"THREEZONE_CACHE": str(tmp_path / "cache")}
    project.invoke("--version", env=env)  # make the environment first; this test does not kill that
    argv = ("tools.install", "--channel", "source", "--name", "kind")
    killed_at(project, moment, signal.SIGKILL, *argv, env=env)
    listed = json.loads(project.invoke("tools.list", "--json", env=env).stdout)
    assert next(tool for tool in listed if tool["name"] == "kind")["found"] is None, "half a build is no tool"
    project.invoke(*argv, timeout=1200, env=env)
    listed = json.loads(project.invoke("tools.list", "--json", env=env).stdout)
    built = next(tool for tool in listed if tool["name"] == "kind")["found"]["path"]
    assert "v0.31.0" in project.run(built, "version").stdout
    project.invoke("tools.verify", env=env)


@SIGNS
@pytest.mark.parametrize("moment", STOP)
def test_kill_stop(project: Project, clean: set[str], moment: str, sign: signal.Signals) -> None:
    """`up` restarts a node that has no kubelet or is stopping."""
    killed_at(project, moment, sign, "cluster.stop")
    whole(project, clean)


@SIGNS
@pytest.mark.parametrize("moment", START)
def test_kill_start(project: Project, clean: set[str], moment: str, sign: signal.Signals) -> None:
    project.invoke("cluster.stop")
    killed_at(project, moment, sign, "cluster.start")
    whole(project, clean)


@SIGNS
@pytest.mark.parametrize("moment", DELETE)
def test_kill_delete(project: Project, clean: set[str], moment: str, sign: signal.Signals) -> None:
    killed_at(project, moment, sign, "cluster.delete", "--yes")
    whole(project, clean)
    project.invoke("cluster.delete", "--yes")
    assert f"kind-{NAME}" not in project.kubeconfig.read_text()
    images = ("docker", "image", "ls", "--quiet", "--filter", f"label=io.threezone.cluster={NAME}")
    assert project.run(*images).stdout == "", "nor is an image that was made for it"
    project.invoke("up", "--yes", timeout=1200)


@SIGNS
def test_kill_a_load(project: Project, clean: set[str], sign: signal.Signals) -> None:
    node = f"{NAME}-control-plane"
    for image in ("docker.io/threezone/hello:lab",):
        project.run("docker", "exec", node, "ctr", "--namespace", "k8s.io", "images", "rm", image, check=False)
    killed_at(project, "… load", sign, "gitops.serve")
    project.invoke("gitops.serve")
    whole(project, clean)


@SIGNS
@pytest.mark.parametrize("moment", RECREATE)
def test_kill_recreate(project: Project, clean: set[str], moment: str, sign: signal.Signals) -> None:
    """A port cannot be added to a node (kind#2720), so the cluster is recreated; the Git repositories are restored."""
    declared = project.root / "local/kubernetes/kind.yaml"
    before = declared.read_text()
    declared.write_text(f"{before}    extraPortMappings:\n      - {{containerPort: 30080, listenAddress: 127.0.0.1}}\n")
    try:
        killed_at(project, moment, sign, "up", "--yes", "--recreate")
        project.invoke("up", "--yes", "--recreate", timeout=1200)
    finally:
        declared.write_text(before)
    project.invoke("up", "--yes", "--recreate", timeout=1200)
    whole(project, clean)


def test_kill_down(project: Project) -> None:
    project.invoke("cluster.create", timeout=1200)
    killed_at(project, "… delete the cluster", signal.SIGKILL, "down", "--yes")
    project.invoke("down", "--yes")
    assert f"kind-{NAME}" not in project.kubeconfig.read_text()
    converges(project)
    project.invoke("down", "--yes")
