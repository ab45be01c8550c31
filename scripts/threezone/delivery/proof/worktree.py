"""The proof's own commits: a repository in a directory of its own, with nothing of the user's settings or identity."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from threezone.clients.git.own import Own
from threezone.delivery.proof.manifests import Files

WHO = ("threezone proof", "proof@threezone.invalid")


@dataclass(frozen=True)
class Worktree:
    """A repository at `root` (an empty directory) with one branch, which holds files below `path` and nothing else."""

    root: Path
    branch: str
    path: str

    def begin(self) -> None:
        """Make the repository; it has no commit yet."""
        self.own.init(bare=False, branch=self.branch)

    def commit(self, files: Files, message: str) -> str:
        """Commit exactly `files` below the path; the same ones again are a commit too. Returns the SHA."""
        directory = self.root / self.path
        directory.mkdir(parents=True, exist_ok=True)
        for old in directory.iterdir():
            old.unlink()
        for name, content in files.items():
            (directory / name).write_text(content)
        return self.own.commit(message, *WHO)

    def revert(self) -> str:
        """Revert the last commit. Returns the revert's SHA."""
        return self.own.revert(*WHO)

    def head(self) -> str:
        """The last commit's SHA."""
        return self.own.head()

    def read(self, name: str) -> str:
        """A file's content in the last commit."""
        return self.own.read(f"{self.path}/{name}")

    @property
    def own(self) -> Own:
        """The repository, for git."""
        return Own(self.root)
