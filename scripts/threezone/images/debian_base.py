"""The Debian under our images in the source channel: made by debootstrap from the mirrors that this machine's apt uses.

The mirror's signature is always checked. The file system is kept as a tar in the cache and imported into the engine.
"""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from threezone.clients.docker.images import load_root
from threezone.core import events, labels, process
from threezone.core.errors import ToolError
from threezone.images import engine_images
from threezone.toolchain import cache, golang

RECIPE = 1  # raise it when a change here must not find the base that was made before

# What containers do not need is never unpacked; licences (the files named copyright) stay.
LEAN = """path-exclude=/usr/share/doc/*
path-include=/usr/share/doc/*/copyright
path-exclude=/usr/share/man/*
path-exclude=/usr/share/info/*
path-exclude=/usr/share/locale/*
path-exclude=/usr/share/lintian/*
path-exclude=/usr/share/bash-completion/*
"""
APT = """APT::Install-Recommends "0";
Acquire::Languages "none";
Dir::Cache::pkgcache "";
Dir::Cache::srcpkgcache "";
"""
# In a container that is being built, packages must not start their services.
POLICY = "#!/bin/sh\nexit 101\n"
KEYRINGS = {
    "debian": Path("/usr/share/keyrings/debian-archive-keyring.gpg"),
    "ubuntu": Path("/usr/share/keyrings/ubuntu-archive-keyring.gpg"),
}


@dataclass(frozen=True)
class Mirror:
    """Where this machine's system comes from: distribution, release name, address, components, keys."""

    distribution: str
    suite: str
    address: str
    components: tuple[str, ...]
    keyring: Path


def reference() -> str:
    """The base image's name; it follows from this machine's release, without asking anybody."""
    distribution, suite = _release()
    return f"threezone/base:{distribution}-{suite}-{RECIPE}"


def ensure() -> str:
    """Make sure that the engine has the base image; returns its name."""
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
    """The mirror of this machine's own release, from apt's configuration."""
    distribution, suite = _release()
    form = "$(CODENAME)\t$(REPO_URI)\t$(COMPONENT)\t$(ORIGIN)"
    argv = ["apt-get", "indextargets", "--format", form, "Created-By: Packages"]

    def matching() -> list[tuple[str, str]]:
        rows = [line.split("\t") for line in process.run(argv, timeout=60).stdout.splitlines()]
        return [(row[1], row[2]) for row in rows if row[0] == suite and row[3].lower() == distribution]

    found = matching()
    if not found and os.geteuid() == 0:  # apt knows the release names of what it has fetched only
        process.run(["apt-get", "update"], timeout=300)
        found = matching()
    if not found:
        raise ToolError(
            f"apt knows no mirror of {distribution} {suite}", evidence=process.paste(argv), fix="apt-get update"
        )
    address = found[0][0]
    components = tuple(sorted({component for uri, component in found if uri == address} & {"main", "universe"}))
    return Mirror(distribution, suite, address, components, KEYRINGS[distribution])


def _bootstrap(into: Path) -> None:
    if os.geteuid() != 0:
        raise ToolError(
            "a Debian file system can be made by root only",
            fix="run this once as root (sudo ./run …), or use the released images: --channel release",
        )
    origin = mirror()
    with events.step(f"make a {origin.distribution.capitalize()} {origin.suite} base") as step:
        if process.find("debootstrap") is None:
            process.run(["apt-get", "update"], timeout=300)
            install = ["apt-get", "install", "--yes", "--no-install-recommends", "debootstrap"]
            process.run(install, timeout=300, env={"DEBIAN_FRONTEND": "noninteractive"})
        root = into / "root"
        # A mount namespace of its own: whatever debootstrap mounts below the new root vanishes with it, even if killed.
        argv: list[str | Path] = ["unshare", "--mount", "--propagation", "private", "debootstrap", "--variant=minbase"]
        argv += ["--force-check-gpg", f"--keyring={origin.keyring}", "--include=ca-certificates"]
        argv += [f"--components={','.join(origin.components)}", origin.suite, root, origin.address]
        process.run(argv, timeout=1200, hint="free space and the mirror are needed; see the lines above")
        _trim(root, origin)
        pack: list[str | Path] = ["tar", "--create", "--numeric-owner", "--sort=name", "--one-file-system"]
        pack += ["--exclude=./dev/*", "--directory", root, "--file", into / "base.tar", "."]
        process.run(pack, timeout=300)
        shutil.rmtree(root)
        step.result = f"{(into / 'base.tar').stat().st_size / 1e6:.0f} MB"


def _trim(root: Path, origin: Mirror) -> None:
    """Remove what a container does not need, and keep it away from later packages too."""
    (root / "etc/dpkg/dpkg.cfg.d/lean").write_text(LEAN)
    (root / "etc/apt/apt.conf.d/lean").write_text(APT)
    policy = root / "usr/sbin/policy-rc.d"
    policy.write_text(POLICY)
    policy.chmod(0o755)
    line = f"deb [signed-by={origin.keyring}] {origin.address} {origin.suite} {' '.join(origin.components)}\n"
    (root / "etc/apt/sources.list").write_text(line)
    for place in ("share/man", "share/info", "share/locale", "share/lintian", "share/bash-completion"):
        shutil.rmtree(root / "usr" / place, ignore_errors=True)
    for path in (root / "usr/share/doc").rglob("*"):
        if path.is_file() and path.name != "copyright":
            path.unlink()
    for place in ("var/cache/apt", "var/lib/apt/lists", "var/log", "tmp"):
        for path in (root / place).iterdir():
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    for name in ("etc/machine-id", "etc/hostname", "etc/resolv.conf"):
        (root / name).unlink(missing_ok=True)
