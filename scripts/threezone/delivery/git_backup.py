"""Back up the Git server's repositories on this machine while their cluster is recreated, and restore them.

A backup is a directory of bare repositories with a list of their refs. It is complete once it has its final name, and
is removed only when the new Git server has every ref in it.
"""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from threezone.clients.git.checkout import Checkout
from threezone.clients.git.command import refs
from threezone.clients.git.own import Own
from threezone.cluster.lab import Lab
from threezone.core import paths
from threezone.core.errors import DeliveryError
from threezone.core.events import note, step
from threezone.delivery import git_server

LIST = paths.BACKUP_LIST
UNFINISHED = ".taking"
TRIES = 5  # how often to fetch again because somebody pushed meanwhile
ON_SERVER = "refs/threezone-there/"  # the new Git server's refs, in the backup's repository
RENAMED = "rescued"  # part of a ref's new name where its own name has other commits now


@dataclass(frozen=True)
class Backup:
    """A complete backup: its directory, and every repository's refs."""

    path: Path
    repositories: Mapping[str, Mapping[str, str]]


def directory(key: str) -> Path:
    """The directory of a lab's backups, beside its other state; `down` keeps them."""
    return paths.cluster_dir(key) / paths.GIT_BACKUPS


def pending(key: str) -> tuple[Backup, ...]:
    """The backups of a lab that are not restored yet, oldest first."""
    backups = []
    for path in sorted(directory(key).glob("[0-9]*")):
        try:
            backups.append(Backup(path, json.loads((path / LIST).read_text())["repositories"]))
        except FileNotFoundError:  # restored, and killed before it was removed
            shutil.rmtree(path, ignore_errors=True)
    return tuple(backups)


def repositories(key: str) -> tuple[str, ...]:
    """The repositories in a lab's backups."""
    return tuple(dict.fromkeys(name for backup in pending(key) for name in backup.repositories))


def summary(key: str) -> str:
    """A sentence that names a lab's backups; "" when there are none."""
    if not (backups := pending(key)):
        return ""
    where = ", ".join(str(backup.path) for backup in backups)
    names = ", ".join(repositories(key))
    return f"a backup of the Git server's repositories ({names}) is in {where}; ./run invoke up restores it"


def fetch(lab: Lab, names: Sequence[str], into: Path) -> dict[str, dict[str, str]]:
    """Fetch everything in these repositories into bare ones, `into/NAME.git`. Returns their refs with their commits.

    Raises DeliveryError when the Git server does not answer, UsageError for a name that is not a repository's.
    """
    checked = [git_server.repository_name(name) for name in names]
    with git_server.forwarded(lab) as forward:
        return {name: _fetch(_url(forward.address, name), into / f"{name}.git") for name in checked}


def _url(address: str, name: str) -> str:
    return f"http://{address}/{name}.git"


def _fetch(url: str, bare: Path) -> dict[str, str]:
    """Fetch until the server has nothing else: somebody may push meanwhile."""
    own = Own(bare)
    own.init()
    for _ in range(TRIES):
        own.fetch(url, "+refs/*:refs/*")
        if (fetched := own.refs()) == refs(own.remote_refs(url, "--refs").text):
            return fetched
    raise DeliveryError(
        f"the repository {bare.stem} changed during each of {TRIES} fetches",
        fix="let no one push to it meanwhile, and try again",
    )


def create(lab: Lab) -> Backup | None:
    """Back up the Git server's repositories; None where it has none.

    Only this user can read the backup. An unfinished one of an interrupted run is replaced.
    """
    names = git_server.served(lab.api)
    if not names:
        return None
    with step("back up the Git server's repositories") as running:
        backups = paths.make(directory(lab.key))
        unfinished = backups / UNFINISHED
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir(mode=0o700)
        fetched = fetch(lab, names, unfinished)
        git_server.write_private(unfinished / LIST, json.dumps({"cluster": lab.name, "repositories": fetched}))
        _sync(unfinished)
        stamp = time.strftime("%Y%m%d-%H%M%S")
        final = next(path for n in range(1000) if not (path := backups / f"{stamp}-{n:03}").exists())
        unfinished.rename(final)
        running.result = f"{', '.join(names)} in {final}"
    return Backup(final, fetched)


