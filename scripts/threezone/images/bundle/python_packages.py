"""The wheels of a bundle: threezone's environment, for a machine without a package index."""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from pathlib import Path

from threezone import __version__
from threezone.core import process
from threezone.core.files import write_atomic

SECONDS = 900.0


def fetch(root: Path, into: Path, directory: Path, versions: Sequence[str] = ()) -> None:
    """Fetch the wheels into the private directory `into`; pip is put into `directory`. Raises CommandFailed.

    They are for Python of these `versions`, such as 3.13; by default for this one. In threezone's checkout those of its
    lock file, checked against their hashes: its launcher needs them. Elsewhere threezone itself and what it needs, in
    the versions that are installed here.
    """
    lock = root / "requirements.lock"
    if (root / "run").is_file() and lock.is_file():
        wanted: list[str | Path] = ["--require-hashes", "--requirement", lock]
    else:
        requirements = directory / "requirements.txt"
        write_atomic(requirements, "".join(f"{each}\n" for each in installed()))
        wanted = ["--requirement", requirements]
    # The environment may be made by uv, which leaves pip out.
    process.run([sys.executable, "-I", "-m", "venv", directory / "pip"], timeout=SECONDS)
    pip: list[str | Path] = [directory / "pip" / "bin" / "python", "-I", "-m", "pip", "--disable-pip-version-check"]
    download: list[str | Path] = ["download", "--quiet", "--no-deps", "--only-binary", ":all:", "--dest", into]
    for options in [[f"--python-version={version}"] for version in versions] or [[]]:
        process.run([*pip, *download, *options, *wanted], timeout=SECONDS, hint="check the network, `pip config list`")


def installed() -> list[str]:
    """Threezone and all that it needs, as exact requirements."""
    from importlib import metadata

    found = {"threezone": f"threezone=={__version__}"}
    queue = ["threezone"]
    while queue:
        for requirement in metadata.requires(queue.pop()) or ():
            name, marker = re.split(r"[\s;\[(<>=!~]", requirement, maxsplit=1)[0], requirement.partition(";")[2]
            try:
                version = metadata.version(name)
            except metadata.PackageNotFoundError:  # of another platform, or an extra
                continue
            if "extra" not in marker and name not in found:
                found[name] = f"{name}=={version}"
                queue.append(name)
    return sorted(found.values())
