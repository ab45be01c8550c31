"""Release again after each change in the directory that is built."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

from threezone.core.errors import ThreezoneError
from threezone.core.events import muted
from threezone.delivery.release.release import Released

# Polling, as for branches (delivery/branch.py): the kernel's notices do not cross a desktop's bind mount.
POLL_SECONDS, SHARE = 0.5, 10  # a look takes at most a tenth of the time
Stamp = dict[str, tuple[int, int]]


def watch(release: Callable[[], Released], directory: Path, ours: Path, report: Callable[[str], None]) -> NoReturn:
    """Release now and after every change, until Ctrl-C. `report` gets a line for each that did something, or failed.

    `ours` is the file that a release changes itself. A failure waits for the next change.
    """
    before: Stamp = {}
    first = True
    while True:
        before = _settled(directory, ours, before)
        try:
            with muted():
                done = release()
            if first or done.delivered:
                report(done.line)
        except ThreezoneError as failure:
            report(told(failure))
        first = False


def told(failure: ThreezoneError) -> str:
    """A failure with its evidence, for a person."""
    lines = [f"  | {line}" for line in failure.evidence.splitlines() if line.strip()]
    return "\n".join([failure.message, *lines, *([f"  fix: {failure.fix}"] if failure.fix else [])])


def _settled(directory: Path, ours: Path, before: Stamp) -> Stamp:
    """Wait until the files differ from `before` and have stayed the same for one look: an editor writes several."""
    last: Stamp | None = None
    while True:
        began = time.monotonic()
        now = stamp(directory, ours)
        if now not in (before, {}) and (now == last or not before):
            return now
        last = now
        time.sleep(max(POLL_SECONDS, SHARE * (time.monotonic() - began)))


def stamp(directory: Path, ours: Path) -> Stamp:
    """The times and sizes of all files, but of Git's own and of the file that a release changes."""
    found = {}
    for where, names, files in os.walk(directory):
        names[:] = [name for name in names if name != ".git"]
        for name in files:
            path = Path(where, name)
            if path == ours:
                continue
            try:
                state = path.lstat()
            except OSError:
                continue  # an editor's file, gone already
            found[str(path)] = (state.st_mtime_ns, state.st_size)
    return found
