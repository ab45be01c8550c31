"""The channel `source`: programs built from Go modules as their releases are built."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

from threezone.toolchain import flux_cli, golang, kubernetes


def install(name: str, version: str, into: Path) -> None:
    """Put the program `name` of `version`, such as 0.31.0, into `into`. Raises ToolError or CommandFailed."""
    built = BUILDERS[name](version)
    try:
        (into / name).hardlink_to(built)
    except OSError:  # a file system without hard links
        shutil.copy2(built, into / name)


def _kind(version: str) -> Path:
    return golang.build(golang.Program("sigs.k8s.io/kind", f"v{version}", "sigs.k8s.io/kind", "kind"))


def _kubectl(version: str) -> Path:
    return kubernetes.program("kubectl", version)


def _helm(version: str) -> Path:
    module = "helm.sh/helm/v3"  # its Makefile sets the version in the same way
    flag = f"-X {module}/internal/version.version=v{version}"
    return golang.build(golang.Program(module, f"v{version}", f"{module}/cmd/helm", "helm", ldflags=(flag,)))


def _tofu(version: str) -> Path:
    module = "github.com/opentofu/opentofu"
    flag = f"-X {module}/version.dev=no"  # as its releases are linked; else it says 1.12.6-dev
    return golang.build(golang.Program(module, f"v{version}", f"{module}/cmd/tofu", "tofu", ldflags=(flag,)))


BUILDERS: dict[str, Callable[[str], Path]] = {
    "kind": _kind,
    "kubectl": _kubectl,
    "flux": flux_cli.build,
    "helm": _helm,
    "tofu": _tofu,
}
