"""tools.*: the programs that the lab needs, in the pinned versions."""

from __future__ import annotations

import typing
from typing import TYPE_CHECKING, Any

from invoke.context import Context

from threezone.tasks.runtime import emit, say, table, task

if TYPE_CHECKING:
    from threezone.core.settings import Channel
    from threezone.toolchain.install import Tool

MISMATCH = 7  # as errors.ToolError: a program could not be verified


@task(
    iterable=["name"],
    help={
        "name": "kind, kubectl, flux, helm or tofu (OpenTofu); repeatable (default: the three that tasks need)",
        "channel": "auto, release (download) or source (build); default: threezone.channel of invoke.yaml",
        "shell": "make them ready for your shells: links in ~/.local/bin, completions for bash",
        "json": "the result as JSON on stdout",
    },
)
def install(c: Context, name: list[str], channel: str = "", shell: bool = False, json: bool = False) -> None:
    """Install kind, kubectl and flux where they are missing; helm and tofu for those who name them.

    A suitable program on PATH is used as it is. Otherwise the release is downloaded and compared with its pinned
    checksum, or, where the release hosts cannot be reached, built from Go modules. Nothing outside the cache changes,
    unless --shell asks for links and completions in your ~/.local.
    """
    from threezone.core import settings
    from threezone.toolchain import install as tools

    root = settings.find_root()
    made = tools.ensure(name or tools.NAMES, _channel(channel), root)
    if shell:
        from threezone.toolchain.shell import prepare

        prepare(made)
    if json:
        emit([_plain(tool) for tool in made.values()])
    else:
        say(table([["TOOL", "VERSION", "CHANNEL", "PATH"], *(_row(tool) for tool in made.values())]))


@task(
    name="list",
    help={
        "path": "print only the directory to put on PATH",
        "json": "the result as JSON on stdout",
    },
)
def list_(c: Context, path: bool = False, json: bool = False) -> None:
    """Show which programs are wanted, found, and from where.

    For a shell that uses the same programs: export PATH="$(./run invoke tools.list --path):$PATH"
    """
    from threezone.core import settings
    from threezone.core.errors import ToolError
    from threezone.toolchain import install as tools

    listed = tools.survey(settings.find_root(), _channel(""))
    missing = [line.name for line in listed if line.tool is None]
    if path:
        if missing:
            raise ToolError(f"not installed: {', '.join(missing)}", fix="./run invoke tools.install")
        say(str(tools.bin_dir({line.name: line.tool for line in listed if line.tool})))
        return
    if json:
        emit(
            [
                {"name": line.name, "wanted": line.wanted, "found": _plain(line.tool) if line.tool else None}
                | {"unsuitable": [{"path": str(seen.path), "version": seen.version} for seen in line.unsuitable]}
                for line in listed
            ]
        )
        return
    rows = [["TOOL", "WANTED", "VERSION", "CHANNEL", "PATH"]]
    for line in listed:
        found = _row(line.tool)[1:] if line.tool else ["-", "-", "not installed"]
        rows.append([line.name, line.wanted, *found])
    say(table(rows))
    for line in listed:
        for seen in line.unsuitable:
            say(f"passed over: {seen.path} ({seen.version or 'says no version'}), wanted {line.name} {line.wanted}")
    if missing:
        say("install what is missing: ./run invoke tools.install")
    else:
        say('use them in a shell: export PATH="$(./run invoke tools.list --path):$PATH"')


@task(help={"json": "the result as JSON on stdout"})
def verify(c: Context, json: bool = False) -> None:
    """Compare the installed programs with their checksums again.

    Downloaded ones are compared with the pinned checksum, built ones with the checksum recorded after the build.
    Programs of yours on PATH are not looked at. Exit code 7 when one differs.
    """
    import sys

    from threezone.core import settings
    from threezone.toolchain import install as tools

    checks = tools.verify(settings.find_root())
    if json:
        emit([_plain(check.tool) | {"ok": not check.problem, "problem": check.problem} for check in checks])
    elif checks:
        say(table([["TOOL", "CHANNEL", "RESULT"], *([c.tool.name, c.tool.channel, c.problem or "ok"] for c in checks)]))
    else:
        say("nothing of ours is installed")
    bad = [check for check in checks if check.problem]
    for check in bad:
        sys.stderr.write(f"remove it and install it anew: rm -r {check.tool.path.parent}; ./run invoke tools.install\n")
    if bad:
        sys.exit(MISMATCH)


def _channel(given: str) -> Channel:
    from threezone.core import settings
    from threezone.core.errors import UsageError

    if not given:
        return settings.load(settings.find_root()).channel
    for known in typing.get_args(settings.Channel):
        if given == known:
            return typing.cast("Channel", known)
    raise UsageError(f"--channel is auto, release or source, not {given!r}")


def _plain(tool: Tool) -> dict[str, Any]:
    return {"name": tool.name, "version": tool.version, "channel": tool.channel, "path": str(tool.path)}


def _row(tool: Tool) -> list[str]:
    return [tool.name, tool.version, tool.channel, str(tool.path)]
