"""Programs on PATH, their versions, and whether a version is suitable.

Asking a program for its version takes time, so answers are cached by path, time and size. Scripts, and links to
programs of another name, are always asked: with version managers the answer depends on the current directory.
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
    "sops": (("--version", "--disable-version-check"), re.compile(r"^sops (\S+)")),
    "age-keygen": (("--version",), re.compile(r"^v(\S+)")),
    "tofu": (("version", "-json"), re.compile(r'"terraform_version":\s*"([^"]+)"')),
}
DEADLINE = 20.0


@dataclass(frozen=True)
class Candidate:
    """A program on PATH. `version` has no v; "" means unknown."""

    path: Path
    version: str


def candidates(name: str) -> Iterator[Candidate]:
    """The programs called `name` on PATH, in its order, without duplicates and without those in our cache."""
    cached = paths.cache_dir().resolve()
    listed = set()
    for directory in os.get_exec_path():
        path = Path(directory) / name
        if not (path.is_absolute() and path.is_file() and os.access(path, os.X_OK)):
            continue
        real = path.resolve()
        if real not in listed and not real.is_relative_to(cached):
            listed.add(real)
            yield Candidate(path, _cached_version(name, path, real))


def suits(name: str, wanted: str, version: str) -> bool:
    """Whether a `version` on PATH can be used in place of `wanted`.

    kind and flux must have exactly this version: node images and controllers depend on it. helm, tofu, sops and
    age-keygen may be newer within their major version. kubectl may differ by one minor version (Kubernetes' version
    skew policy) and must be a release: the dispatcher of a cloud SDK, which starts another kubectl, has a suffix in its
    version.
    """
    release, least = versions.parse_release(version), versions.parse(wanted)
    if name in ("helm", "tofu", "sops", "age-keygen"):
        return release.major == least.major and release >= least
    if name != "kubectl":
        return version == wanted
    return release.major == least.major and abs(release.minor - least.minor) <= 1


def version(name: str, path: Path) -> str:
    """The version, without v, that the program reports; "" when it cannot be run or reports none."""
    arguments, pattern = ASK[name]
    try:
        # Without the user's kubeconfig: with a broken one kubectl reports no version.
        done = process.run([path, *arguments], timeout=DEADLINE, check=False, env={"KUBECONFIG": os.devnull})
    except (ThreezoneError, OSError):
        return ""
    match = pattern.search(done.stdout) if done.exit_code == 0 else None
    return match[1] if match else ""


def _cached_version(name: str, path: Path, real: Path) -> str:
    """The result of `version`, from the cache when the file has not changed since."""
    with real.open("rb") as file:
        script = file.read(2) == b"#!"
    if script or not real.name.startswith(name):
        return version(name, path)
    state, file_name = real.stat(), paths.cache_dir() / "probes.json"
    stamp = [name, state.st_mtime_ns, state.st_size]
    cached: dict[str, list[object]] = {}
    with contextlib.suppress(OSError, ValueError, TypeError):  # without a cache the programs are asked again
        cached = dict(json.loads(file_name.read_bytes()))
    entry = cached.get(str(real))
    if entry is not None and entry[:-1] == stamp:
        return str(entry[-1])
    cached[str(real)] = [*stamp, version(name, path)]
    with contextlib.suppress(UsageError):
        write_atomic(file_name, json.dumps({key: row for key, row in cached.items() if Path(key).exists()}), None)
    return str(cached[str(real)][-1])
