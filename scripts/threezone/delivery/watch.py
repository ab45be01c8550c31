"""Commit means delivered: a branch is followed, and each new commit of it is pushed and applied."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import NoReturn

from threezone.clients.kubectl import FOREVER
from threezone.cluster.lab import Lab
from threezone.core import paths
from threezone.core.errors import ClusterError, CommandFailed, DeliveryError, RouteError, ThreezoneError
from threezone.core.events import muted
from threezone.delivery import push, repository
from threezone.delivery.branch import Tip
from threezone.delivery.repository import Rejected
from threezone.flux import components

FIRST, LONGEST = 1.0, 15.0  # seconds between tries while the API server or the Git server is away


@dataclass(frozen=True)
class Attempt:
    """What became of a commit. `again`: nothing is wrong with the commit, the way was closed."""

    sha: str
    pushed: float = 0.0
    seconds: float = 0.0
    failure: ThreezoneError | None = None
    again: bool = False

    @property
    def line(self) -> str:
        """The result for a person, in one line, or with the evidence of a failure below it."""
        commit = self.sha[:7]
        if self.failure is None:
            return f"{commit} applied in {self.seconds:.1f} s (push {self.pushed:.1f} s)"
        head = f"{commit} {'waits' if self.again else 'was not delivered'}: {self.failure.message}"
        lines = [f"  | {line}" for line in self.failure.evidence.splitlines() if line.strip()]
        return "\n".join([head, *lines, *([f"  fix: {self.failure.fix}"] if self.failure.fix else [])])


def attempt(lab: Lab, sha: str, *, force: bool = False) -> Attempt:
    """Push one commit and wait until it is applied. Never raises: the failure is part of the answer."""
    began = time.monotonic()
    pushed = 0.0
    try:
        with muted():
            commit = repository.head(lab.root, lab.settings.gitops.path, sha)
            components.require(components.observe(lab.api))
            push.push(lab, commit, force=force)
            pushed = time.monotonic() - began
            push.reconcile(lab, commit)
    except ThreezoneError as failure:
        return Attempt(sha, pushed, time.monotonic() - began, failure, _passing(failure, pushed=bool(pushed)))
    return Attempt(sha, pushed, time.monotonic() - began)


def _passing(failure: ThreezoneError, *, pushed: bool) -> bool:
    """Whether the same commit may be delivered later by itself. Pure."""
    if isinstance(failure, (ClusterError, RouteError)):
        return True
    # What Flux says of a commit that it has is about that commit; what hinders a push is not, unless git refuses it.
    return not pushed and not isinstance(failure, Rejected) and isinstance(failure, (CommandFailed, DeliveryError))


def watch(lab: Lab, branch: str, told: Callable[[str], None], *, force: bool = False) -> NoReturn:
    """Deliver the newest commit of `branch`, now and after every new one, until Ctrl-C. `told` gets a line for each.

    A commit that failed is left for the next one; while the API server or the Git server is away, it is tried again.
    """
    tip = Tip(lab.root, branch)
    done = ""
    while True:
        done = _deliver(lab, tip, tip.other(done, FOREVER), told, force=force)


def once(lab: Lab, branch: str, *, force: bool = False) -> Attempt | None:
    """Deliver the newest commit of `branch`, when nobody else is at it. None: another run waits to do just that.

    Of many commits in a row, one is being delivered and one run waits; it delivers what is newest when its turn comes.
    """
    from filelock import FileLock, Timeout

    directory = paths.make(paths.cluster_dir(lab.key))
    upcoming, now = (directory / lock for lock in paths.LOCKS)
    waiting = FileLock(upcoming, mode=0o600)
    try:
        waiting.acquire(timeout=0)
    except Timeout:
        return None
    with FileLock(now, mode=0o600):
        waiting.release()
        return attempt(lab, Tip(lab.root, branch).sha, force=force)


def _deliver(lab: Lab, tip: Tip, sha: str, told: Callable[[str], None], *, force: bool) -> str:
    """Try until it is delivered or cannot be, or there is a newer commit. Returns the commit that is done with."""
    pause, said = FIRST, ""
    while True:
        made = attempt(lab, sha, force=force)
        if made.line != said or not made.again:
            told(made.line)
            said = made.line
        if not made.again:
            return sha
        if (newer := tip.other(sha, pause)) != sha:
            sha, pause = newer, FIRST
        else:
            pause = min(2 * pause, LONGEST)
