"""The user's Git repository: which commit is to be delivered, and pushing it to the lab's Git server."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from threezone.clients.git.checkout import Checkout
from threezone.clients.git.own import carrier
from threezone.core.errors import DeliveryError, UsageError
from threezone.core.events import note, step


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
