"""Fixtures of the e2e tests: the engine, the shared lab, a cluster made by hand, and containers to run tasks in.

The tests run tasks by `./run invoke …` in a copy of this repository, with a kubeconfig and a state directory of their
own. Whoever runs these tests as root agrees that they install and start the engine.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
from collections import defaultdict
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.e2e import clusters, shown
from tests.e2e.places import HOME, IMAGE, NETWORK, RECIPE, Place, build_image, remove, start
from tests.e2e.project import (
    BY_HAND,
    FOREIGN,
    GATEWAY,
    GATEWAY_PORT,
    NAME,
    PORT,
    RAN,
    Project,
    copy_of_repository,
    untouchable,
)

from threezone.core import process

HERE = Path(__file__).parent


def _name(item: pytest.Item) -> str:
    return item.path.stem.removeprefix("test_")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run the files in the order of clusters.py. The tests of a file stay together, in their own order."""
    ours = [item for item in items if item.path.parent == HERE]
    fixtures: dict[str, set[str]] = defaultdict(set)
    for item in ours:
        fixtures[_name(item)].update(getattr(item, "fixturenames", ()))
    ordered = iter(sorted(ours, key=lambda item: clusters.turn(_name(item), fixtures[_name(item)])))
    items[:] = [next(ordered) if item.path.parent == HERE else item for item in items]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Function) -> Generator[None, object, object]:
    """Fail a test that did not run the commands which shown.py says it runs."""
    before = len(RAN)
    result = yield
    if not_run := shown.missing(f"{_name(item)}::{item.originalname}", RAN[before:]):
        pytest.fail(f"tests/e2e/shown.py says that this test runs {not_run}; it did not", pytrace=False)
    return result


@pytest.fixture(scope="session")
def alone() -> Iterator[None]:
    """Allow one run at a time: the clusters of these tests have fixed names, so two runs would share them."""
    # Not below TMPDIR: two runs may have different ones, but they share the engine.
    with Path(f"/tmp/threezone-e2e-{os.getuid()}.lock").open("w") as lock:  # noqa: S108  of this user alone
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            pytest.exit(f"another run of these tests uses this machine ({lock.name} is locked)", returncode=1)
        yield


@pytest.fixture(scope="session")
def make_project(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, int], Project]:
    """A function that makes a project whose cluster has the given name and API port."""

    def make(name: str, port: int) -> Project:
        base = tmp_path_factory.mktemp(name)
        root = base / "project"
        root.mkdir()
        copy_of_repository(root)
        settings = yaml.safe_load((root / "invoke.yaml").read_text())
        settings["threezone"]["cluster"]["name"] = name
        (root / "invoke.yaml").write_text(yaml.safe_dump(settings))
        kind = root / "local/kubernetes/kind.yaml"
        kind.write_text(re.sub("apiServerPort: 6443", f"apiServerPort: {port}", kind.read_text()))
        kubeconfig = base / "kube" / "config"
        kubeconfig.parent.mkdir()
        kubeconfig.write_text(json.dumps(FOREIGN))
        project = Project(root, kubeconfig, base / "state")
        project.commit("Settings of these tests")
        return project

    return make


@pytest.fixture(scope="session")
def project(alone: None, make_project: Callable[[str, int], Project]) -> Iterator[Project]:  # noqa: ARG001
    """The project of the lab, on a working engine, without the leftovers of an earlier run. No cluster is made yet."""
    made = make_project(NAME, PORT)
    made.invoke("engine.start", "--yes", timeout=900)
    made.invoke("tools.install", timeout=3600)
    made.invoke("down", "--yes")
    yield made
    if "THREEZONE_KEEP" not in os.environ:
        made.invoke("down", "--yes")


@pytest.fixture(scope="session")
def by_hand(project: Project) -> Iterator[str]:
    """The name of a cluster made with plain kind, from an image without our label. Our tasks must not change it."""
    project.invoke("image.build", "node", timeout=5400)
    node = json.loads(project.invoke("image.list", "--json").stdout)
    base = next(image["reference"] for image in node if image["name"] == "node")
    image = "by-hand/node:1"
    labels = "LABEL io.threezone.managed= io.threezone.cluster="
    process.run(["docker", "build", "--tag", image, "-"], stdin=f"FROM {base}\n{labels}\n", timeout=120)
    kind = project.tool("kind")
    config = project.root.parent / "by-hand.yaml"
    patch = (
        "kind: KubeletConfiguration\nfailCgroupV1: false\n"
        if not Path("/sys/fs/cgroup/cgroup.controllers").exists()
        else ""
    )
    config.write_text(
        json.dumps(
            {
                "kind": "Cluster",
                "apiVersion": "kind.x-k8s.io/v1alpha4",
                **({"kubeadmConfigPatches": [patch]} if patch else {}),
            }
        )
    )
    project.run(kind, "delete", "cluster", "--name", BY_HAND)
    project.run(kind, "create", "cluster", "--name", BY_HAND, "--image", image, "--config", config)
    yield BY_HAND
    if "THREEZONE_KEEP" not in os.environ:
        project.run(kind, "delete", "cluster", "--name", BY_HAND)
        process.run(["docker", "image", "rm", image], timeout=60, check=False)


@pytest.fixture(scope="session")
def before(project: Project, by_hand: str) -> dict[str, Any]:  # noqa: ARG001  so that it exists first
    """The kubeconfig and the cluster made by hand as they are before `up`."""
    return {"kubeconfig": project.view(), "cluster": untouchable(project)}


@pytest.fixture(scope="session")
def lab(project: Project, before: dict[str, Any]) -> Project:  # noqa: ARG001  is taken before `up`
    """The shared lab, brought up by README's command."""
    project.invoke("up", "--yes", timeout=5400)
    return project


@pytest.fixture(scope="session")
def places(project: Project) -> Iterator[None]:  # noqa: ARG001  for the engine
    """The image and the network of the containers in places.py."""
    build_image(IMAGE, RECIPE)
    process.run(["docker", "network", "create", NETWORK], timeout=60, check=False)
    yield
    process.run(["docker", "network", "rm", NETWORK], timeout=60)
    process.run(["docker", "volume", "rm", HOME], timeout=60, check=False)  # the first container makes it


@pytest.fixture(scope="session")
def zone1(lab: Project, places: None) -> Iterator[Place]:  # noqa: ARG001
    """A container on the default bridge with the engine's socket, as a devcontainer on native Linux is."""
    yield start(lab, "zone1")
    remove("zone1")


@pytest.fixture(scope="session")
def gateway(
    make_project: Callable[[str, int], Project],
    project: Project,  # noqa: ARG001  for the engine and the tools
    places: None,  # noqa: ARG001
) -> Iterator[Project]:
    """A second cluster, shared by several files: its API is published on the bridge's gateway, and it has no Flux."""
    made = make_project(GATEWAY, GATEWAY_PORT)
    settings = yaml.safe_load((made.root / "invoke.yaml").read_text())
    settings["threezone"]["cluster"]["api"] = "gateway"
    (made.root / "invoke.yaml").write_text(yaml.safe_dump(settings))
    made.invoke("down", "--yes")
    made.invoke("cluster.create", timeout=5400)
    yield made
    if "THREEZONE_KEEP" not in os.environ:
        made.invoke("down", "--yes")
