"""The user's repository. It is only read, and pushed to the user's own remote."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from threezone.clients.git.command import (
    LONG,
    NO_MAINTENANCE,
    PUSH,
    PUSH_ARGUMENTS,
    SECONDS,
    Answer,
    GitFailed,
    advice,
    environment,
    run,
)
from threezone.core import process
from threezone.core.errors import UsageError

SHA256_LENGTH = 64
DUBIOUS = ("dubious ownership", "unsafe repository")


@dataclass(frozen=True)
class Layout:
    """The paths of a project in its repository, by `git rev-parse`."""

    top: Path
    prefix: str  # of the project inside its work tree: "" or with a slash at its end
    hooks: Path
    common: str


@dataclass(frozen=True)
class Checkout:
    """The user's repository that contains `root`."""

    root: Path

    def revision(self, name: str) -> Answer:
        """The SHA of the commit named `name`."""
        return self._read("rev-parse", "--verify", "--end-of-options", f"{name}^{{commit}}")

    def commit_with(self, path: str, name: str) -> tuple[str, str] | None:
        """The commit `name` and the prefix of `root` in its work tree; None if the commit or its `path` is missing.

        Raises UsageError for a repository whose commits Flux cannot read.
        """
        answer = self._read("rev-parse", f"{name}^{{commit}}", "--show-prefix", f"{name}:./{path}")
        if not answer.ok:
            return None
        sha, prefix, _ = answer.text.splitlines()
        if len(sha) == SHA256_LENGTH:
            raise UsageError(
                f"the repository {self.root} uses SHA-256, which Flux cannot read",
                fix="git init --object-format=sha1, and commit the files there",
            )
        return sha, prefix

    def branch(self) -> Answer:
        """The name of the branch that is checked out."""
        return self._read("symbolic-ref", "--quiet", "--short", "HEAD")

    def grep(self, sha: str, pattern: str, *globs: str) -> list[str]:
        """The lines that match an extended pattern in a commit's files of these names, as SHA:FILE:TEXT."""
        answer = self._ask("grep", "--no-color", "-I", "--extended-regexp", "-e", pattern, sha, "--", *globs)
        return answer.text.splitlines()

    def changed(self, path: str) -> list[str]:
        """The files below `path` that differ from the last commit, relative to the repository."""
        options = ("--porcelain", "-z", "--no-renames", "--untracked-files=normal", "--ignore-submodules=dirty")
        return [line[3:] for line in self._read("status", *options, "--", f":(literal){path}").text.split("\0") if line]

    def files(self) -> list[str]:
        """The files below `root` that git tracks or would add, relative to it; links and submodules included."""
        answer = self._in_repository("ls-files", "-z", "--cached", "--others", "--exclude-standard")
        return sorted({name for name in answer.text.split("\0") if name})

    def files_of_git(self, *names: str) -> list[Path]:
        """The paths of git's own files with these names. Raises UsageError outside a repository."""
        options = [part for name in names for part in ("--git-path", name)]
        answer = self._in_repository("rev-parse", "--path-format=absolute", *options)
        return [Path(line) for line in answer.text.splitlines()]

    def layout(self) -> Layout:
        """The work tree and its hooks. Raises UsageError outside of a repository."""
        options = ("--show-toplevel", "--show-prefix", "--path-format=absolute", "--git-common-dir")
        top, prefix, common = self._in_repository("rev-parse", *options).text.split("\n")[:3]
        # A relative core.hooksPath counts from where hooks run, which is the work tree's top.
        (hooks,) = Checkout(Path(top)).files_of_git("hooks")
        return Layout(Path(top), prefix, hooks, common)

    def tracks(self, file: Path) -> bool:
        """Whether the repository tracks `file`."""
        return bool(self._read("ls-files", "--", f":(literal){file}").text)

    def ignores(self, file: Path) -> bool:
        """Whether git ignores `file`."""
        return self._read("check-ignore", "--quiet", "--", file).ok

    def committed(self, path: str) -> str | None:
        """The text of a file in the last commit, as git stores it; None without one."""
        answer = self._ask("show", f"HEAD:./{path}")
        return answer.text if answer.ok else None

    def tips(self) -> list[str]:
        """The SHAs of all refs; none outside of a repository."""
        return self._ask("show-ref", "--head", "--hash").text.split()

    def follows(self, newer: str, older: str) -> bool | None:
        """Whether a commit has another one in its history; None when the repository does not know one of them."""
        code = self._ask("merge-base", "--is-ancestor", older, newer).code
        return code == 0 if code in (0, 1) else None

    def remote_sha(self, url: str, ref: str) -> str:
        """The commit of `ref` at `url`, with the user's credentials; "" for a missing ref or no answer."""
        return self._ask("ls-remote", url, ref).text.partition("\t")[0]

    def push(self, url: str, refspec: str, *, force: bool) -> Answer:
        """Push to the user's remote with the user's configuration. Raises nothing."""
        return self._ask(*PUSH_ARGUMENTS, *(["--force"] if force else []), url, refspec, seconds=PUSH)

    def pack(self, sha: str, into: Path) -> None:
        """Pack a commit with its history into the directory `into`. In a partial clone, git fetches missing objects."""
        answer = self._ask("pack-objects", "--revs", "--quiet", into / "pack", stdin=f"{sha}\n", seconds=LONG)
        if not answer.ok:
            raise GitFailed(
                f"{self.root} is a partial clone, and its missing objects cannot be fetched", evidence=answer.words,
                fix="git fetch --refetch --no-filter",
            )  # fmt: skip

    def objects(self) -> tuple[Path, Path] | None:
        """The directory of its objects and the file of its shallow commits; None if others cannot use them."""
        options = ("--show-object-format", "--path-format=absolute", "--git-path", "objects", "--git-path", "shallow")
        answer = self._ask("rev-parse", *options)
        if not answer.ok:
            return None
        kind, objects, shallow = answer.text.splitlines()
        return (Path(objects).resolve(), Path(shallow)) if kind == "sha1" else None

    def _ask(self, *argv: str | Path, seconds: float = SECONDS, stdin: str = "") -> Answer:
        return run(self.root, NO_MAINTENANCE, argv, environment(own=False), seconds=seconds, stdin=stdin)

    def _read(self, *argv: str | Path) -> Answer:
        """Ask git. Raises UsageError if it refuses to read the repository at all."""
        answer = self._ask(*argv)
        if not answer.ok and any(words in answer.words for words in DUBIOUS):
            raise UsageError(
                f"{self.root} belongs to another user, so git refuses to read it",
                evidence=answer.words,
                fix=_trust_command(answer.words, self.root),
            )
        return answer

    def _in_repository(self, *argv: str) -> Answer:
        answer = self._read(*argv)
        if not answer.ok:
            raise UsageError(
                f"git reads no repository at {self.root}",
                evidence=answer.words,
                fix=advice(answer.words, f"git -C {self.root} status"),
            )
        return answer


def _trust_command(words: str, root: Path) -> str:
    """The command that git itself advises, with the directory as git spells it. Pure."""
    advice = re.search(r"git config --global --add safe\.directory .+", words)
    return advice[0] if advice else process.paste(["git", "config", "--global", "--add", "safe.directory", root])
