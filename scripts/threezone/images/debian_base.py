"""The Debian base of our images in the source channel, made by debootstrap from the mirrors of this machine's apt.

The mirror's signature is always checked. The file system is kept as a tar in the cache and imported into the engine.
"""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from threezone.clients.docker.images import load_root
from threezone.core import events, labels, process, redaction
from threezone.core.errors import ToolError
from threezone.images import engine_images
from threezone.toolchain import cache, golang

RECIPE = 1  # raise it when a change here needs a new base

KEYRINGS = {
    "debian": Path("/usr/share/keyrings/debian-archive-keyring.gpg"),
    "ubuntu": Path("/usr/share/keyrings/ubuntu-archive-keyring.gpg"),
}


@dataclass(frozen=True)
class Mirror:
    """The mirror of this machine's system: distribution, release name, address, components, keys."""

    distribution: str
    suite: str
    address: str
    components: tuple[str, ...]
    keyring: Path


def reference() -> str:
    """The base image's name. It depends on this machine's release only."""
    distribution, suite = _release()
    return f"threezone/base:{distribution}-{suite}-{RECIPE}"


def ensure() -> str:
    """Build the base image unless the engine has it. Returns its name."""
    name = reference()
    if name in engine_images.inspect([name]):
        return name
    _, suite = _release()
    home = cache.entry("base", cache.key(suite, RECIPE, golang.architecture()), _bootstrap)
    with events.step("import the Debian base"):
        load_root(home / "base.tar", name, (f"LABEL {labels.MANAGED}=true", 'CMD ["/bin/sh"]'))
    return name


def _release() -> tuple[str, str]:
    """ID and VERSION_CODENAME of os-release(5)."""
    path = Path("/etc/os-release")
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    facts = dict(line.split("=", 1) for line in lines if "=" in line)
    distribution, suite = (facts.get(key, "").strip('"') for key in ("ID", "VERSION_CODENAME"))
    if distribution not in KEYRINGS or not suite or process.find("apt-get") is None:
        raise ToolError(
            "images can be built from source on Debian and Ubuntu only",
            evidence=f"/etc/os-release: ID={distribution or '?'} VERSION_CODENAME={suite or '?'}",
            fix="use the released images: --channel release",
        )
    return distribution, suite


def mirror() -> Mirror:
    """The mirror of this machine's own release, from apt's configuration.

    Its address becomes an argument of debootstrap, which every local user sees, and a line in images. So one with a
    password is not used. Raises ToolError when there is no other.
    """
    distribution, suite = _release()
    columns = "$(CODENAME)\t$(REPO_URI)\t$(COMPONENT)\t$(ORIGIN)"
    argv = ["apt-get", "indextargets", "--format", columns, "Created-By: Packages"]

    def matching() -> list[tuple[str, str]]:
        rows = [line.split("\t") for line in process.run(argv, timeout=60).stdout.splitlines()]
        return [(row[1], row[2]) for row in rows if row[0] == suite and row[3].lower() == distribution]

    rows = matching()
    if not rows and os.geteuid() == 0:  # apt lists only the releases that it has fetched
        process.run(["apt-get", "update"], timeout=300)
        rows = matching()
    if not rows:
        raise ToolError(
            f"apt knows no mirror of {distribution} {suite}", evidence=process.paste(argv), fix="apt-get update"
        )
    address = next((uri for uri, _ in rows if "@" not in urlsplit(uri).netloc), "")
    if not address:
        raise ToolError(
            f"apt's mirror of {distribution} {suite} has a user and a password in its address",
            evidence=f"{redaction.without_passwords(rows[0][0])}: they would be in every image that is built",
            fix="add a mirror that needs no login to apt's sources; or use the released images: --channel release",
        )
    components = tuple(sorted({component for uri, component in rows if uri == address} & {"main", "universe"}))
    return Mirror(distribution, suite, address, components, KEYRINGS[distribution])


def _bootstrap(directory: Path) -> None:
    if os.geteuid() != 0:
        raise ToolError(
            "a Debian file system can be made by root only",
            fix="once as root: sudo ./run invoke image.build all; or use the released images: --channel release",
        )
    source = mirror()
    with events.step(f"make a {source.distribution.capitalize()} {source.suite} base") as step:
        if process.find("debootstrap") is None:
            process.run(["apt-get", "update"], timeout=300)
            install = ["apt-get", "install", "--yes", "--no-install-recommends", "debootstrap"]
            process.run(install, timeout=300, env={"DEBIAN_FRONTEND": "noninteractive"})
        root = directory / "root"
        # In its own mount namespace, so that the mounts of debootstrap end with it, even if it is killed.
        argv: list[str | Path] = ["unshare", "--mount", "--propagation", "private", "debootstrap", "--variant=minbase"]
        argv += ["--force-check-gpg", f"--keyring={source.keyring}", "--include=ca-certificates"]
        argv += [f"--components={','.join(source.components)}", source.suite, root, source.address]
        process.run(argv, timeout=1200, hint="check the disk and the mirror; the lines above have the cause")
        _trim(root, source)
        pack: list[str | Path] = ["tar", "--create", "--numeric-owner", "--sort=name", "--one-file-system"]
        pack += ["--exclude=./dev/*", "--directory", root, "--file", directory / "base.tar", "."]
        process.run(pack, timeout=300)
        shutil.rmtree(root)
        step.result = f"{(directory / 'base.tar').stat().st_size / 1e6:.0f} MB"


def _trim(root: Path, source: Mirror) -> None:
    """Remove files that a container does not need. Licences (the files named copyright) stay.

    The recipe's files exclude the same from later packages, and keep packages from starting their services.
    """
    files = engine_images.RECIPES / "base"
    for path in (path for path in files.rglob("*") if path.is_file()):
        target = root / path.relative_to(files)
        shutil.copyfile(path, target)
        target.chmod(0o755 if path.stat().st_mode & 0o100 else 0o644)
    line = f"deb [signed-by={source.keyring}] {source.address} {source.suite} {' '.join(source.components)}\n"
    (root / "etc/apt/sources.list").write_text(line)
    for name in ("man", "info", "locale", "lintian", "bash-completion"):
        shutil.rmtree(root / "usr/share" / name, ignore_errors=True)
    for path in (root / "usr/share/doc").rglob("*"):
        if path.is_file() and path.name != "copyright":
            path.unlink()
    for name in ("var/cache/apt", "var/lib/apt/lists", "var/log", "tmp"):
        for path in (root / name).iterdir():
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    for name in ("etc/machine-id", "etc/hostname", "etc/resolv.conf"):
        (root / name).unlink(missing_ok=True)
