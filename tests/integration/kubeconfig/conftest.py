"""The pinned kubectl, and what it says about a kubeconfig."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from threezone.core.process import run
from threezone.toolchain.install import ensure

View = Callable[..., dict[str, Any]]


@pytest.fixture(scope="session")
def kubectl() -> Path:
    """The pinned kubectl; it is got when it is not there yet."""
    return ensure(("kubectl",))["kubectl"].path


@pytest.fixture
def view(kubectl: Path) -> View:
    """What `kubectl config view --raw` reads from the given files, merged."""

    def read(*paths: Path) -> dict[str, Any]:
        listed = ":".join(map(str, paths))
        seen = run([kubectl, "config", "view", "--raw", "-o", "json"], timeout=30, env={"KUBECONFIG": listed})
        data: dict[str, Any] = json.loads(seen.stdout)
        return data

    return read
