"""tools.*: the programs that the lab needs, in the pinned versions."""

import sys
from typing import TYPE_CHECKING, Annotated

from threezone.core import settings
from threezone.tasks.display import table, write
from threezone.tasks.options import Channel, Json, checked_channel, trusting_settings
from threezone.tasks.runtime import present, say, task

if TYPE_CHECKING:
    from threezone.toolchain.install import Tool

MISMATCH = 7  # as errors.ToolError: a program could not be verified


@task
def install(
    name: Annotated[
        list[str], "kind, kubectl, flux, helm, tofu, sops or age-keygen; repeatable (default: the first three)"
    ],
    channel: Channel = "",
    shell: Annotated[bool, "make them ready for your shells: links in ~/.local/bin, completions for bash"] = False,
    json: Json = False,
) -> None:
    """Install kind, kubectl and flux where they are missing; others only when named.

    A suitable program on PATH is used as it is. Otherwise the release is downloaded and compared with its pinned
    checksum, or, where the release hosts cannot be reached, built from Go modules. Nothing outside the cache changes,
    unless --shell asks for links and completions in your ~/.local.
    """
    from threezone.toolchain import install as toolchain

    root = settings.find_root()
    chosen = trusting_settings(root)
    wanted = checked_channel(channel) or chosen.channel
    tools = toolchain.ensure(name or toolchain.NAMES, wanted, root)
    if shell:
        from threezone.toolchain.shell import prepare

        prepare(tools)
    text = table([["TOOL", "VERSION", "CHANNEL", "PATH"], *(_row(tool) for tool in tools.values())])
    present([_data(tool) for tool in tools.values()], text, as_json=json)


@task
def list_(
    path: Annotated[bool, "print only the directory to put on PATH"] = False,
    outdated: Annotated[bool, "also ask the Go module proxy (GOPROXY) what is newer than the pins"] = False,
    json: Json = False,
) -> None:
    """Show the pinned programs, whether they are installed, and where.

    For a shell that uses the same programs: export PATH="$(./run invoke tools.list --path):$PATH"
    With --outdated: the newest patch of each pinned minor version, and the newest release. Without an answer within ten
    seconds there is a note instead, and the exit code stays 0. How to pin another version: docs/versions.md.
    """
    from threezone.core.errors import ToolError
    from threezone.toolchain import install as toolchain

    root = settings.find_root()
    lines = toolchain.survey(root, settings.load(root).channel)
    missing = [line.name for line in lines if line.tool is None]
    if path:
        if missing:
            raise ToolError(f"not installed: {', '.join(missing)}", fix="./run invoke tools.install")
        say(str(toolchain.bin_dir({line.name: line.tool for line in lines if line.tool})))
        return
    data: list[dict[str, object]] = [
        {
            "name": line.name,
            "wanted": line.wanted,
            "found": _data(line.tool) if line.tool else None,
            "unsuitable": [{"path": str(tool.path), "version": tool.version} for tool in line.unsuitable],
        }
        for line in lines
    ]
    absent = ["-", "-", "not installed"]
    newer = {}
    if outdated:
        from threezone.toolchain.outdated import ask

        newer = ask([line.name for line in lines], root)
        data = [row | {"outdated": newer[str(row["name"])].data} for row in data]
    rows = [[line.name, line.wanted, *(_row(line.tool)[1:] if line.tool else absent)] for line in lines]
    text = [table([["TOOL", "WANTED", "VERSION", "CHANNEL", "PATH"], *rows])]
    for line in lines:
        for tool in line.unsuitable:
            version = tool.version or "unknown version"
            text.append(f"not used: {tool.path} ({version}), wanted {line.name} {line.wanted}")
    if newer:
        found = [[each.name, each.wanted, each.patch or "-", each.newest or "-", each.note] for each in newer.values()]
        text.append("\n" + table([["TOOL", "PINNED", "NEWEST PATCH", "NEWEST", "NOTE"], *found]))
    if missing:
        text.append("install what is missing: ./run invoke tools.install")
    else:
        text.append('use them in a shell: export PATH="$(./run invoke tools.list --path):$PATH"')
    present(data, "\n".join(text), as_json=json)


@task
def verify(json: Json = False) -> None:
    """Compare the installed programs with their checksums.

    Downloaded ones are compared with the pinned checksum, built ones with the checksum recorded after the build.
    Programs of yours on PATH are not checked. Exit code 7 when one differs.
    """
    from threezone.toolchain import install as toolchain

    checks = toolchain.verify(settings.find_root())
    data = [_data(check.tool) | {"ok": not check.problem, "problem": check.problem} for check in checks]
    rows = [[check.tool.name, check.tool.channel, check.problem or "ok"] for check in checks]
    text = table([["TOOL", "CHANNEL", "RESULT"], *rows]) if rows else "nothing of ours is installed"
    present(data, text, as_json=json)
    bad = [check.tool.path.parent for check in checks if check.problem]
    for directory in bad:
        write(sys.stderr, f"remove it and install it again: rm -r {directory}; ./run invoke tools.install")
    if bad:
        sys.exit(MISMATCH)


def _data(tool: "Tool") -> dict[str, object]:
    return {"name": tool.name, "version": tool.version, "channel": tool.channel, "path": str(tool.path)}


def _row(tool: "Tool") -> list[str]:
    return [tool.name, tool.version, tool.channel, str(tool.path)]
