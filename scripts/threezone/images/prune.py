"""What of ours can go: images that no cluster and no lab here uses, and what killed runs left in the cache.

An image is ours when it has our label and one of our names. A label alone is not enough: whoever builds on an image of
ours inherits it.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from threezone.clients.docker import containers, images
from threezone.core import labels, paths, process
from threezone.core.events import step
from threezone.core.plan import Step, StepKind
from threezone.images import engine_images

# What is made anew in seconds goes when it is not the newest; what takes minutes goes only when everything goes.
QUICK = frozenset(f"threezone/{name}" for name in ("base", "git-server", "hello", "part", "preload", "preloaded"))
SLOW = frozenset(
    {
        *(f"threezone/{name}" for name in ("node", "registry", "probe")),
        *(f"ghcr.io/fluxcd/{name}-controller" for name in ("source", "kustomize", "helm")),
        "kindest/haproxy",
    }
)
COMPILED = "go"  # in the cache: Go's modules and compiled packages


@dataclass(frozen=True)
class Named:
    """A name of an image with our label: its repository and tag, the image's id, bytes, and the cluster it is for."""

    repository: str
    tag: str
    id: str
    size: int
    owner: str = ""

    @property
    def reference(self) -> str:
        """The name as the engine takes it."""
        return f"{self.repository}:{self.tag}"


@dataclass(frozen=True)
class Left:
    """Something in the cache that nobody holds: where it is, what it is, and its bytes."""

    path: Path
    what: str
    size: int


def observe() -> tuple[Named, ...]:
    """Every name of every image with our label."""
    found = []
    for document in images.inspect(*images.ids(f"label={labels.MANAGED}=true")):
        owner = (document["Config"].get("Labels") or {}).get(labels.OWNER, "")
        for name in document.get("RepoTags") or ():
            repository, _, tag = name.rpartition(":")
            found.append(Named(repository, tag, document["Id"], int(document["Size"]), owner))
    return tuple(sorted(found, key=lambda each: each.reference))


def used() -> set[str]:
    """The ids of all images that a container, running or not, was made from."""
    return {each["Image"] for each in containers.inspect(*(row[0] for row in containers.ls()))}


def stale(
    found: Iterable[Named], current: set[str], in_use: set[str], clusters: set[str], *, everything: bool
) -> list[tuple[Named, str]]:
    """Which names can go, and why. Pure.

    `current` are the names that the lab here uses, `in_use` the ids that containers use, `clusters` those that exist.
    With `everything` what the lab here would only make or fetch again goes too; what a container uses never does.
    """
    chosen = []
    for each in found:
        if each.repository not in QUICK | SLOW or each.id in in_use:
            continue
        if each.owner:
            if each.owner not in clusters:
                chosen.append((each, f"the cluster {each.owner} is gone"))
        elif everything:
            chosen.append((each, "no cluster uses it now"))
        elif each.repository in QUICK and each.reference not in current:
            chosen.append((each, "the lab uses another one now"))
    return chosen


def leftovers(*, everything: bool) -> list[Left]:
    """What killed runs left in the cache; with `everything` also what is only needed to compile again."""
    home = paths.cache_dir()
    found = [Left(path, "of an interrupted run", _size(path)) for path in _abandoned(home)]
    if everything and (home / COMPILED).is_dir():
        found.append(Left(home / COMPILED, "Go's modules and compiled packages", _size(home / COMPILED)))
    return [each for each in found if each.size]


def _abandoned(home: Path) -> list[Path]:
    """Half-made things whose maker is dead: nobody holds the lock under which they are made."""
    scratch = [(path, path.name) for path in (home / "tmp").glob("*")]
    half = [(path, f"{path.parent.name}-{path.name[1:].rpartition('.')[0]}") for path in home.glob("*/.*.*")]
    return [path for path, lock in (*scratch, *half) if path.is_dir() and not _held(home / "locks" / f"{lock}.lock")]


def _held(lock: Path) -> bool:
    """Whether somebody works under this lock now."""
    from filelock import FileLock, Timeout

    if not lock.is_file():
        return False
    try:
        with FileLock(lock, timeout=0):
            return False
    except Timeout:
        return True


def _size(path: Path) -> int:
    """Bytes on disk below a directory."""
    seen = process.run(["du", "-sk", path], timeout=300, check=False).stdout.split()
    return int(seen[0]) * 1024 if seen else 0


def plan(images: Sequence[tuple[Named, str]], left: Sequence[Left]) -> tuple[Step, ...]:
    """What is to be removed, with the question. Pure."""
    actions = [
        Step(
            StepKind.REMOVE_IMAGE,
            f"remove the image {each.reference} ({each.size / 1e6:.0f} MB at most; {why})",
            f"docker image rm {each.reference}",
            asks=True,
            target=each.reference,
        )
        for each, why in images
    ]
    actions += [
        Step(
            StepKind.REMOVE_PATH,
            f"remove {each.path} ({each.size / 1e6:.0f} MB; {each.what})",
            f"rm -r {each.path}",
            asks=True,
            target=str(each.path),
        )
        for each in left
    ]
    return tuple(actions)


def apply(actions: Sequence[Step]) -> None:
    """Carry it out. The engine keeps what a container uses, whatever the plan says: names are removed, never forced."""
    names = [action.target for action in actions if action.kind is StepKind.REMOVE_IMAGE]
    with step(f"remove {len(names)} image{'' if len(names) == 1 else 's'}"):
        images.remove(*names)
        engine_images.prune()
    for action in actions:
        if action.kind is StepKind.REMOVE_PATH:
            with step(action.sentence):
                shutil.rmtree(action.target, ignore_errors=True)
