"""Every test stands alone: a home, state and kubeconfig of its own; a unit test starts no program unless it says so.

What drives the real machine (tests/e2e) is the exception, and keeps the user's files apart by its own means.
"""

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from threezone.core import paths

TESTS = Path(__file__).resolve().parent
STARTS = frozenset({"subprocess.Popen", "os.fork", "os.forkpty", "os.posix_spawn", "os.exec", "os.system"})


class Guard:
    """Python's audit events tell of every way to start a program; a hook cannot be removed, so it has a switch."""

    on = False

    def __call__(self, event: str, args: tuple[object, ...]) -> None:
        if self.on and event in STARTS:
            raise AssertionError(f"this unit test starts a program ({event} {args}); mark it real_program if it has to")


guard = Guard()
sys.addaudithook(guard)


def _kind(path: Path) -> str:
    return path.relative_to(TESTS).parts[0] if path.is_relative_to(TESTS) else ""


@pytest.fixture(scope="session")
def outer_environment() -> dict[str, str]:
    """The environment the tests were started in, for what must reach the machine's own registries."""
    return dict(os.environ)


@pytest.fixture(autouse=True)
def _alone(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
    outer_environment: dict[str, str],  # noqa: ARG001 - taken before anything is changed here
) -> None:
    """A home of its own. Integration tests keep the real cache: it holds the tools that they run."""
    kind = _kind(request.path)
    if kind not in ("unit", "integration"):
        return
    home = tmp_path_factory.mktemp("home")
    cache = home / "cache" if kind == "unit" else paths.cache_dir()
    for variable in ("XDG_CACHE_HOME", "XDG_STATE_HOME", "XDG_CONFIG_HOME", "XDG_RUNTIME_DIR", "DOCKER_CONFIG"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("KUBECONFIG", str(home / ".kube" / "config"))
    monkeypatch.setenv("THREEZONE_STATE", str(home / "state"))
    monkeypatch.setenv("THREEZONE_CACHE", str(cache))


@pytest.fixture(autouse=True)
def _no_programs(request: pytest.FixtureRequest) -> Iterator[None]:
    """Unit tests are about our code, and fast: the world's programs belong to tests/integration."""
    guard.on = _kind(request.path) == "unit" and request.node.get_closest_marker("real_program") is None
    yield
    guard.on = False
