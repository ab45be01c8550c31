"""Get the programs in their pinned versions: from PATH, from the cache, downloaded or built.

A cached program is an entry of the kind `tools`: the program, and `record.json` with its version, channel and SHA-256.
The key contains the pinned checksum, or version and recipe.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

from threezone.core import paths, pins
from threezone.core.background import run_all
from threezone.core.errors import ToolError, UsageError
from threezone.core.settings import Channel
from threezone.toolchain import cache, golang, installed, release

NAMES = ("kind", "kubectl", "flux")
EXTRA = ("helm", "tofu", "sops", "age-keygen")  # `up` needs none of them; secret.* needs the last two
Origin = Literal["path", "release", "source"]
RECIPE = 1  # raise it when earlier builds of the source channel become unusable
CACHED: tuple[Literal["release", "source"], ...] = ("release", "source")


@dataclass(frozen=True)
class Tool:
    """A usable program. The channel of the user's own is `path`."""

    name: str
    version: str
    path: Path
    channel: Origin


@dataclass(frozen=True)
class Listed:
    """A line of `tools.list`: the wanted version, the tool (None: no suitable one), and unsuitable ones on PATH."""

    name: str
    wanted: str
    tool: Tool | None
    unsuitable: tuple[installed.Candidate, ...]


@dataclass(frozen=True)
class Check:
    """A cached program, and its problem: how it differs from the verified one ("": not at all)."""

    tool: Tool
    problem: str


def find(name: str, channel: Channel = "auto", root: Path | None = None) -> Tool | None:
    """The program `name` as it would be used now, or None. Installs nothing and uses no network.

    For `auto`: a suitable one on PATH, else a downloaded one, else a built one. For other channels: only one of that.
    """
    pin = _pin(name, root)
    if channel == "auto":
        for candidate in installed.candidates(name):
            if installed.suits(name, pin.version, candidate.version):
                return Tool(name, candidate.version, candidate.path, "path")
    for origin in CACHED:
        home = cache.lookup("tools", _key(name, pin, origin)) if channel in ("auto", origin) else None
        if home is not None:
            return Tool(name, pin.version, home / name, origin)
    return None


def ensure(names: Sequence[str] = NAMES, channel: Channel = "auto", root: Path | None = None) -> dict[str, Tool]:
    """Every program of `names`; missing ones are downloaded or built. Raises ToolError, CommandFailed."""
    tools = {name: tool for name in names if (tool := find(name, channel, root))}
    if missing := {name: _pin(name, root) for name in names if name not in tools}:
        from threezone.toolchain.channel import resolve_channel

        origin = resolve_channel(channel, map(release.address, missing.values()), root)
        if origin == "source":
            from threezone.toolchain import source

            source.fetch({name: pin.version for name, pin in list(missing.items())[1:]})

        def make(name: str) -> None:
            tools[name] = _make(name, missing[name], origin)

        first, *others = missing
        make(first)  # alone: it compiles the standard library, which all of them need
        run_all([partial(make, name) for name in others], golang.BUILDS)
    return {name: tools[name] for name in names}


def cache_keys(name: str, root: Path | None = None) -> frozenset[str]:
    """The keys that the program has in the cache, from any channel."""
    pin = _pin(name, root)
    return frozenset(_key(name, pin, origin) for origin in CACHED)


def bin_dir(tools: Mapping[str, Tool]) -> Path:
    """A directory of links to `tools`, for PATH. The same programs give the same directory."""
    targets = sorted((tool.name, str(tool.path)) for tool in tools.values())

    def link(into: Path) -> None:
        for name, target in targets:
            (into / name).symlink_to(target)

    return cache.entry("bin", cache.key("tools", targets), link)


def survey(root: Path | None = None, channel: Channel = "auto") -> list[Listed]:
    """The wanted and the available programs; others only if available. Installs nothing."""
    listed = []
    for name in (*NAMES, *EXTRA):
        wanted, tool = _pin(name, root).version, find(name, channel, root)
        if tool is not None or name in NAMES:
            others = (other for other in installed.candidates(name) if not installed.suits(name, wanted, other.version))
            listed.append(Listed(name, wanted, tool, tuple(others)))
    return listed


def verify(root: Path | None = None) -> list[Check]:
    """Compare every cached program of the pinned versions with its pin and its record."""
    names = (*NAMES, *EXTRA)
    tools = [tool for name in names for origin in CACHED if (tool := find(name, origin, root))]
    return [Check(tool, _problem(tool, _pin(tool.name, root))) for tool in tools]


def _problem(tool: Tool, pin: pins.ToolPin) -> str:
    try:
        record: dict[str, Any] = json.loads((tool.path.parent / "record.json").read_text(encoding="utf-8"))
        digest = _sha256(tool.path)
    except (OSError, ValueError) as error:
        return f"it cannot be read: {error}"
    expected = record.get("sha256")
    if tool.channel == "release":
        pinned = release.checksum(tool.name, pin)
        if record.get("release") != pinned:
            return f"its record names the release {record.get('release')}, pinned is {pinned}"
        if not pin.member:
            expected = pinned
    return "" if digest == expected else f"its checksum is {digest}, expected {expected}"


def _make(name: str, pin: pins.ToolPin, origin: Literal["release", "source"]) -> Tool:
    def build(into: Path) -> None:
        record: dict[str, str] = {"name": name, "version": pin.version, "channel": origin}
        if origin == "release":
            release.install(name, pin, into)
            record["release"] = release.checksum(name, pin)
        else:
            from threezone.toolchain import source

            source.install(name, pin.version, into)
        version = installed.version(name, into / name)
        if version != pin.version:
            raise ToolError(
                f"the new {name} reports version {version or 'none'}, not {pin.version}",
                fix="check the pin; if the cache directory is mounted noexec, set THREEZONE_CACHE to another directory",
            )
        record["sha256"] = _sha256(into / name)
        (into / "record.json").write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")

    try:
        home = cache.entry("tools", _key(name, pin, origin), build)
    except OSError as error:  # such as a full disk
        raise ToolError(
            f"{name} could not be put into the cache: {error.strerror or error}",
            evidence=str(error),
            fix=f"df -h {paths.cache_dir()}; or set THREEZONE_CACHE to a directory on a larger disk",
        ) from None
    return Tool(name, pin.version, home / name, origin)


def _pin(name: str, root: Path | None) -> pins.ToolPin:
    if name not in (*NAMES, *EXTRA):
        raise UsageError(f"there is no tool {name!r}; choose from {', '.join((*NAMES, *EXTRA))}")
    return pins.tools(root).pin(name)


def _key(name: str, pin: pins.ToolPin, origin: str) -> str:
    platform = f"{release.system()}-{golang.architecture()}"
    published = (getattr(pin.sha256, platform.replace("-", "_")), pin.member)
    return cache.key(f"{name}-{pin.version}-{origin}", platform, *(published if origin == "release" else (RECIPE,)))


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
