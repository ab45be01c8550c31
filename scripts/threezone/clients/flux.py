"""The flux CLI."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from threezone.core import process
from threezone.core.process import Completed


def export(flux: Path, components: Sequence[str], namespace: str) -> str:
    """The manifests that `flux install` would apply, from inside the CLI. Uses no cluster and no network."""
    options = (f"--components={','.join(components)}", f"--namespace={namespace}")
    return process.run([flux, "install", "--export", *options], timeout=60).stdout


def build(
    flux: Path,
    root: Path,
    name: str,
    namespace: str,
    *,
    path: str,
    file: str,
    sources: Mapping[str, str],
    strict: bool = False,
    recursive: bool = True,
    seconds: float = 60.0,
) -> Completed:
    """Render a Kustomization of Flux from local files, without a cluster. Paths are relative to `root`.

    `file` holds the Kustomization itself, `sources` maps `Kind/namespace/name` to directories. Flux writes files into
    the directories that it renders. Without a cluster, values of ConfigMaps and Secrets (substituteFrom) are left out.
    flux2, internal/build/build.go.
    """
    options = [f"--path={path}", f"--kustomization-file={file}", "--dry-run"]
    options += ["--strict-substitute"] if strict else []
    if recursive:
        options += ["--recursive", *(f"--local-sources={source}={directory}" for source, directory in sources.items())]
    command: list[str | Path] = [flux, "build", "kustomization", name, f"--namespace={namespace}", *options]
    return process.run(command, cwd=root, timeout=seconds, check=False)
