"""Each test has its own home, state and kubeconfig, and a unit test starts no program without the marker real_program.

The e2e tests use the real machine, and keep away from the user's files by themselves.
"""

import os
import sys
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path

import pytest
from hypothesis import settings

from threezone.core import paths

# A test must not fail because the machine is busy: speed is measured by tests/bench.
settings.register_profile("threezone", deadline=None)
settings.load_profile("threezone")

TESTS = Path(__file__).resolve().parent
STARTS = frozenset({"subprocess.Popen", "os.fork", "os.forkpty", "os.posix_spawn", "os.exec", "os.system"})


class Guard:
    """An audit hook that sees every start of a program. A hook cannot be removed, so it has a switch."""

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
    """The environment of the test run, for tests that need the machine's package sources."""
    return dict(os.environ)


@pytest.fixture
def unleased(monkeypatch: pytest.MonkeyPatch) -> None:
    """No other run is at work on any cluster, and each cluster is as it was when its plan was made."""
    from threezone.cluster import lease
    from threezone.lab import steps

    monkeypatch.setattr(lease, "read", lambda _cluster: None)
    monkeypatch.setattr(lease, "hold", lambda *_: nullcontext())
    monkeypatch.setattr(steps, "_fits", lambda *_: True)


@pytest.fixture(autouse=True)
def _alone(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
    outer_environment: dict[str, str],  # noqa: ARG001 - taken before anything is changed here
) -> None:
    """Give the test its own home. Integration tests keep the real cache, which has the tools that they run."""
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
    """Let a unit test start no program. Tests with programs belong to tests/integration."""
    guard.on = _kind(request.path) == "unit" and request.node.get_closest_marker("real_program") is None
    yield
    guard.on = False
