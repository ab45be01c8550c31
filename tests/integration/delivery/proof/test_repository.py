"""The proof's own commits, with the real git."""

from pathlib import Path

import pytest

from threezone.core import process
from threezone.core.errors import UsageError
from threezone.delivery import repository
from threezone.delivery.proof.repository import Worktree


@pytest.fixture
def work(tmp_path: Path) -> Worktree:
    made = Worktree(tmp_path / "work", "proof-1a2b3c", "proof/1a2b3c")
    made.init()
    return made


def test_a_commit_holds_exactly_its_files(work: Worktree) -> None:
    work.commit({"a": "1", "b": "2"}, "two")
    work.commit({"b": "3"}, "one")
    listed = process.run(["git", "-C", work.root, "ls-tree", "-r", "--name-only", "HEAD"], timeout=30).stdout
    assert listed.split() == ["proof/1a2b3c/b"]
    assert work.read("b") == "3"


def test_the_same_files_again_are_a_commit_of_their_own(work: Worktree) -> None:
    assert work.commit({"a": "1"}, "one") != work.commit({"a": "1"}, "again")


def test_a_revert_brings_back_what_was(work: Worktree) -> None:
    work.commit({"a": "good"}, "good")
    bad = work.commit({"a": "bad"}, "bad")
    assert work.revert() != bad
    assert work.read("a") == "good"


def test_neither_the_users_settings_nor_a_hooks_environment_reach_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    users = tmp_path / "users"
    users.mkdir()
    process.run(["git", "-C", users, "init", "--quiet"], timeout=30)
    settings = tmp_path / "gitconfig"
    settings.write_text("[commit]\n\tgpgsign = true\n[user]\n\tname = A User\n[core]\n\thooksPath = /nowhere\n")
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(settings))
    monkeypatch.setenv("GIT_DIR", str(users / ".git"))
    monkeypatch.setenv("GIT_INDEX_FILE", str(users / ".git" / "index"))
    work = Worktree(tmp_path / "work", "proof-1a2b3c", "proof/1a2b3c")
    work.init()
    sha = work.commit({"a": "1"}, "one")
    monkeypatch.delenv("GIT_DIR")
    monkeypatch.delenv("GIT_INDEX_FILE")
    shown = process.run(["git", "-C", work.root, "log", "--format=%H %an"], timeout=30).stdout
    assert shown == f"{sha} threezone proof\n"
    assert process.run(["git", "-C", users, "rev-parse", "HEAD"], timeout=30, check=False).exit_code != 0


def test_a_name_is_resolved_as_git_does(work: Worktree) -> None:
    sha = work.commit({"a": "1"}, "one")
    assert repository.resolve(work.root, "HEAD") == sha
    assert repository.resolve(work.root, "proof-1a2b3c") == sha
    with pytest.raises(UsageError, match="'--all' is no commit"):
        repository.resolve(work.root, "--all")
