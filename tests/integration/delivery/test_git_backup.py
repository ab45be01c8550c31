"""A backup of the Git server's repositories, with the real git and directories in the server's place."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from threezone.clients.git.own import Own
from threezone.core import process
from threezone.core.errors import DeliveryError
from threezone.core.settings import Settings
from threezone.delivery import git_backup, git_server
from threezone.lab import data_loss


def git(root: Path, *argv: str | Path) -> str:
    return process.run(["git", "-C", root, *argv], timeout=30).stdout.strip()


@pytest.fixture
def lab(tmp_path: Path) -> Any:
    """As much of a lab as a backup needs; its project is the directory `work`."""
    return SimpleNamespace(
        name="lab", key="lab", context="kind-lab", root=tmp_path / "work", settings=Settings(), tools={}, api=None
    )


class Server:
    """The Git server: bare repositories in a directory, as its image makes them."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.serve("lab", "second")

    def serve(self, *names: str) -> None:
        for name in names:
            process.run(["git", "init", "--quiet", "--bare", self.root / f"{name}.git"], timeout=30)
            git(self.root / f"{name}.git", "config", "receive.shallowUpdate", "true")

    def refs(self, name: str) -> dict[str, str]:
        return Own(self.root / f"{name}.git").refs()


@pytest.fixture
def served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Server:
    made = Server(tmp_path / "srv")

    @contextmanager
    def forwarded(_: Any) -> Iterator[Any]:
        yield SimpleNamespace(address="127.0.0.1:1")

    monkeypatch.setattr(git_server, "forwarded", forwarded)
    monkeypatch.setattr(git_backup, "_url", lambda _, name: str(made.root / f"{name}.git"))
    monkeypatch.setattr(git_server, "served", lambda _: tuple(sorted(path.stem for path in made.root.glob("*.git"))))
    monkeypatch.setattr(git_server, "password", lambda *_: "a-password")
    return made


@pytest.fixture
def work(tmp_path: Path) -> Path:
    path = tmp_path / "work"
    process.run(["git", "init", "--quiet", "--initial-branch=main", path], timeout=30)
    git(path, "config", "user.name", "A User")
    git(path, "config", "user.email", "user@example.invalid")
    return path


def commit(work: Path, message: str = "next") -> str:
    git(work, "commit", "--quiet", "--allow-empty", "--message", message)
    return git(work, "rev-parse", "HEAD")


def push(work: Path, served: Server, name: str, *refspecs: str) -> None:
    git(work, "push", "--quiet", served.root / f"{name}.git", *refspecs)


def anew(served: Server) -> None:
    """The cluster is made anew: its Git server begins empty."""
    served.root.rename(served.root.with_name("gone"))
    served.serve("lab", "second")


def test_everything_comes_back_and_the_backup_is_removed(lab: Any, served: Server, work: Path) -> None:
    commit(work)
    git(work, "tag", "--annotate", "--message", "words", "v1")
    git(work, "notes", "add", "--message", "a note")
    push(work, served, "second", "main", "main:feature/x", "v1", "refs/notes/commits")
    before = served.refs("second")
    assert len(before) == 4
    kept = git_backup.create(lab)
    assert kept is not None
    assert (kept.path.parent.stat().st_mode & 0o077, kept.path.stat().st_mode & 0o077) == (0, 0)
    assert [path for path in kept.path.rglob("*") if path.stat().st_mode & 0o077] == []
    anew(served)
    assert git_backup.repositories("lab") == ("lab", "second")
    assert str(kept.path) in git_backup.summary("lab")
    git_backup.restore(lab)
    assert served.refs("second") == before
    assert served.refs("lab") == {}
    assert git_backup.pending("lab") == ()
    assert git_backup.summary("lab") == ""
    assert not kept.path.exists()
    assert git(served.root / "second.git", "fsck", "--strict") == ""


def test_a_shallow_history_comes_back_as_it_was(lab: Any, served: Server, work: Path, tmp_path: Path) -> None:
    for _ in range(3):
        commit(work)
    shallow = tmp_path / "shallow"
    process.run(["git", "clone", "--quiet", "--depth=1", f"file://{work}", shallow], timeout=30)
    push(shallow, served, "lab", "main")
    before = served.refs("lab")
    git_backup.create(lab)
    anew(served)
    git_backup.restore(lab)
    assert served.refs("lab") == before
    assert git(served.root / "lab.git", "rev-list", "--count", "main") == "1"


