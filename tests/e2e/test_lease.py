"""Two projects of one engine mean the same cluster: what one run makes, the other leaves alone until it has ended."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator

import pytest
import yaml
from tests.e2e.project import Project, free_port

from threezone.core import process
from threezone.core.process import Completed

pytestmark = pytest.mark.timeout(900)

NAME, PORT = "threezone-lease", free_port(36443, 37443)
LEASE = f"threezone-lease-{NAME}"
NODE = f"{NAME}-control-plane"
SECONDS = 300


def containers(name: str) -> list[str]:
    """The ids of the containers of that name, running or not."""
    return process.run(["docker", "ps", "--all", "--quiet", f"--filter=name=^{name}$"], timeout=30).stdout.split()


def until(holds: Callable[[], object], seconds: float) -> float:
    """Wait until something holds; returns after how many seconds."""
    began = time.monotonic()
    while not holds():
        assert time.monotonic() - began < seconds, "this did not come in time"
        time.sleep(0.05)
    return time.monotonic() - began


def holder() -> int:
    """The process that holds the lease, as its label says."""
    form = '{{index .Config.Labels "io.threezone.lease.pid"}}'
    return int(process.run(["docker", "inspect", "--format", form, LEASE], timeout=30).stdout)


@pytest.fixture
def two(project: Project, make_project: Callable[[str, int], Project]) -> Iterator[tuple[Project, Project]]:
    """Two projects with a cluster of one name, which share nothing but the engine."""
    del project  # it makes the engine and the tools
    first, second = make_project(NAME, PORT), make_project(NAME, PORT)
    settings = yaml.safe_load((second.root / "invoke.yaml").read_text())
    settings["threezone"]["cluster"]["lease_timeout"] = 2
    (second.root / "invoke.yaml").write_text(yaml.safe_dump(settings))
    first.invoke("image.build", "node", timeout=5400)
    second.invoke("down", "--yes")
    yield first, second
    second.invoke("down", "--yes")


def test_a_cluster_that_is_being_made_is_left_alone_and_a_dead_run_s_is_made_anew(two: tuple[Project, Project]) -> None:
    first, second = two
    command = ["./run", "invoke", "cluster.create"]
    with process.Running(command, cwd=first.root, env=first.env) as creating:
        until(lambda: containers(NODE), SECONDS)
        node, lease = containers(NODE), containers(LEASE)
        assert lease
        os.kill(holder(), signal.SIGSTOP)  # it does not get to the end before the other run has tried everything

        def refused(*argv: str, exit_code: int) -> Completed:
            done = second.invoke(*argv, check=False)
            assert done.exit_code == exit_code, done.stdout + done.stderr
            said = done.stdout + done.stderr
            assert "cluster.create, pid " in said
            assert f"the cluster {NAME} is being changed by " in said
            return done

        for words in (("up", "--dry-run"), ("cluster.create", "--dry-run"), ("down", "--dry-run")):
            assert "kind delete" not in refused(*words, exit_code=0).stdout
        refused("cluster.delete", "--yes", exit_code=4)
        refused("cluster.stop", exit_code=4)
        refused("cluster.status", exit_code=4)
        refused("cluster.create", exit_code=4)
        assert (containers(NODE), containers(LEASE)) == (node, lease)
        assert creating.alive
        os.kill(holder(), signal.SIGKILL)
        until(lambda: not containers(LEASE), 10)
    assert containers(NODE) == node, "the dead run's cluster is interrupted, and nobody has removed it yet"
    plan = second.invoke("cluster.create", "--dry-run").stdout
    assert f"kind delete cluster --name {NAME}" in plan
    second.invoke("cluster.create", timeout=SECONDS)
    assert containers(NODE) not in ([], node)
    assert not containers(LEASE)