def _sync(root: Path) -> None:
    """Make everything private, and write it to the disk: the cluster is deleted next."""
    for path in (*root.rglob("*"), root):
        path.chmod(path.stat().st_mode & 0o700)
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def restore(lab: Lab) -> None:
    """Push every backup to the Git server, and remove it when all of it is there. Nothing there is overwritten."""
    for backup in pending(lab.key):
        with step("restore the Git server's repositories") as running, git_server.forwarded(lab) as forward:
            secret = git_server.password(lab.api, lab.key)
            renamed: list[str] = []
            for name, wanted in backup.repositories.items():
                bare = backup.path / f"{name}.git"
                keep = _of_another_project(lab, name, bare, wanted)
                renamed += _push(_url(forward.address, name), bare, wanted, secret, keep)
            running.result = ", ".join(backup.repositories)
            for line in renamed:
                note(line)
        (backup.path / LIST).unlink()
        shutil.rmtree(backup.path, ignore_errors=True)
    paths.remove_empty(directory(lab.key))


def _of_another_project(lab: Lab, name: str, bare: Path, wanted: Mapping[str, str]) -> tuple[str, ...]:
    """The branch that Flux follows, if its history has nothing in common with the checkout's.

    A lab of this name may belong to another project now: then the backup's commits get another name.
    """
    gitops = lab.settings.gitops
    branch = f"refs/heads/{gitops.branch}"
    own = Own(bare)
    if name != gitops.repository or branch not in wanted or not own.borrow_objects(lab.root):
        return ()
    head = Checkout(lab.root).revision("HEAD").text.strip()
    return (branch,) if own.unrelated(head or "HEAD", wanted[branch]) else ()


def _push(url: str, bare: Path, wanted: Mapping[str, str], secret: str, rename: Collection[str]) -> list[str]:
    """Push one repository. Returns a line for each ref that had to be renamed."""
    own = Own(bare)
    own.fetch(url, f"+refs/*:{ON_SERVER}*")
    existing = {
        f"refs/{ref.removeprefix(ON_SERVER)}": sha for ref, sha in own.refs().items() if ref.startswith(ON_SERVER)
    }
    pushes = refspecs(wanted, existing, own.follows, rename)
    if pushes:
        answer = own.push(url, [f"{sha}:{ref}" for ref, sha in pushes.items()], user=git_server.USER, password=secret)
        if not answer.ok:
            raise DeliveryError(
                f"the backup of {bare.stem} could not be restored; it stays in {bare}",
                evidence=answer.words,
                fix="./run invoke up tries again",
            )
    return [f"{bare.stem}: {ref} holds the backup" for ref in pushes if ref not in wanted]


def refspecs(
    wanted: Mapping[str, str],
    existing: Mapping[str, str],
    follows: Callable[[str, str], bool],
    rename: Collection[str] = (),
) -> dict[str, str]:
    """Return the commits to push, by ref: its own name, or a new one where that has other commits now.

    `follows(newer, older)` says whether a commit has another in its history; refs in `rename` never keep their own
    name. Pure.
    """
    pushes = {}
    for ref, sha in wanted.items():
        now = existing.get(ref)
        if now == sha or (now and follows(now, sha)):
            continue
        if ref not in rename and (now is None or (ref.startswith("refs/heads/") and follows(sha, now))):
            pushes[ref] = sha
            continue
        kind, _, name = ref.removeprefix("refs/").partition("/")
        names = (f"refs/{kind}/{RENAMED}{number or ''}/{name}" for number in range(1000))
        free = next(name for name in names if existing.get(name, sha) == sha)
        if free not in existing:
            pushes[free] = sha
    return pushes
