"""The user's Git repository: the commit to deliver, and pushing it to the lab's Git server."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from threezone.clients.git.checkout import Checkout
from threezone.clients.git.command import advice
from threezone.clients.git.own import push_repository
from threezone.core.errors import DeliveryError, UsageError
from threezone.core.events import note, step


class Rejected(DeliveryError):
    """The branch has commits that are not in the history of the pushed one."""


@dataclass(frozen=True)
class Commit:
    """A commit's full SHA, and the delivered path in it.

    That differs from the project's own path where the project is a directory inside its repository.
    """

    sha: str
    path: str


def head(root: Path, path: str, name: str = "HEAD") -> Commit:
    """Return the commit `name` of the repository at `root`. Raises UsageError for none, or one without `path`."""
    checkout = Checkout(root)
    if commit := checkout.commit_with(path, name):
        sha, prefix = commit
        return Commit(sha, f"{prefix}{path}")
    answer = checkout.revision(name)
    if not answer.ok:
        unborn = "Needed a single revision" in answer.words
        raise UsageError(
            f"{root} has no commit to deliver",
            evidence=answer.words,
            fix="git add, git commit: Flux delivers commits" if unborn else advice(answer.words, f"git -C {root} fsck"),
        )
    raise UsageError(
        f"the commit {answer.text[:7]} does not contain {path}",
        fix="commit it, or name another threezone.gitops.path in invoke.yaml",
    )


def resolve(root: Path, name: str) -> str:
    """Return the SHA of the commit `name` (HEAD, a branch, a tag) in the repository at `root`. Raises UsageError."""
    answer = Checkout(root).revision(name)
    if not answer.ok:
        raise UsageError(
            f"{name!r} is no commit of {root}",
            evidence=answer.words,
            fix="name a SHA, a revision as Flux spells it (main@sha1:…), or HEAD",
        )
    return answer.text.strip()


def matching(root: Path, sha: str, pattern: str) -> list[str]:
    """The lines of YAML files below `root` in the commit that match, as FILE:TEXT; none where git cannot say."""
    return [line.partition(":")[2] for line in Checkout(root).grep(sha, pattern, "*.yaml", "*.yml")]


def uncommitted(root: Path, path: str) -> list[str]:
    """The files below the first directory of `path` that differ from the commit."""
    return Checkout(root).changed(Path(path).parts[0] if Path(path).parts else ".")


def push(
    root: Path, commit: Commit, url: str, branch: str, *, path: str, user: str, password: str, force: bool = False
) -> None:
    """Push `commit` to `branch` at `url`, and note the files near `path` that are not committed."""
    with step(f"push {commit.sha[:7]} to the lab's Git server") as running:
        for file in uncommitted(root, path)[:5]:
            note(f"not delivered, because not committed: {file}")
        with push_repository(root, commit.sha) as own:
            refspec = f"{commit.sha}:refs/heads/{branch}"
            answer = own.push(url, [refspec], user=user, password=password, force=force)
        if answer.ok:
            running.result = "already there" if answer.up_to_date else ""
            return
        if answer.rejected:
            raise Rejected(
                f"the lab's branch {branch} has commits that are not in the history of {commit.sha[:7]}",
                evidence=answer.words,
                fix="./run invoke gitops.push --force replaces the lab's commits by yours",
            )
        raise DeliveryError(
            "the push to the lab's Git server failed",
            evidence=answer.words,
            fix=advice(
                answer.words, "./run invoke gitops.serve" if answer.is_remote_failure else f"git -C {root} fsck"
            ),
        )


@dataclass(frozen=True)
class History:
    """What is known of commits that are newer than a revision: by default nothing."""

    revision: str = ""
    # Whether the commit that Flux holds has ours in its history; None when the repository does not know it.
    follows: Callable[[str], bool | None] = lambda _: None
    newest: Callable[[], str] = lambda: ""  # the SHA of a commit that is wanted instead, "" for none


NO_HISTORY = History()


def history(root: Path, revision: str, newest: Callable[[], str] = lambda: "") -> History:
    """What the user's repository knows of commits that are newer than the revision."""
    sha = revision.rpartition(":")[2]
    return History(revision, cache(lambda held: held != sha and Checkout(root).follows(held, sha)), newest)
