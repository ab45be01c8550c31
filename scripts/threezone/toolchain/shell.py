"""Links to the installed programs in ~/.local/bin, and bash completions for them. Regular files are never replaced."""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping
from pathlib import Path

from threezone.core import events, process, settings
from threezone.core.files import special_kind, write_atomic
from threezone.toolchain.install import Tool

# ./run is completed by invoke's own completer: `--complete --` prints what may follow.
RUN = """# Completion for ./run, written by: ./run invoke tools.install --shell
_threezone_run() {
  local current=${COMP_WORDS[COMP_CWORD]} words="${COMP_WORDS[*]:1}" programs=
  [ "$COMP_CWORD" -gt 1 ] || programs="invoke nox"
  [ "${COMP_WORDS[1]}" != nox ] || return 0
  COMPREPLY=($(compgen -W "$programs $("${COMP_WORDS[0]}" invoke --complete -- "$words" 2>/dev/null)" -- "$current"))
}
complete -o default -F _threezone_run run ./run
"""

SELF_COMPLETING = {"tofu"}  # bash calls the program itself (github.com/posener/complete, -install-autocomplete)


def prepare(tools: Mapping[str, Tool]) -> None:
    """Put links to `tools` into ~/.local/bin, and bash completions for them below ~/.local/share.

    A project that has ./run gets its completion, too. Programs on PATH need no link. Safe to repeat: links follow the
    pinned versions. bash-completion loads a completion on first use (its README: BASH_COMPLETION_USER_DIR), so shells
    start as fast as before. Raises CommandFailed.
    """
    with events.step("links and completions for shells") as step:
        into = Path.home() / ".local" / "bin"
        linked = [tool.name for tool in tools.values() if tool.channel != "path" and _link(into / tool.name, tool.path)]
        path = completions()
        own = {"run": RUN} if settings.launcher(settings.find_root()) == settings.RUN else {}
        for name, text in {**{tool.name: _completion(tool) for tool in tools.values()}, **own}.items():
            _complete(path / name, text)
        step.result = f"{', '.join(linked) or 'nothing'} in {into}, completions in {path}"


def _completion(tool: Tool) -> str:
    """The completion script of a program."""
    if tool.name in SELF_COMPLETING:
        return f"complete -C {shlex.quote(str(tool.path))} {tool.name}\n"
    return process.run([tool.path, "completion", "bash"], timeout=30, env={"KUBECONFIG": os.devnull}).stdout


def completions() -> Path:
    """The directory of the user's completions: $XDG_DATA_HOME/bash-completion/completions, a file per command."""
    data = os.environ.get("XDG_DATA_HOME", "")
    return (Path(data) if data else Path.home() / ".local" / "share") / "bash-completion" / "completions"


def _complete(path: Path, text: str) -> None:
    """Write a completion, unless its path is something other than a regular file."""
    if path.is_symlink() or special_kind(path):
        events.note(f"{path} is not a regular file, so it stays as it is")
    else:
        write_atomic(path, text, None)


def _link(path: Path, target: Path) -> bool:
    """Make `path` a link to `target`. Returns False if it is something other than a link."""
    if path.exists() and not path.is_symlink():
        events.note(f"{path} is not a link, so it stays as it is")
        return False
    path.parent.mkdir(parents=True, exist_ok=True)
    new = path.with_name(f".{path.name}.new")
    new.unlink(missing_ok=True)
    new.symlink_to(target)
    new.replace(path)
    return True
