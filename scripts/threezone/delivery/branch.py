"""A branch of the user's repository, watched for new commits."""

from __future__ import annotations

import time
from pathlib import Path

from threezone.clients.git.checkout import Checkout
from threezone.core.errors import UsageError

# Polling is one stat(2) of three files. The kernel's notices (inotify) come sooner but do not cross a bind mount from a
# desktop's virtual machine, and a devcontainer's checkout is one.
POLL_SECONDS = 0.2


def branch_of(root: Path) -> str:
    """The branch that is checked out at `root`. Raises UsageError when none is."""
    answer = Checkout(root).branch()
    if not answer.ok:
        raise UsageError(
            f"no branch is checked out at {root}", evidence=answer.words, fix="git switch, or name it: --branch"
        )
    return answer.text.strip()


class Tip:
    """The newest commit of a branch, whichever branch is checked out. Git runs only when its files have changed."""

    def __init__(self, root: Path, branch: str) -> None:
        self._checkout = Checkout(root)
        self.ref = f"refs/heads/{branch}"
        # A ref is a file of its own, or a line of packed-refs, or is in git's newer storage (reftable).
        self._files = self._checkout.files_of_git(self.ref, "packed-refs", "reftable/tables.list")

    @property
    def sha(self) -> str:
        """The branch's commit now; "" when there is none (yet)."""
        return self._checkout.revision(self.ref).text.strip()

    def other(self, than: str, seconds: float) -> str:
        """Wait until the branch's commit is not `than`, for at most `seconds`; returns the commit then."""
        end = time.monotonic() + seconds
        before = None
        while True:
            now = [_stamp(file) for file in self._files]
            if now != before:
                before = now
                if (sha := self.sha or than) != than:
                    return sha
            if time.monotonic() >= end:
                return than
            time.sleep(min(POLL_SECONDS, seconds))


def _stamp(file: Path) -> tuple[int, int, int] | None:
    """A value that changes with the file: git replaces these files, it never writes into them."""
    try:
        stat = file.stat()
    except OSError:
        return None
    return stat.st_mtime_ns, stat.st_size, stat.st_ino
