"""The programs in the pinned versions, helm and tofu for those who ask: found on PATH, cached, downloaded or built.

A program of ours is one entry of the cache (kind `tools`): the program and `record.json`, which says what it is and
its SHA-256. Its key holds what decides the content (the pinned checksum, or version and recipe), so a look-up needs no
look inside.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from threezone.core import paths, pins
from threezone.core.errors import ToolError, UsageError
from threezone.core.settings import Channel
from threezone.toolchain import cache, golang, installed, release

NAMES = ("kind", "kubectl", "flux")
EXTRA = ("helm", "tofu")  # no task needs them
Origin = Literal["path", "release", "source"]
RECIPE = 1  # raise it when a change of the source channel must not find the programs that were built before
MADE: tuple[Literal["release", "source"], ...] = ("release", "source")


@dataclass(frozen=True)
class Tool:
    """A program that can be used: `channel` says whether it is the user's (`path`), downloaded or built."""

    name: str
    version: str
    path: Path
    channel: Origin


@dataclass(frozen=True)
class Listed:
    """A line of `tools.list`: what is wanted, what there is (None: nothing suitable), and what was passed over."""

    name: str
    wanted: str
    tool: Tool | None
    unsuitable: tuple[installed.Candidate, ...]


@dataclass(frozen=True)
class Check:
    """A cached program and whether it is still what was verified when it came; `problem` is "" when it is."""

    tool: Tool
    problem: str


def find(name: str, channel: Channel = "auto", root: Path | None = None) -> Tool | None:
    """The program `name` as it would be used now, or None. Installs nothing and asks no network.

    With `auto` a suitable one on PATH comes first, then what was downloaded, then what was built; a channel by hand
    means programs of that channel only. Milliseconds, unless a program on PATH is new and has to be asked its version.
    """
    pin = _pin(name, root)
    if channel == "auto":
        for seen in installed.candidates(name):
            if installed.suits(name, pin.version, seen.version):
                return Tool(name, seen.version, seen.path, "path")
    for origin in MADE:
        home = cache.lookup("tools", _key(name, pin, origin)) if channel in ("auto", origin) else None
        if home is not None:
            return Tool(name, pin.version, home / name, origin)
    return None


def ensure(names: Sequence[str] = NAMES, channel: Channel = "auto", root: Path | None = None) -> dict[str, Tool]:
    """Every program of `names`, ready to run; what `find` does not find is downloaded or built.

    Reachability is asked for only when something is missing and `channel` is `auto`. Raises ToolError, CommandFailed.
    """
    found = {name: find(name, channel, root) for name in names}
    missing = [name for name, tool in found.items() if tool is None]
    if missing:
        from threezone.toolchain import channel as reach

        origin = reach.resolve_channel(channel, [release.address(_pin(name, root)) for name in missing], root)
        for name in missing:
            found[name] = _make(name, _pin(name, root), origin)
    return {name: tool for name, tool in found.items() if tool is not None}


def bin_dir(tools: Mapping[str, Tool]) -> Path:
    """A directory that holds `tools` under their names, for PATH. The same programs give the same directory."""
    targets = sorted((tool.name, str(tool.path)) for tool in tools.values())

    def link(into: Path) -> None:
        for name, target in targets:
            (into / name).symlink_to(target)

    return cache.entry("bin", cache.key("tools", targets), link)


def survey(root: Path | None = None, channel: Channel = "auto") -> list[Listed]:
    """What is wanted and what there is, without installing anything. What no task needs is told where it is there."""
    listed = []
    for name in (*NAMES, *EXTRA):
        pin, found = _pin(name, root), find(name, channel, root)
        if found is None and name in EXTRA:
            continue
        others = [seen for seen in installed.candidates(name) if not installed.suits(name, pin.version, seen.version)]
        listed.append(Listed(name, pin.version, found, tuple(others)))
    return listed


def verify(root: Path | None = None) -> list[Check]:
    """Read every cached program of the pinned versions again and compare it with its pin and its record."""
    checks = []
    for name in (*NAMES, *EXTRA):
        for origin in MADE:
            tool = find(name, origin, root)
            if tool is not None:
                checks.append(Check(tool, _problem(tool, _pin(name, root))))
    return checks


def _problem(tool: Tool, pin: pins.ToolPin) -> str:
    try:
        record: dict[str, Any] = json.loads((tool.path.parent / "record.json").read_text(encoding="utf-8"))
        found = _sha256(tool.path)
    except (OSError, ValueError) as error:
        return f"it cannot be read: {error}"
    expected = record.get("sha256")
    if tool.channel == "release":
        pinned = release.checksum(tool.name, pin)
        if record.get("release") != pinned:
            return f"its record names the release {record.get('release')}, pinned is {pinned}"
        if not pin.member:
            expected = pinned
    return "" if found == expected else f"its checksum is {found}, expected {expected}"


def _make(name: str, pin: pins.ToolPin, origin: Literal["release", "source"]) -> Tool:
    def build(into: Path) -> None:
        record: dict[str, str] = {"name": name, "version": pin.version, "channel": origin}
        if origin == "release":
            release.install(name, pin, into)
            record["release"] = release.checksum(name, pin)
        else:
            from threezone.toolchain import source

            source.install(name, pin.version, into)
        said = installed.version(name, into / name)
        if said != pin.version:
            raise ToolError(
                f"the {name} that was made says version {said or 'nothing'}, not {pin.version}",
                fix="check the pin; or the cache directory may be mounted noexec: set THREEZONE_CACHE to another place",
            )
        record["sha256"] = _sha256(into / name)
        (into / "record.json").write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")

    try:
        home = cache.entry("tools", _key(name, pin, origin), build)
    except OSError as error:  # a full disk, a cache directory that cannot be written
        raise ToolError(
            f"{name} could not be put into the cache: {error.strerror or error}",
            evidence=str(error),
            fix=f"df -h {paths.cache_dir()}; or set THREEZONE_CACHE to a directory with room",
        ) from None
    return Tool(name, pin.version, home / name, origin)


def _pin(name: str, root: Path | None) -> pins.ToolPin:
    if name not in (*NAMES, *EXTRA):
        raise UsageError(f"no tool is called {name!r}; there are {', '.join((*NAMES, *EXTRA))}")
    pin: pins.ToolPin = getattr(pins.tools(root), name)
    return pin


def _key(name: str, pin: pins.ToolPin, origin: str) -> str:
    platform = f"{release.system()}-{golang.architecture()}"
    if origin == "release":
        decides: Iterable[object] = (getattr(pin.sha256, platform.replace("-", "_")), pin.member)
    else:
        decides = (RECIPE,)
    return cache.key(f"{name}-{pin.version}-{origin}", platform, *decides)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
