"""The post-commit hook that delivers each commit of a branch. What was there before is kept, called, and put back."""

from __future__ import annotations

import os
import shlex
from collections.abc import Sequence
from pathlib import Path

from threezone.clients.git.checkout import Checkout, Layout
from threezone.core.errors import UsageError
from threezone.core.files import read, write_atomic

NAME = "post-commit"
KEPT = ".kept-by-threezone"  # beside the hook, for hooks look for their files beside themselves
MARK = "# threezone delivers each commit on "
MADE = "# The directory is threezone's too."
LOG = "threezone-delivery.log"

# git waits for a hook, so the delivery goes on behind it: on a terminal it tells its result there, else the log has
# it. For git's own variables see githooks(5): with them every git command would mean the repository of the commit. One
# stays: GIT_CONFIG_COUNT, by which a caller may trust the directory.
SCRIPT = """#!/bin/sh
{mark}{branch}: `{command} gitops.watch --uninstall-hook` takes this away.
{made}status=0
if [ -x "$0{kept}" ]; then "$0{kept}" "$@" || status=$?; fi
[ "$(git symbolic-ref --quiet HEAD)" = {ref} ] || exit $status
[ "$(git rev-parse --path-format=absolute --git-common-dir)" = {common} ] || exit $status
commit=$(git rev-parse --short HEAD)
log=$(git rev-parse --path-format=absolute --git-path {log})
cd "$(git rev-parse --show-toplevel)"/{prefix} || exit $status
unset $(git rev-parse --local-env-vars | grep -v '^GIT_CONFIG_COUNT$')
umask 077
deliver() {{
  if {command} gitops.watch --once {options} >"$log.$$" 2>&1; then
    tail -n 1 "$log.$$"
  else
    echo "threezone: $commit was not delivered"
    sed -n '/^error: /,$p' "$log.$$"
  fi
  mv -f "$log.$$" "$log"
}}
echo "threezone: delivering $commit in the background (log: $log)" >&2
if [ -t 2 ]; then deliver </dev/null >&2 & else deliver </dev/null >/dev/null 2>&1 & fi
exit $status
"""


class Place(Layout):
    """Where git looks for the hooks of a project: core.hooksPath, or the repository's own for all its worktrees."""

    @property
    def hook(self) -> Path:
        """The hook's file."""
        return self.hooks / NAME

    @property
    def kept(self) -> Path:
        """Where a hook that was there before is kept."""
        return self.hooks / f"{NAME}{KEPT}"


def place(root: Path) -> Place:
    """Ask git. Raises UsageError outside of a repository."""
    layout = Checkout(root).layout()
    return Place(layout.top, layout.prefix, layout.hooks, layout.common)


def script(at: Place, branch: str, options: Sequence[str], command: str, *, made: bool) -> str:
    """The hook's text. `command` runs a task, `options` are those of `gitops.watch`. Pure."""
    quoted = shlex.join(["--branch", branch, *options])
    return SCRIPT.format(
        mark=MARK, branch=branch, command=command, made=f"{MADE}\n" if made else "", kept=KEPT, log=LOG,
        ref=shlex.quote(f"refs/heads/{branch}"), common=shlex.quote(at.common), prefix=shlex.quote(at.prefix),
        options=quoted,
    )  # fmt: skip


def ours(file: Path) -> bool:
    """Whether a hook is one that we wrote."""
    return file.is_file() and MARK.encode() in read(file)


def install(root: Path, branch: str, options: Sequence[str], command: str) -> Path:
    """Write the hook; ours is replaced, another one kept. Returns its file. Raises UsageError for a tracked one."""
    at = place(root)
    made = not at.hooks.exists()
    at.hooks.mkdir(parents=True, exist_ok=True)
    if ours(at.hook):
        made = MADE in at.hook.read_text(encoding="utf-8", errors="replace")
    elif os.path.lexists(at.hook):
        _movable(at)
        at.hook.rename(at.kept)
    write_atomic(at.hook, script(at, branch, options, command, made=made), 0o755)
    return at.hook


def _movable(at: Place) -> None:
    if Checkout(at.top).tracks(at.hook):
        raise UsageError(
            f"{at.hook} belongs to the repository's commits: it is not replaced", fix="./run invoke gitops.watch"
        )
    if os.path.lexists(at.kept):
        raise UsageError(f"{at.kept} is there, but {at.hook} is not threezone's", fix=f"look at both, remove {at.kept}")


def uninstall(root: Path) -> bool:
    """Take the hook away and put back what was there before. False when it is not there.

    Raises UsageError when another program has put its hook in the place of ours since.
    """
    at = place(root)
    if not ours(at.hook):
        if os.path.lexists(at.kept):
            raise UsageError(
                f"{at.hook} is not threezone's any more; the hook before it is {at.kept}",
                fix="put back by hand what you want of the two",
            )
        return False
    made = MADE in at.hook.read_text(encoding="utf-8", errors="replace")
    if os.path.lexists(at.kept):
        at.kept.replace(at.hook)
    else:
        at.hook.unlink()
    if made and not any(at.hooks.iterdir()):
        at.hooks.rmdir()
    _forget_logs(at)
    return True


def _forget_logs(at: Place) -> None:
    """Remove the log of every worktree."""
    for directory in (Path(at.common), *Path(at.common, "worktrees").glob("*")):
        for file in directory.glob(f"{LOG}*"):
            file.unlink()
