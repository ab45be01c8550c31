"""The Git server's repositories kept on this machine while their cluster is made anew, and put back into the new one.

A rescue is a directory of bare repositories with a list of their refs. It is complete once it has its final name, and
it is removed only when the new Git server has every ref of it.
"""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from threezone.clients import kubectl
from threezone.clients.git.checkout import Checkout
from threezone.clients.git.command import refs
from threezone.clients.git.own import Own
from threezone.clients.kubectl import Forward
from threezone.cluster.lab import Lab
from threezone.core import paths
from threezone.core.errors import DeliveryError
from threezone.core.events import note, step
from threezone.delivery import git_server

LIST = paths.RESCUE_LIST
TAKING = ".taking"
TRIES = 5  # how often is fetched again because somebody pushed meanwhile
THERE = "refs/threezone-there/"  # what the new Git server has, beside what was rescued
BESIDE = "rescued"  # the part of a name under which a ref is put whose own name has other commits by now


@dataclass(frozen=True)
class Rescue:
    """A complete rescue: where it is, and every repository's refs."""

    path: Path
    repositories: Mapping[str, Mapping[str, str]]


def place(key: str) -> Path:
    """Where a lab's rescues are kept: beside its other state, which `down` removes; they stay."""
    return paths.cluster_dir(key) / paths.RESCUED


def pending(key: str) -> tuple[Rescue, ...]:
    """The rescues of a lab that have not been put back, oldest first."""
    found = []
    for path in sorted(place(key).glob("[0-9]*")):
        try:
            found.append(Rescue(path, json.loads((path / LIST).read_text())["repositories"]))
        except FileNotFoundError:  # put back already; only its remains are left
            shutil.rmtree(path, ignore_errors=True)
    return tuple(found)


def names(key: str) -> tuple[str, ...]:
    """The repositories that are to be put back."""
    return tuple(dict.fromkeys(name for each in pending(key) for name in each.repositories))


def sentence(key: str) -> str:
    """What is kept and where; "" when there is nothing."""
    if not (kept := pending(key)):
        return ""
    where = ", ".join(str(each.path) for each in kept)
    return f"what the Git server held ({', '.join(names(key))}) is kept in {where}; ./run invoke up puts it back"


def served(lab: Lab) -> tuple[str, ...]:
    """The repositories that the cluster's Git server serves; none where there is none of ours."""
    if not git_server.is_here(lab.api):
        return ()
    return git_server.served(lab.api.get(f"{git_server.DEPLOYMENTS}/{git_server.NAME}"))


def fetch(lab: Lab, repositories: Sequence[str], into: Path) -> dict[str, dict[str, str]]:
    """Fetch everything of these repositories into bare ones, `into/NAME.git`; returns their refs with their commits.

    Raises DeliveryError when the Git server does not answer, UsageError for a name that is no file name of ours.
    """
    named = [git_server.repository_name(name) for name in repositories]
    with _forwarded(lab) as forward:
        return {name: _fetch(_url(forward.address, name), into / f"{name}.git") for name in named}


def _forwarded(lab: Lab) -> AbstractContextManager[Forward]:
    where = (git_server.NAMESPACE, f"service/{git_server.NAME}", 80)
    return kubectl.forwarded(lab.tools["kubectl"], lab.context, *where)


def _url(address: str, name: str) -> str:
    return f"http://{address}/{name}.git"


def _fetch(url: str, bare: Path) -> dict[str, str]:
    """Fetch until what came is what is there: somebody may push meanwhile."""
    own = Own(bare)
    own.init()
    for _ in range(TRIES):
        own.fetch(url, "+refs/*:refs/*")
        if (held := own.refs()) == refs(own.remote_refs(url, "--refs").text):
            return held
    raise DeliveryError(
        f"the repository {bare.stem} changed with every look", fix="let no one push to it meanwhile, and try again"
    )


