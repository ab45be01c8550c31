"""The proof's own commits: a repository in a directory of its own, with nothing of the user's settings or identity."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from threezone.core import process
from threezone.delivery.proof.manifests import Files

SECONDS = 60.0
WHO = {"NAME": "threezone proof", "EMAIL": "proof@threezone.invalid"}


def isolated(home: Path) -> dict[str, str | None]:
    """An environment in which git reads no settings but a repository's own, and is in no other repository."""
    return {
        "HOME": str(home),
        "XDG_CONFIG_HOME": str(home),
        "GIT_CONFIG_NOSYSTEM": "1",
        **dict.fromkeys(  # git sets these for its hooks
            ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_PREFIX", "GIT_CONFIG_GLOBAL", "GIT_OBJECT_DIRECTORY")
        ),
        **{f"GIT_{role}_{what}": value for role in ("AUTHOR", "COMMITTER") for what, value in WHO.items()},
    }


@dataclass(frozen=True)
class Worktree:
    """A repository at `root` (an empty directory) with one branch, which holds files below `path` and nothing else."""

    root: Path
    branch: str
    path: str

    def begin(self) -> None:
        """Make the repository; it has no commit yet."""
        self._git("init", "--quiet")
        self._git("symbolic-ref", "HEAD", f"refs/heads/{self.branch}")  # init --initial-branch needs git 2.28

    def commit(self, files: Files, message: str) -> str:
        """Commit exactly `files` below the path; the same ones again are a commit too. Returns the SHA."""
        directory = self.root / self.path
        directory.mkdir(parents=True, exist_ok=True)
        for old in directory.iterdir():
            old.unlink()
        for name, content in files.items():
            (directory / name).write_text(content)
        self._git("add", "--all")
        self._git("commit", "--quiet", "--allow-empty", "--message", message)
        return self.head()

    def revert(self) -> str:
        """Revert the last commit. Returns the revert's SHA."""
        self._git("revert", "--no-edit", "HEAD")
        return self.head()

    def head(self) -> str:
        """The last commit's SHA."""
        return self._git("rev-parse", "HEAD").strip()

    def read(self, name: str) -> str:
        """A file's content in the last commit."""
        return self._git("show", f"HEAD:{self.path}/{name}")

    @property
    def env(self) -> Mapping[str, str | None]:
        """The environment for git in this repository."""
        return isolated(self.root)

    def _git(self, *argv: str) -> str:
        return process.run(["git", "-C", self.root, *argv], env=self.env, timeout=SECONDS).stdout
