"""The post-commit hook that delivers each commit of a branch. An earlier hook is kept, called, and restored."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Sequence
from pathlib import Path

from threezone.clients.git.checkout import Checkout, Layout
from threezone.core.errors import UsageError
from threezone.core.files import read, write_atomic

NAME = "post-commit"
KEPT = f"{NAME}.kept-by-threezone"  # beside the hook, for hooks look for their files beside themselves
MARK = "# threezone delivers each commit on "
CREATED = "# The directory is threezone's too."
LOG = "threezone-delivery.log"


def script(layout: Layout, branch: str, options: Sequence[str], command: str, *, created: bool) -> str:
    """Return the hook's text. `command` runs a task, `options` are those of `gitops.watch`.

    git waits for a hook, so the delivery runs in the background: it prints its result on a terminal, else to the log.
    For git's own variables see githooks(5): with them every git command would mean the repository of the commit. One
    stays: GIT_CONFIG_COUNT, by which a caller may trust the directory.
    """
    values = {
        "branch": branch,
        "command": command,
        "created": CREATED if created else "#",
        "ref": shlex.quote(f"refs/heads/{branch}"),
        "common": shlex.quote(layout.common),
        "prefix": shlex.quote(layout.prefix),
        "options": shlex.join(["--branch", branch, *options]),
    }
    template = Path(__file__).with_name("hook.sh").read_text(encoding="utf-8")
    return re.sub("@([a-z]+)@", lambda match: values[match[1]], template)


def _has(file: Path, mark: str) -> bool:
    return file.is_file() and mark.encode() in read(file)


def install(root: Path, branch: str, options: Sequence[str], command: str) -> Path:
    """Write the hook and return its file; ours is replaced, another one kept. Raises UsageError for a tracked one."""
    layout = Checkout(root).layout()
    hook, kept = layout.hooks / NAME, layout.hooks / KEPT
    created = not layout.hooks.exists() or (_has(hook, MARK) and _has(hook, CREATED))
    layout.hooks.mkdir(parents=True, exist_ok=True)
    if os.path.lexists(hook) and not _has(hook, MARK):
        if Checkout(layout.top).tracks(hook):
            raise UsageError(
                f"{hook} is tracked by the repository: it is not replaced", fix="./run invoke gitops.watch"
            )
        if os.path.lexists(kept):
            raise UsageError(f"{kept} exists, but {hook} is not threezone's", fix=f"look at both, remove {kept}")
        hook.rename(kept)
    write_atomic(hook, script(layout, branch, options, command, created=created), 0o755)
    return hook


def uninstall(root: Path) -> bool:
    """Remove the hook and restore the one before it. False when there is none.

    Raises UsageError when another program has replaced our hook since.
    """
    layout = Checkout(root).layout()
    hook, kept = layout.hooks / NAME, layout.hooks / KEPT
    if not _has(hook, MARK):
        if os.path.lexists(kept):
            raise UsageError(
                f"{hook} is not threezone's any more; the hook before it is {kept}",
                fix="restore by hand what you want of the two",
            )
        return False
    created = _has(hook, CREATED)
    if os.path.lexists(kept):
        kept.replace(hook)
    else:
        hook.unlink()
    if created and not any(layout.hooks.iterdir()):
        layout.hooks.rmdir()
    for directory in (Path(layout.common), *Path(layout.common, "worktrees").glob("*")):
        for log in directory.glob(f"{LOG}*"):
            log.unlink()
    return True