def take(lab: Lab) -> Rescue | None:
    """Keep what the Git server holds, for good until it is put back; None where it holds nothing.

    Nobody else may read it. What an interrupted run left half-made is made anew.
    """
    repositories = served(lab)
    if not repositories:
        return None
    with step("keep what the Git server holds") as running:
        kept = paths.make(place(lab.key))
        making = kept / TAKING
        shutil.rmtree(making, ignore_errors=True)
        making.mkdir(mode=0o700)
        found = fetch(lab, repositories, making)
        git_server.keep(making / LIST, json.dumps({"cluster": lab.name, "repositories": found}))
        _settle_on_disk(making)
        stamp = time.strftime("%Y%m%d-%H%M%S")
        final = next(path for n in range(1000) if not (path := kept / f"{stamp}-{n:03}").exists())
        making.rename(final)
        running.result = f"{', '.join(repositories)} in {final}"
    return Rescue(final, found)


def _settle_on_disk(directory: Path) -> None:
    """Have everything on the disk before the cluster goes, for a machine may lose its power; and for no other eyes."""
    for path in (*directory.rglob("*"), directory):
        path.chmod(path.stat().st_mode & 0o700)
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def put_back(lab: Lab) -> None:
    """Put every rescue into the Git server, and remove it when all of it is there. Nothing there is overwritten."""
    for rescued in pending(lab.key):
        with step("put back what the Git server held") as running, _forwarded(lab) as forward:
            secret = git_server.password(lab.api, lab.key)
            beside: list[str] = []
            for name, wanted in rescued.repositories.items():
                bare = rescued.path / f"{name}.git"
                aside = _of_another_project(lab, name, bare, wanted)
                beside += _put(_url(forward.address, name), bare, wanted, secret, aside)
            running.result = ", ".join(rescued.repositories)
            for line in beside:
                note(line)
        (rescued.path / LIST).unlink()
        shutil.rmtree(rescued.path, ignore_errors=True)
    paths.remove_empty(place(lab.key))


def _of_another_project(lab: Lab, name: str, bare: Path, wanted: Mapping[str, str]) -> tuple[str, ...]:
    """The branch that Flux follows, where its history has nothing in common with the checkout's.

    A rescue may have waited for long, and the lab of this name be another project's by now: its commits come beside.
    """
    gitops = lab.settings.gitops
    branch = f"refs/heads/{gitops.branch}"
    own = Own(bare)
    if name != gitops.repository or branch not in wanted or not own.lend(lab.root):
        return ()
    head = Checkout(lab.root).revision("HEAD").text.strip()
    return (branch,) if own.unrelated(head or "HEAD", wanted[branch]) else ()


def _put(url: str, bare: Path, wanted: Mapping[str, str], secret: str, aside: Collection[str]) -> list[str]:
    """One repository; returns a line for each ref that had to go beside its own name."""
    own = Own(bare)
    own.fetch(url, f"+refs/*:{THERE}*")
    there = {f"refs/{ref.removeprefix(THERE)}": sha for ref, sha in own.refs().items() if ref.startswith(THERE)}
    pushes = refspecs(wanted, there, own.follows, aside)
    if pushes:
        answer = own.push(url, [f"{sha}:{ref}" for ref, sha in pushes.items()], user=git_server.USER, password=secret)
        if not answer.ok:
            raise DeliveryError(
                f"what was rescued of {bare.stem} could not be put back; it stays in {bare}",
                evidence=answer.words,
                fix="./run invoke up tries again",
            )
    return [f"{bare.stem}: {ref} is as it was before, beside what is there now" for ref in pushes if ref not in wanted]


def refspecs(
    wanted: Mapping[str, str],
    there: Mapping[str, str],
    follows: Callable[[str, str], bool],
    beside: Collection[str] = (),
) -> dict[str, str]:
    """What to push: a ref by its own name, or beside it where that has other commits by now; by the name to push to.

    `follows(newer, older)` says whether a commit has another in its history; refs in `beside` never go by their own
    name. Pure.
    """
    pushes = {}
    for ref, sha in wanted.items():
        now = there.get(ref)
        if now == sha or (now and follows(now, sha)):
            continue
        if ref not in beside and (now is None or (ref.startswith("refs/heads/") and follows(sha, now))):
            pushes[ref] = sha
            continue
        kind, _, name = ref.removeprefix("refs/").partition("/")
        asides = (f"refs/{kind}/{BESIDE}{number or ''}/{name}" for number in range(1000))
        aside = next(each for each in asides if there.get(each, sha) == sha)
        if aside not in there:
            pushes[aside] = sha
    return pushes
