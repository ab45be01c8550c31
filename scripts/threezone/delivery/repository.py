"""The user's Git repository: which commit is to be delivered, and pushing it to the lab's Git server."""

from __future__ import annotations

import queue
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from threezone.clients.git.checkout import Checkout
from threezone.clients.git.own import carrier
from threezone.core import process
from threezone.core.errors import DeliveryError, UsageError
from threezone.core.events import note, step

FOREVER = 365 * 86400.0  # seconds: as long as the user lets it stand


class Rejected(DeliveryError):
    """The Git server's branch has commits that the pushed one does not follow from: git pushes only what does."""


@dataclass(frozen=True)
class Commit:
    """The committed state of a project: HEAD's full SHA, and the delivered path as that commit spells it.

    The two paths differ where the project is a directory inside its repository.
    """

    sha: str
    path: str


def head(root: Path, path: str, name: str = "HEAD") -> Commit:
    """The commit `name` of the repository at `root`. Raises UsageError when there is none, or `path` is not in it."""
    checkout = Checkout(root)
    if commit := checkout.commit_with(path, name):
        sha, prefix = commit
        return Commit(sha, f"{prefix}{path}")
    answer = checkout.revision(name)
    if not answer.ok:
        outside = "not a git repository" in answer.words
        raise UsageError(
            f"{root} has no commit to deliver",
            evidence=answer.words,
            fix=f"{'git init, ' if outside else ''}git add, git commit: Flux delivers commits",
        )
    raise UsageError(
        f"the commit {answer.text[:7]} does not contain {path}",
        fix="commit it, or name another threezone.gitops.path in invoke.yaml",
    )


def resolve(root: Path, name: str) -> str:
    """The SHA of the commit that `name` (HEAD, a branch, a tag) is in the repository at `root`. Raises UsageError."""
    answer = Checkout(root).revision(name)
    if not answer.ok:
        raise UsageError(
            f"{name!r} is no commit of {root}",
            evidence=answer.words,
            fix="name a SHA, a revision as Flux spells it (main@sha1:…), or HEAD",
        )
    return answer.text.strip()


def uncommitted(root: Path, path: str) -> list[str]:
    """Files beside the delivered ones (below the first directory of `path`) that differ from the commit."""
    return Checkout(root).changed(Path(path).parts[0] if Path(path).parts else ".")


@dataclass(frozen=True)
class Forward:
    """An open port-forward: its `address` on this machine's loopback, and the kubectl that carries it."""

    address: str
    kubectl: process.Running

    def wait(self) -> None:
        """Return when the forward has ended (its pod has gone, say)."""
        self.kubectl.wait(FOREVER)


@contextmanager
def forwarded(
    kubectl: Path, context: str, namespace: str, target: str, port: int, *, local: int = 0
) -> Iterator[Forward]:
    """Carry a port of the cluster to `127.0.0.1` while the block runs; `local` 0 lets the system choose."""
    lines: queue.Queue[str] = queue.Queue()
    argv: list[str | Path] = [kubectl, "--context", context, "--namespace", namespace, "port-forward"]
    argv += ["--address", "127.0.0.1", target, f"{local or ''}:{port}"]
    with process.Running(argv, on_line=lines.put) as running:
        try:
            first = lines.get(timeout=30)
        except queue.Empty:
            first = "no answer within 30 s"
        match = re.search(r"Forwarding from (127\.0\.0\.1:\d+)", first)
        if not match:
            raise DeliveryError(
                f"no way to {target} in {namespace}", evidence=running.tail or first, fix="./run invoke status"
            )
        yield Forward(match.group(1), running)


def push(
    root: Path, commit: Commit, url: str, branch: str, *, path: str, user: str, password: str, force: bool = False
) -> None:
    """Push `commit` to `branch` at `url`; what differs from it beside `path` is told."""
    with step(f"push {commit.sha[:7]} to the lab's Git server") as running:
        for file in uncommitted(root, path)[:5]:
            note(f"not delivered, because not committed: {file}")
        refspec = f"{commit.sha}:refs/heads/{branch}"
        with carrier(root, commit.sha) as own:
            answer = own.push(url, [refspec], user=user, password=password, force=force)
        if answer.ok:
            running.result = "already there" if answer.up_to_date else ""
            return
        if answer.rejected:
            raise Rejected(
                f"the lab's branch {branch} has commits that {commit.sha[:7]} does not follow from",
                evidence=answer.words,
                fix="./run invoke gitops.push --force replaces what the lab holds by your commit",
            )
        raise DeliveryError(
            "the push to the lab's Git server failed",
            evidence=answer.words,
            fix="./run invoke gitops.serve" if answer.of_remote else f"git -C {root} fsck",
        )
