"""Programs that are on PATH already: which there are, what version they say they are, and whether that suits.

Asking a program costs a start of it, so answers are remembered by path, time and size. Not remembered are scripts and
links to programs of another name: version managers answer through them according to the current directory.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from threezone.core import paths, process, versions
from threezone.core.errors import ThreezoneError, UsageError
from threezone.core.files import write_atomic

ASK = {
    "kind": (("version",), re.compile(r"^kind v(\S+)")),
    "kubectl": (("version", "--client", "-o", "json"), re.compile(r'"gitVersion":\s*"v([^"]+)"')),
    "flux": (("version", "--client", "-o", "json"), re.compile(r'"flux":\s*"v([^"]+)"')),
    "helm": (("version", "--template", "{{.Version}}"), re.compile(r"^v(\S+)")),
    "tofu": (("version", "-json"), re.compile(r'"terraform_version":\s*"([^"]+)"')),
}
DEADLINE = 20.0


@dataclass(frozen=True)
class Candidate:
    """A program of the wanted name on PATH. `version` is without v; "" when it did not say one."""

    path: Path
    version: str


def candidates(name: str) -> Iterator[Candidate]:
    """The programs called `name` on PATH, in its order, each once, without those in our own cache."""
    ours = paths.cache_dir().resolve()
    seen = set()
    for directory in os.get_exec_path():
        path = Path(directory) / name
        if not (path.is_absolute() and path.is_file() and os.access(path, os.X_OK)):
            continue
        real = path.resolve()
        if real not in seen and not real.is_relative_to(ours):
            seen.add(real)
            yield Candidate(path, _remembered(name, path, real))


def suits(name: str, wanted: str, version: str) -> bool:
    """Whether a `version` on PATH can stand for `wanted`.

    kind and flux must be the very version: node images and controllers are paired with it. helm and tofu may be newer
    within their major version. kubectl may differ by one minor version (the Kubernetes version skew policy), and must
    be a release: a dispatcher that picks another kubectl, as cloud SDKs install one, says so in its version.
    """
    release, least = versions.parse_release(version), versions.parse(wanted)
    if name in ("helm", "tofu"):
        return release.major == least.major and release >= least
    if name != "kubectl":
        return version == wanted
    return release.major == least.major and abs(release.minor - least.minor) <= 1


def version(name: str, path: Path) -> str:
    """The version, without v, that the program itself says; "" when it cannot be run or says none."""
    arguments, pattern = ASK[name]
    try:
        # An empty kubeconfig: a broken one of the user's must not make a good program look bad.
        done = process.run([path, *arguments], timeout=DEADLINE, check=False, env={"KUBECONFIG": os.devnull})
    except (ThreezoneError, OSError):
        return ""
    found = pattern.search(done.stdout) if done.exit_code == 0 else None
    return found[1] if found else ""


def _remembered(name: str, path: Path, real: Path) -> str:
    """`version`, from memory when the file is the same as when it was asked."""
    with real.open("rb") as file:
        script = file.read(2) == b"#!"
    if script or not real.name.startswith(name):
        return version(name, path)
    state = real.stat()
    stamp = [name, state.st_mtime_ns, state.st_size]
    memory = _memory()
    known = memory.get(str(real))
    if known is not None and known[:-1] == stamp:
        return str(known[-1])
    found = version(name, path)
    memory[str(real)] = [*stamp, found]
    _remember({kept: value for kept, value in memory.items() if Path(kept).exists()})
    return found


def _file() -> Path:
    return paths.cache_dir() / "probes.json"


def _memory() -> dict[str, list[object]]:
    try:
        memory = json.loads(_file().read_bytes())
    except (OSError, ValueError):
        return {}  # it is a memory: without it the programs are asked again
    return memory if isinstance(memory, dict) else {}


def _remember(memory: dict[str, list[object]]) -> None:
    with contextlib.suppress(UsageError):
        write_atomic(_file(), json.dumps(memory), None)
