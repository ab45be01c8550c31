"""The checks of this project: `./run nox` runs what CI runs, `./run nox -s tests -- -k kubeconfig` a part.

All sessions run in the environment that ./run made from requirements.lock: one set of hashes covers everything,
nothing is installed twice, and no session needs a network.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

import nox

nox.needs_version = ">=2026.10.20"
nox.options.default_venv_backend = "none"
nox.options.error_on_missing_interpreters = True

ROOT = Path(__file__).parent


def python(session: nox.Session, *arguments: str) -> None:
    """Run a module of the locked environment; refuse any other environment."""
    lock = ROOT / "requirements.lock"
    mark = Path(sys.prefix, "complete")  # bootstrap.py leaves the lock file that it installed there
    if not (mark.is_file() and mark.read_bytes() == lock.read_bytes()):
        session.error("this nox does not run in the environment of requirements.lock; start it as: ./run nox")
    session.run(sys.executable, *arguments)


@nox.session
def lint(session: nox.Session) -> None:
    """Check rules and format with ruff. Repair with `./run ruff check --fix` and `./run ruff format`."""
    python(session, "-m", "ruff", "check", *session.posargs)
    python(session, "-m", "ruff", "format", "--check", "--diff", *session.posargs)


@nox.session
def types(session: nox.Session) -> None:
    """Check types with mypy in strict mode: the package, the tasks, the tests and this file."""
    python(session, "-m", "mypy", *session.posargs)


def pytest(session: nox.Session, *paths: str, options: Sequence[str] = ()) -> None:
    """Run the tests in `paths`, unless the arguments after `--` name others. Prints the ten slowest."""
    named = any(Path(argument.split("::")[0]).exists() for argument in session.posargs)
    python(session, "-m", "pytest", "--durations=10", *options, *session.posargs, *(() if named else paths))


@nox.session
def tests(session: nox.Session) -> None:
    """Unit and integration tests, without engine, cluster or files of the user; a process for each core."""
    # The real kubectl: download or build it here, not within the time limit of a test.
    python(session, "-m", "invoke", "tools.install")
    # The tests of a file share its fixtures, some of which take long.
    pytest(session, "tests/unit", "tests/integration", options=["--numprocesses=auto", "--dist=loadfile"])


# The way of a user: up, a commit, a proof, access from containers, stop and start, adoption, down.
E2E = [
    "tests/e2e/test_lab.py",
    "tests/e2e/test_proof.py::test_a_commit_alone_creates_updates_and_destroys",
    "tests/e2e/test_zones.py",
    "tests/e2e/test_lifecycle.py",
    "tests/e2e/test_adopt.py",
    "tests/e2e/test_away.py",
]


@nox.session
def e2e(session: nox.Session) -> None:
    """Tests with a real engine, kind and Flux. As root, this installs and starts the engine if there is none."""
    pytest(session, *E2E, options=["--timeout=3600"])


@nox.session(default=False)
def e2e_all(session: nox.Session) -> None:
    """Every e2e test: engines, pipelines, registries, failures of Flux, other versions. Over an hour, not in CI."""
    pytest(session, "tests/e2e", options=["--timeout=3600"])


@nox.session(default=False)
def campaign(session: nox.Session) -> None:
    """Kill every step and run it again; races at full size. 50 minutes; not part of CI."""
    pytest(session, "tests/campaign", options=["--timeout=3600"])


@nox.session(default=False)
def bench(session: nox.Session) -> None:
    """Speed compared with the plain commands, as ratios; `-- --help` lists the choices."""
    python(session, "-m", "tests.bench", *session.posargs)
