"""A private copy of the files that Flux would get: of the working tree, or of a revision.

The user's checkout and index are only read. As source-controller packages a commit, the copy has regular files only: no
links, and nothing that its patterns ignore.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from threezone.clients.git.checkout import Checkout
from threezone.clients.git.own import Own, push_repository
from threezone.core.events import step
from threezone.core.files import write_atomic
from threezone.delivery import repository

# fluxcd/pkg, sourceignore/sourceignore.go: the patterns that always count, and those of a source without spec.ignore.
IGNORED = (
    *(".git/", ".gitignore", ".gitmodules", ".gitattributes"),
    *("*.jpg", "*.jpeg", "*.gif", "*.png", "*.wmv", "*.flv", "*.tar.gz", "*.zip"),
    *(".github/", ".circleci/", ".travis.yml", ".gitlab-ci.yml", "appveyor.yml", ".drone.yml", "cloudbuild.yaml"),
    *("codeship-services.yml", "codeship-steps.yml", "**/.goreleaser.yml", "**/.sops.yaml", "**/.flux.yaml"),
)
IGNORE_FILE = ".sourceignore"


@dataclass(frozen=True)
class Tree:
    """A copy of the files. `path` is delivered from it; `left_out` are files and links that Flux does not get."""

    root: Path
    path: str
    label: str
    left_out: frozenset[str] = frozenset()


@contextmanager
def tree(root: Path, path: str, revision: str = "") -> Iterator[Tree]:
    """The files of a revision, or of the working tree of the repository at `root`, until the block ends.

    Raises UsageError for a directory without a repository, or a revision that is not known or lacks `path`.
    """
    with tempfile.TemporaryDirectory(prefix="threezone-check-") as directory:
        files = Path(directory, "files")
        files.mkdir()
        with step("copy the files that Flux gets") as running:
            if revision:
                commit = repository.head(root, path, revision)
                delivered, label = commit.path, f"commit {commit.sha[:7]}"
                with push_repository(root, commit.sha) as git:
                    git.write_files(commit.sha, files)
                    left_out = _leave_out(git, files, Path(directory, "ignored"))
            else:
                delivered, label = _copy(root, path, files)
                git = Own(Path(directory, "ignored.git"))
                git.init()
                left_out = _leave_out(git, files, Path(directory, "ignored"))
            running.result = label
        yield Tree(files, delivered, label, left_out)


def _copy(root: Path, path: str, target: Path) -> tuple[str, str]:
    """Copy the working tree. Returns the delivered path and a label, which says how many files are not committed."""
    layout = Checkout(root).layout()
    checkout = Checkout(layout.top)
    for name in checkout.files():
        source, copy = layout.top / name, target / name
        if source.is_symlink():
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.symlink_to(source.readlink())
        elif source.is_file():
            copy.parent.mkdir(parents=True, exist_ok=True)
            with suppress(FileNotFoundError):  # deleted in the meantime
                shutil.copyfile(source, copy)
    changed = len(checkout.changed("."))
    more = f", with {changed} changes that are not committed" if changed else ""
    return f"{layout.prefix}{path}", f"the working tree{more}"


def _leave_out(git: Own, files: Path, patterns: Path) -> frozenset[str]:
    """Remove what source-controller does not package: links and ignored files (fluxcd/pkg, artifact/storage).

    Any repository does: git only compares the files with the patterns.
    """
    links = [each for each in files.rglob("*") if each.is_symlink()]
    write_atomic(patterns, "\n".join(IGNORED))
    gone = {str(link.relative_to(files)) for link in links} | set(git.ignored(files, patterns, IGNORE_FILE))
    for name in gone:
        (files / name).unlink(missing_ok=True)
        for parent in (files / name).parents:  # a package of files has no empty directories
            if parent == files or any(parent.iterdir()):
                break
            parent.rmdir()
    return frozenset(gone)
