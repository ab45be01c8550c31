"""The real kind on the same files, before an engine that has nothing: it checks a file before it makes anything."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from threezone.cluster.spec import declared
from threezone.cluster.spec.overlay import Options
from threezone.core import process
from threezone.core.settings import ClusterOptions
from threezone.toolchain import install

pytestmark = pytest.mark.timeout(3600)

FILES = Path(__file__).parents[2] / "unit/cluster/spec/fixtures/kind"
# What kind would only fail at when its nodes run, or drop or open without a word: refused here, with its line.
STRICTER = {
    "api-everywhere",
    "containerd-not-json",
    "containerd-not-toml",
    "gate-name",
    "json-patch-operation",
    "json-patch-value",
    "label-reserved",
    "label-value",
    "listen-address",
    "mount-over-kind",
    "mount-over-modules",
    "mount-over-run",
    "mount-over-tmp",
    "mount-relative",
    "mount-twice",
    "mount-without-host",
    "patch-kind",
    "patch-tagged",
    "patch-not-yaml",
    "patch-without-kind",
    "port-of-the-api",
    "port-of-two-nodes",
    "subnets-overlap",
    "two-documents",
}
REACHED = "the engine was reached"
ENGINE = f"""#!/bin/sh
case "$1" in
-v) echo "Docker version 28.0.0, build 0" ;;
info) echo '{{"CgroupVersion": "2"}}' ;;
ps | inspect) ;;
*) echo "{REACHED}: $*" >&2; exit 1 ;;
esac
"""


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with a docker that knows its version, has every image, and makes nothing."""
    directory = tmp_path_factory.mktemp("engine")
    docker = directory / "docker"
    docker.write_text(ENGINE)
    docker.chmod(0o700)
    return directory


@pytest.fixture
def kind(outer_environment: dict[str, str], monkeypatch: pytest.MonkeyPatch, engine: Path) -> Path:
    """The pinned kind, for which the docker above is the only engine."""
    with monkeypatch.context() as outside:
        outside.setenv("HOME", outer_environment["HOME"])
        found = install.ensure(("kind",))["kind"].path
    monkeypatch.setenv("PATH", f"{engine}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("KIND_EXPERIMENTAL_PROVIDER", "docker")
    return found


def takes(kind: Path, file: Path) -> str:
    """ "" when kind takes the file and goes on to make nodes, else what it says."""
    done = process.run([kind, "create", "cluster", "--config", file], timeout=60, check=False)
    assert done.exit_code != 0
    return "" if REACHED in done.stderr else done.stderr


@pytest.mark.parametrize("file", sorted((FILES / "valid").glob("*.yaml")), ids=lambda file: file.stem)
def test_kind_takes_what_we_take_and_what_we_give_it(kind: Path, file: Path, tmp_path: Path) -> None:
    assert takes(kind, file) == ""
    given = tmp_path / "given.yaml"
    mounts = ("/tmp:/host:ro",)  # noqa: S108
    options = Options(ClusterOptions(workers=3, ports=("0:30080",), mounts=mounts, feature_gates=("AllAlpha=true",)))
    given.write_text(declared.with_overlays(declared.declare(file, [options], tmp_path), "lab", []))
    assert takes(kind, given) == ""


@pytest.mark.parametrize("file", sorted((FILES / "broken").glob("*.yaml")), ids=lambda file: file.stem)
def test_what_kind_refuses_is_refused_here_and_more_on_purpose(kind: Path, file: Path) -> None:
    assert bool(takes(kind, file)) is (file.stem not in STRICTER)
