"""Follow a branch, and push and deliver each new commit of it."""

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
from threezone.delivery.preview import follow
from threezone.delivery.repository import Rejected
from threezone.flux import components

FIRST, LONGEST = 1.0, 15.0  # seconds between tries while the API server or the Git server is away


@dataclass(frozen=True)
class Attempt:
    """The result of delivering a commit. `again`: nothing is wrong with the commit, a server was not reachable."""

    sha: str
    pushed: float = 0.0
    seconds: float = 0.0
    failure: ThreezoneError | None = None
    again: bool = False

    @property
    def line(self) -> str:
        """The result for a person, in one line; the evidence of a failure follows below it."""
        commit = self.sha[:7]
        if self.failure is None:
            return f"{commit} applied in {self.seconds:.1f} s (push {self.pushed:.1f} s)"
        head = f"{commit} {'waits' if self.again else 'was not delivered'}: {self.failure.message}"
        lines = [f"  | {line}" for line in self.failure.evidence.splitlines() if line.strip()]
        return "\n".join([head, *lines, *([f"  fix: {self.failure.fix}"] if self.failure.fix else [])])


def attempt(lab: Lab, tip: Tip, sha: str, *, force: bool = False) -> Attempt:
    """Push one commit of a branch and wait until it is applied, or until the branch has another one.

    Never raises: the failure is part of the answer.
    """
    began = time.monotonic()
    pushed = 0.0
    try:
        with muted():
            commit = repository.head(lab.root, lab.settings.gitops.path, sha)
            components.require(components.observe(lab.api))
            push.push(lab, commit, force=force)
            pushed = time.monotonic() - began
            push.reconcile(lab, commit, lambda: newer if (newer := tip.other(sha, 0)) != sha else "")
    except ThreezoneError as failure:
        return Attempt(sha, pushed, time.monotonic() - began, failure, _passing(failure, pushed=bool(pushed)))
    return Attempt(sha, pushed, time.monotonic() - began)


def _passing(failure: ThreezoneError, *, pushed: bool) -> bool:
    """Whether the same commit may be delivered later by itself. Pure."""
    if isinstance(failure, (ClusterError, RouteError)):
        return True
    # After the push, Flux's words are about this commit. A failed push is not, unless git refuses the commit.
    return not pushed and not isinstance(failure, Rejected) and isinstance(failure, (CommandFailed, DeliveryError))


def watch(lab: Lab, branch: str, report: Callable[[str], None], *, force: bool = False) -> NoReturn:
    """Deliver the newest commit of `branch`, now and after every new one, until Ctrl-C. `report` gets a line for each.

    A commit that failed is not tried again; it is while the API server or the Git server is away. A newer commit ends
    the wait for an older one. New commits of previewed branches are delivered to their previews meanwhile.
    """
    follow.in_background(lab, report, force=force)
    tip = Tip(lab.root, branch)
    done = ""
    while True:
        done = _deliver(lab, tip, tip.other(done, FOREVER), report, force=force)


def once(lab: Lab, branch: str, *, force: bool = False) -> Attempt | None:
    """Deliver the newest commit of `branch`, after a run that does so now. None: another run waits already.

    Of many commits in a row, one is being delivered and one run waits; it delivers the newest when its turn comes.
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
        tip = Tip(lab.root, branch)
        return attempt(lab, tip, tip.sha, force=force)


def _deliver(lab: Lab, tip: Tip, sha: str, report: Callable[[str], None], *, force: bool) -> str:
    """Try until it is delivered or cannot be, or there is a newer commit. Returns the last commit."""
    pause, reported = FIRST, ""
    while True:
        result = attempt(lab, tip, sha, force=force)
        if result.line != reported or not result.again:
            report(result.line)
            reported = result.line
        if not result.again:
            return sha
        if (newer := tip.other(sha, pause)) != sha:
            sha, pause = newer, FIRST
        else:
            pause = min(2 * pause, LONGEST)
