"""The checks of this project: `./run nox` runs all that CI runs, `./run nox -s tests -- -k kubeconfig` some.

Sessions run in the environment that ./run made from requirements.lock instead of one each: the hashes of one lock file
hold for everything that runs here, nothing is installed twice, and all of it works without a network.
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
    """Run a module of the locked environment; refuse any other environment, which could hold anything."""
    lock = ROOT / "requirements.lock"
    mark = Path(sys.prefix, "complete")  # bootstrap.py leaves the lock file that it installed there
    if not (mark.is_file() and mark.read_bytes() == lock.read_bytes()):
        session.error("this nox does not run in the environment of requirements.lock; start it as: ./run nox")
    session.run(sys.executable, *arguments)


@nox.session
def lint(session: nox.Session) -> None:
    """Rules and format, by ruff. Repair with `./run ruff check --fix` and `./run ruff format`."""
    python(session, "-m", "ruff", "check", *session.posargs)
    python(session, "-m", "ruff", "format", "--check", "--diff", *session.posargs)


@nox.session
def types(session: nox.Session) -> None:
    """Types, by mypy in its strict mode: the package, the tasks, the tests and this file."""
    python(session, "-m", "mypy", *session.posargs)


def pytest(session: nox.Session, *paths: str, options: Sequence[str] = ()) -> None:
    """Run the tests below `paths`, unless what was given after `--` names others."""
    named = any(Path(argument.split("::")[0]).exists() for argument in session.posargs)
    python(session, "-m", "pytest", *options, *session.posargs, *(() if named else paths))


@nox.session
def tests(session: nox.Session) -> None:
    """Unit and integration tests: no engine, no cluster, no user's files."""
    # The real kubectl: on a bare machine it is downloaded or built here, under no test's deadline.
    python(session, "-m", "invoke", "tools.install")
    pytest(session, "tests/unit", "tests/integration")


# Not part of CI: the many ways in which a proof, a source or an installation of Flux can fail (half an hour), other
# versions of Kubernetes (six minutes of compiling each, where the image cannot be pulled), OpenTofu, and GitHub's whole
# workflow, which makes two labs.
DELIVERY = [
    f"tests/e2e/test_{name}.py"
    for name in ("context", "families", "faults", "flux", "github", "proof", "remote", "terraform", "versions")
]


@nox.session
def e2e(session: nox.Session) -> None:
    """The promises on a real engine, kind and Flux. As root, running this is consent to install the engine."""
    pytest(
        session, "tests/e2e", options=["--timeout=3600", "--durations=15", *(f"--ignore={path}" for path in DELIVERY)]
    )


@nox.session(default=False)
def delivery(session: nox.Session) -> None:
    """Flux and the proof in every way in which they may fail: half an hour of it. Not part of CI."""
    pytest(session, *DELIVERY, options=["--timeout=3600"])


@nox.session(default=False)
def campaign(session: nox.Session) -> None:
    """Killed at every step and run again, and the races at full size: 50 minutes of it. Not part of CI."""
    pytest(session, "tests/campaign", options=["--timeout=3600"])


@nox.session(default=False)
def bench(session: nox.Session) -> None:
    """Speed as ratios measured in one run; `-- --help` tells the choices."""
    python(session, "-m", "tests.bench", *session.posargs)