def test_it_may_be_interrupted_anywhere_and_done_again(
    lab: Any, served: Server, work: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit(work)
    push(work, served, "lab", "main")
    push(work, served, "second", "main")
    before = served.refs("lab")

    def killed(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as taking:
        taking.setattr(git_backup, "_sync", killed)
        with pytest.raises(KeyboardInterrupt):
            git_backup.create(lab)
    assert git_backup.pending("lab") == (), "what is half made does not count"
    git_backup.create(lab)
    anew(served)
    whole = git_backup._push
    with monkeypatch.context() as putting:
        putting.setattr(git_backup, "_push", lambda url, *rest: whole(url, *rest) if "lab" in url else killed())
        with pytest.raises(KeyboardInterrupt):
            git_backup.restore(lab)
    assert len(git_backup.pending("lab")) == 1
    (kept,) = git_backup.pending("lab")
    (kept.path / git_backup.LIST).rename(kept.path / "elsewhere")
    assert git_backup.pending("lab") == (), "put back, and killed before it was removed"
    assert not kept.path.exists()
    assert served.refs("lab") == before


def test_a_second_backup_does_not_replace_the_first(lab: Any, served: Server, work: Path) -> None:
    first = commit(work)
    push(work, served, "lab", "main")
    git_backup.create(lab)
    anew(served)
    git(work, "switch", "--quiet", "--orphan", "other")
    second = commit(work, "another history")
    push(work, served, "second", "other:main")
    git_backup.create(lab)
    served.root.rename(served.root.with_name("gone-too"))
    served.serve("lab", "second")
    assert len(git_backup.pending("lab")) == 2
    git(work, "switch", "--quiet", "main")
    git_backup.restore(lab)
    assert served.refs("lab") == {"refs/heads/main": first}
    assert served.refs("second") == {"refs/heads/main": second}


def test_nothing_that_is_there_is_overwritten(lab: Any, served: Server, work: Path) -> None:
    base = commit(work)
    git(work, "branch", "behind")
    mine = commit(work)
    git(work, "tag", "v1")
    push(work, served, "lab", "main", "behind", f"{base}:refs/heads/ahead", "v1")
    git_backup.create(lab)
    anew(served)
    git(work, "switch", "--quiet", "behind")
    git(work, "reset", "--quiet", "--hard", base)
    theirs = commit(work, "theirs")
    push(work, served, "lab", f"{theirs}:refs/heads/main", f"{base}:refs/heads/behind", f"{theirs}:refs/heads/ahead",
         f"{theirs}:refs/tags/v1")  # fmt: skip
    git_backup.restore(lab)
    assert served.refs("lab") == {
        "refs/heads/main": theirs,
        "refs/heads/rescued/main": mine,
        "refs/heads/behind": base,
        "refs/heads/ahead": theirs,
        "refs/tags/v1": theirs,
        "refs/tags/rescued/v1": mine,
    }


def test_the_branch_of_another_project_comes_beside(lab: Any, served: Server, work: Path) -> None:
    """The lab of this name belongs to another project by now: its own commits are delivered."""
    old = commit(work)
    push(work, served, "lab", "main", "main:topic")
    git_backup.create(lab)
    anew(served)
    git(work, "switch", "--quiet", "--orphan", "new")
    git(work, "branch", "--quiet", "-D", "main")
    commit(work, "another project")
    git_backup.restore(lab)
    assert served.refs("lab") == {"refs/heads/rescued/main": old, "refs/heads/topic": old}


def test_a_branch_with_a_history_in_common_comes_back_by_its_name(lab: Any, served: Server, work: Path) -> None:
    base = commit(work)
    theirs = commit(work, "theirs")
    push(work, served, "lab", "main")
    git(work, "reset", "--quiet", "--hard", base)
    commit(work, "ours")
    git_backup.create(lab)
    anew(served)
    git_backup.restore(lab)
    assert served.refs("lab") == {"refs/heads/main": theirs}


def test_a_server_that_refuses_keeps_the_backup(lab: Any, served: Server, work: Path) -> None:
    commit(work)
    push(work, served, "lab", "main")
    git_backup.create(lab)
    anew(served)
    (served.root / "lab.git" / "hooks" / "pre-receive").write_text("#!/bin/sh\necho not today\nexit 1\n")
    (served.root / "lab.git" / "hooks" / "pre-receive").chmod(0o755)
    with pytest.raises(DeliveryError, match="could not be restored") as caught:
        git_backup.restore(lab)
    assert "not today" in caught.value.evidence
    assert len(git_backup.pending("lab")) == 1


def test_a_server_that_is_away_leaves_nothing_that_counts(lab: Any, served: Server) -> None:
    served.root.rename(served.root.with_name("away"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(git_server, "served", lambda _: ("lab",))
        with pytest.raises(DeliveryError, match="git fetch failed"):
            git_backup.create(lab)
    assert git_backup.pending("lab") == ()


def test_commits_are_counted_that_the_checkout_does_not_have(
    lab: Any, served: Server, work: Path, tmp_path: Path
) -> None:
    commit(work)
    push(work, served, "lab", "main")
    checkout = tmp_path / "checkout"
    process.run(["git", "clone", "--quiet", work, checkout], timeout=30)
    commit(work)
    commit(work)
    push(work, served, "lab", "main:more")
    held = git_backup.fetch(lab, ["lab"], tmp_path / "held")
    counted = data_loss.unknown_commits(tmp_path / "held" / "lab.git", held["lab"], checkout)
    assert counted == {"refs/heads/main": 0, "refs/heads/more": 2}
    none = data_loss.unknown_commits(copied(served, tmp_path), held["lab"], tmp_path)
    assert none == {"refs/heads/main": 1, "refs/heads/more": 3}, "where there is no checkout, all of them"


def copied(served: Server, tmp_path: Path) -> Path:
    bare = tmp_path / "copy.git"
    process.run(["git", "clone", "--quiet", "--mirror", served.root / "lab.git", bare], timeout=30)
    return bare


def test_a_shallow_checkout_is_no_reason_to_fail(lab: Any, served: Server, work: Path, tmp_path: Path) -> None:
    for _ in range(3):
        commit(work)
    push(work, served, "lab", "main")
    shallow = tmp_path / "shallow"
    process.run(["git", "clone", "--quiet", "--depth=1", f"file://{work}", shallow], timeout=30)
    held = git_backup.fetch(lab, ["lab"], tmp_path / "held")
    assert data_loss.unknown_commits(tmp_path / "held" / "lab.git", held["lab"], shallow)["refs/heads/main"] in (
        0,
        None,
    )
