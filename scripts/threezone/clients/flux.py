"""The flux CLI."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from threezone.core import process


def export(flux: Path, components: Sequence[str], namespace: str) -> str:
    """The manifests that `flux install` would apply, from inside the CLI. Uses no cluster and no network."""
    options = (f"--components={','.join(components)}", f"--namespace={namespace}")
    return process.run([flux, "install", "--export", *options], timeout=60).stdout
