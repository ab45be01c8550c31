"""The channel `source`: each program from Go modules, as its release is built."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from threezone.tools import flux_cli, golang, kubernetes

RECIPE = 1  # raise it when a change here or in flux_cli must not find the programs that were built before


def install(name: str, version: str, into: Path) -> None:
    """Put the program `name` of `version` ("0.31.0") into the directory `into`. Raises ToolError or CommandFailed."""
    if name == "flux":
        flux_cli.build(version, into)
        return
    built = kubernetes.program("kubectl", version) if name == "kubectl" else golang.build(_kind(version))
    try:
        os.link(built, into / name)  # the build cache is on the same file system
    except OSError:
        shutil.copy2(built, into / name)


def _kind(version: str) -> golang.Program:
    # kind prints its commit only when the build gave one; the version is a constant in its source.
    return golang.Program(module="sigs.k8s.io/kind", version=f"v{version}", package="sigs.k8s.io/kind", name="kind")
