"""A repository of ours, isolated from the user's configuration; and the temporary repository of a push to the lab."""

from __future__ import annotations

import base64
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from threezone.clients.git.checkout import Checkout
from threezone.clients.git.command import (
    LONG,
    NO_MAINTENANCE,
    PUSH,
    PUSH_ARGUMENTS,
    Answer,
    GitFailed,
    environment,
    refs,
    run,
)
from threezone.core import process, redaction
from threezone.core.errors import UsageError

SETTINGS = (*NO_MAINTENANCE, f"core.hooksPath={os.devnull}", "safe.directory=*", "safe.bareRepository=all")


@dataclass(frozen=True)
class Own:
    """A repository of ours. Its methods raise GitFailed unless they return an Answer."""

    root: Path

    def init(self, *, bare: bool = True, branch: str = "") -> None:
        """Create it without a commit in a new or existing directory."""
        self.root.mkdir(parents=True, exist_ok=True)
        self._do("init", "--quiet", "--template=", *(["--bare"] if bare else []))
        if branch:
            self._do("symbolic-ref", "HEAD", f"refs/heads/{branch}")  # init --initial-branch needs git 2.28

    def borrow_objects(self, checkout: Path) -> bool:
        """Use the objects of the user's checkout without a copy. Returns False if that is impossible."""
        shared = Checkout(checkout).objects()
        if shared is None:
            return False
        alternates = self.root / "objects" / "info" / "alternates"
        alternates.parent.mkdir(parents=True, exist_ok=True)
        alternates.write_bytes(os.fsencode(shared[0]) + b"\n")
        return True

    def commit(self, message: str, author: str, email: str) -> str:
        """Commit every file of the work tree, even without changes. Returns the SHA."""
        self._do("add", "--all")
        self._do("commit", "--quiet", "--allow-empty", "--message", message, settings=_author(author, email))
        return self.head()

    def revert(self, author: str, email: str) -> str:
        """Revert the last commit. Returns the revert's SHA."""
        self._do("revert", "--no-edit", "HEAD", settings=_author(author, email))
        return self.head()

    def head(self) -> str:
        """The last commit's SHA."""
        return self._do("rev-parse", "HEAD").strip()

    def read(self, path: str) -> str:
        """A file's content in the last commit."""
        return self._do("show", f"HEAD:{path}")

    def write_files(self, sha: str, directory: Path) -> None:
        """Write every file of a commit into an empty directory. Filters and `export-ignore` do not count."""
        env = {"GIT_WORK_TREE": str(directory)}
        for argv in (["read-tree", sha], ["checkout-index", "--all", "--quiet"]):
            answer = self._ask(*argv, env=env)
            if not answer.ok:
                raise GitFailed(f"the files of {sha[:7]} cannot be written", evidence=answer.words, fix="git fsck")

    def ignored(self, directory: Path, patterns: Path, per_directory: str) -> list[str]:
        """The files of a directory that patterns ignore: those of the file `patterns`, and of files in each directory.

        The patterns are those of .gitignore; `per_directory` is the name of the files.
        """
        options = (f"--exclude-from={patterns}", f"--exclude-per-directory={per_directory}")
        env = {"GIT_WORK_TREE": str(directory), "GIT_INDEX_FILE": str(self.root / "no-index")}
        answer = self._ask("ls-files", "-z", "--others", "--ignored", *options, env=env)
        if not answer.ok:
            raise GitFailed("git cannot tell which files Flux leaves out", evidence=answer.words, fix="git --version")
        return [name for name in answer.text.split("\0") if name]

    def refs(self) -> dict[str, str]:
        """The refs with their SHAs."""
        return refs(self._do("for-each-ref", "--format=%(objectname)\t%(refname)"))

    def fetch(self, url: str, refspec: str) -> None:
        """Fetch refs, and remove deleted ones."""
        self._do("fetch", "--quiet", "--prune", "--update-shallow", "--no-recurse-submodules", url, refspec)

    def remote_refs(self, url: str, *options: str) -> Answer:
        """The refs at `url`, as lines for `refs`."""
        return self._ask("ls-remote", *options, url)

    def unrelated(self, first: str, second: str) -> bool:
        """Whether two commits have no history in common; False if unknown."""
        return self._ask("merge-base", first, second).code == 1

    def follows(self, newer: str, older: str) -> bool:
        """Whether the commit `newer` has `older` in its history."""
        return self._ask("merge-base", "--is-ancestor", older, newer).ok

    def count(self, sha: str, excluded: Sequence[str]) -> int | None:
        """The number of commits in the history of `sha` and not in that of `excluded`; None if unknown."""
        revisions = "\n".join([sha, *(f"^{other}" for other in excluded), ""])
        answer = self._ask("rev-list", "--count", "--stdin", stdin=revisions)
        return int(answer.text) if answer.ok else None

    def push(
        self, url: str, refspecs: Sequence[str], *, user: str = "", password: str = "", force: bool = False
    ) -> Answer:
        """Push; the password is in the environment, never in arguments."""
        env: dict[str, str | None] = {}
        if password:
            token = base64.b64encode(f"{user}:{password}".encode()).decode()
            redaction.keep_secret(password)
            redaction.keep_secret(token)
            env = {
                "GIT_CONFIG_COUNT": "1",
                "GIT_CONFIG_KEY_0": f"http.{url}.extraHeader",
                "GIT_CONFIG_VALUE_0": f"Authorization: Basic {token}",
            }
        return self._ask(*PUSH_ARGUMENTS, *(["--force"] if force else []), url, *refspecs, seconds=PUSH, env=env)

    def _ask(
        self,
        *argv: str | Path,
        settings: Sequence[str] = (),
        env: Mapping[str, str | None] | None = None,
        seconds: float = LONG,
        stdin: str = "",
    ) -> Answer:
        env = {**environment(own=True), **(env or {})}
        return run(self.root, (*SETTINGS, *settings), argv, env, seconds=seconds, stdin=stdin)

    def _do(self, *argv: str, settings: Sequence[str] = ()) -> str:
        answer = self._ask(*argv, settings=settings)
        if not answer.ok:
            raise GitFailed(f"git {argv[0]} failed in {self.root}", evidence=answer.words, fix="./run invoke status")
        return answer.text


def _author(name: str, email: str) -> tuple[str, ...]:
    return f"user.name={name}", f"user.email={email}"


@contextmanager
def push_repository(root: Path, sha: str) -> Iterator[Own]:
    """A temporary repository of ours that has the commit `sha` of the user's checkout."""
    with tempfile.TemporaryDirectory(prefix="threezone-") as directory:
        repository = Own(Path(directory, "push.git"))
        repository.init()
        shared = Checkout(root).objects()
        if shared is None:
            raise UsageError(f"the objects of {root} cannot be read", fix=process.paste(["git", "-C", root, "fsck"]))
        objects, shallow = shared
        if any(objects.glob("pack/*.promisor")):
            Checkout(root).pack(sha, repository.root / "objects" / "pack")
        else:
            repository.borrow_objects(root)
        if shallow.exists():
            shutil.copyfile(shallow, repository.root / "shallow")
        yield repository
