"""The channel `source`: programs built from Go modules as their releases are built."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from functools import partial
from pathlib import Path

from threezone.core.background import Background, attempt_all
from threezone.toolchain import flux_cli, golang, kubernetes

# Module, directory of the main package, and the flag by which a release sets its version (`dev=no`: else tofu reports
# the suffix -dev).
MODULES = {
    "kind": ("sigs.k8s.io/kind", "", ""),
    "helm": ("helm.sh/helm/v3", "/cmd/helm", "-X {module}/internal/version.version=v{version}"),
    "tofu": ("github.com/opentofu/opentofu", "/cmd/tofu", "-X {module}/version.dev=no"),
    "sops": ("github.com/getsops/sops/v3", "/cmd/sops", "-X {module}/version.Version={version}"),
    "age-keygen": ("filippo.io/age", "/cmd/age-keygen", "-X main.Version=v{version}"),
}


def install(name: str, version: str, into: Path) -> None:
    """Put the program `name` of `version`, such as 0.31.0, into `into`. Raises ToolError or CommandFailed."""
    built = flux_cli.build(version) if name == "flux" else golang.build(program(name, version))
    try:
        (into / name).hardlink_to(built)
    except OSError:  # a file system without hard links
        shutil.copy2(built, into / name)


def fetch(versions: Mapping[str, str]) -> Background:
    """Fetch what the programs `versions` are built from, in the background, while another one is compiled.

    Failures are ignored: the build of the same program has the better message.
    """
    programs = [
        flux_cli.program(version) if name == "flux" else program(name, version) for name, version in versions.items()
    ]
    return attempt_all([partial(golang.fetch, (each,)) for each in programs])


def program(name: str, version: str) -> golang.Program:
    """The description of a program that one run of Go builds."""
    if name == "kubectl":
        return kubernetes.description(name, version)
    module, directory, flag = MODULES[name]
    flags = (flag.format(module=module, version=version),) if flag else ()
    return golang.Program(module, f"v{version}", module + directory, name, ldflags=flags)
