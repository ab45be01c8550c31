"""A commit of one file in the user's repository: their identity and hooks count, their other changes stay."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from tests.integration.clients.test_git import git

from threezone.clients.git.commit import commit_file


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    root = tmp_path / "repository"
    root.mkdir()
    git(root, "init", "--quiet", "--initial-branch=main")
    for key, value in (("user.name", "Own Name"), ("user.email", "own@example.invalid")):
        git(root, "config", key, value)
    for name in ("ours.yaml", "staged", "unstaged", "both"):
        (root / name).write_text("before\n")
    git(root, "add", "--all")
    git(root, "commit", "--quiet", "--message", "First")
    for name in ("staged", "both"):
        (root / name).write_text("staged\n")
    git(root, "add", "--all")
    for name in ("unstaged", "both", "untracked"):
        (root / name).write_text("unstaged\n")
    (root / "ours.yaml").write_text("after\n")
    return root


def state(root: Path) -> str:
    return git(root, "status", "--porcelain", "--", ":!ours.yaml") + git(root, "diff") + git(root, "diff", "--cached")


def hook(root: Path, name: str, text: str) -> None:
    path = root / ".git/hooks" / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)


def test_one_file_is_committed_and_everything_else_stays(repository: Path) -> None:
    git(repository, "add", "--intent-to-add", "untracked")
    before = git(repository, "diff", "--", ":!ours.yaml") + git(repository, "diff", "--cached")
    assert commit_file(repository, "ours.yaml", "Release app:1").ok
    assert git(repository, "show", "--name-only", "--format=%an %s").split("\n\n") == [
        "Own Name Release app:1",
        "ours.yaml",
    ]
    assert git(repository, "diff") + git(repository, "diff", "--cached") == before
    assert git(repository, "status", "--porcelain", "--", "ours.yaml") == ""


def test_the_environments_identity_counts(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_AUTHOR_NAME", "Another Name")
    monkeypatch.setenv("GIT_DIR", "/nonexistent")
    monkeypatch.setenv("GIT_INDEX_FILE", "/nonexistent")
    assert commit_file(repository, "ours.yaml", "Release").ok
    assert git(repository, "show", "--quiet", "--format=%an, %cn") == "Another Name, Own Name"


def test_a_hook_that_refuses_is_heard(repository: Path) -> None:
    hook(repository, "pre-commit", "echo the tag is forbidden >&2; exit 1")
    head, before = git(repository, "rev-parse", "HEAD"), state(repository)
    answer = commit_file(repository, "ours.yaml", "Release")
    assert not answer.ok
    assert "the tag is forbidden" in answer.words
    assert (git(repository, "rev-parse", "HEAD"), state(repository)) == (head, before)


def test_a_hook_does_not_get_the_environment_of_the_launcher(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scripts = Path(__file__).parents[3] / "scripts"
    monkeypatch.setenv("PYTHONPATH", f"{scripts}{os.pathsep}/of/the/user")
    monkeypatch.setenv("VIRTUAL_ENV", "/the/environment")
    monkeypatch.setenv("PATH", f"/the/environment/bin{os.pathsep}{os.environ['PATH']}")
    hook(repository, "commit-msg", f'echo "$PYTHONPATH|${{VIRTUAL_ENV-unset}}|$PATH" >"{tmp_path}/heard"')
    assert commit_file(repository, "ours.yaml", "Release").ok
    python, environment, path = (tmp_path / "heard").read_text().strip().split("|")
    assert (python, environment) == ("/of/the/user", "unset")
    assert "/the/environment/bin" not in path.split(os.pathsep)


def test_without_an_identity_nothing_is_committed(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    git(repository, "config", "--unset", "user.name")
    git(repository, "config", "--unset", "user.email")
    git(repository, "config", "user.useConfigOnly", "true")
    for name in ("GIT_CONFIG_GLOBAL", "GIT_CONFIG_SYSTEM"):
        monkeypatch.setenv(name, os.devnull)
    answer = commit_file(repository, "ours.yaml", "Release")
    assert not answer.ok
    assert "Please tell me who you are" in answer.words
