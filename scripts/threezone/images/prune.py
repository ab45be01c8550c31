"""Remove our images and cache directories that no cluster and no lab here uses.

An image is ours when it has our label and one of our names. A label alone is not enough: images built from ours
inherit it.
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

# Images that take seconds to build are removed when the lab uses newer ones; those that take minutes with `everything`.
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
class ImageName:
    """A name of an image with our label: repository and tag, the image's id and bytes, and its cluster."""

    repository: str
    tag: str
    id: str
    size: int
    owner: str = ""

    @property
    def reference(self) -> str:
        """The name as the engine spells it."""
        return f"{self.repository}:{self.tag}"


def observe() -> tuple[ImageName, ...]:
    """All names of all images with our label."""
    names = []
    for document in images.inspect(*images.ids(f"label={labels.MANAGED}=true")):
        owner = (document["Config"].get("Labels") or {}).get(labels.OWNER, "")
        for name in document.get("RepoTags") or ():
            repository, _, tag = name.rpartition(":")
            names.append(ImageName(repository, tag, document["Id"], int(document["Size"]), owner))
    return tuple(sorted(names, key=lambda name: name.reference))


def used() -> set[str]:
    """The ids of the images of all containers, running or not."""
    return {container["Image"] for container in containers.inspect(*(row[0] for row in containers.ls()))}


def plan_images(
    names: Iterable[ImageName], current: set[str], in_use: set[str], clusters: set[str], *, everything: bool
) -> list[Step]:
    """The steps that remove images. They ask. Pure.

    `current` are the names that the lab here uses, `in_use` the ids that containers use, `clusters` those that exist.
    With `everything`, unused images are removed even if the lab here would have to build or fetch them again.
    """
    steps = []
    for name in names:
        if name.repository not in QUICK | SLOW or name.id in in_use or name.owner in clusters:
            continue
        if name.owner:
            why = f"the cluster {name.owner} is gone"
        elif everything:
            why = "no cluster uses it now"
        elif name.repository in QUICK and name.reference not in current:
            why = "the lab uses another one now"
        else:
            continue
        sentence = f"remove the image {name.reference} (at most {name.size / 1e6:.0f} MB; {why})"
        command = f"docker image rm {name.reference}"
        steps.append(Step(StepKind.REMOVE_IMAGE, sentence, command, asks=True, target=name.reference))
    return steps


def plan_cache(*, everything: bool) -> list[Step]:
    """The steps that remove leftovers of killed runs from the cache. They ask.

    With `everything`, files that only speed up the next compilation are removed too.
    """
    home = paths.cache_dir()
    directories = dict.fromkeys(_abandoned(home), "of an interrupted run")
    if everything and (home / COMPILED).is_dir():
        directories[home / COMPILED] = "Go's modules and compiled packages"
    steps = []
    for path, what in directories.items():
        if size := _size(path):
            sentence = f"remove {path} ({size / 1e6:.0f} MB; {what})"
            steps.append(Step(StepKind.REMOVE_PATH, sentence, f"rm -r {path}", asks=True, target=str(path)))
    return steps


def _abandoned(home: Path) -> list[Path]:
    """Unfinished directories of killed processes: nobody holds their lock."""
    scratch = [(path, path.name) for path in (home / "tmp").glob("*")]
    unfinished = [(path, f"{path.parent.name}-{path.name[1:].rpartition('.')[0]}") for path in home.glob("*/.*.*")]
    locks = home / "locks"
    return [path for path, lock in (*scratch, *unfinished) if path.is_dir() and not _locked(locks / f"{lock}.lock")]


def _locked(lock: Path) -> bool:
    """Whether a process holds this lock."""
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
    output = process.run(["du", "-sk", path], timeout=300, check=False).stdout.split()
    return int(output[0]) * 1024 if output else 0


def apply(steps: Sequence[Step]) -> None:
    """Carry out a plan. Names are removed without force, so the engine keeps every image that a container uses."""
    names = [planned.target for planned in steps if planned.kind is StepKind.REMOVE_IMAGE]
    with step(f"remove {len(names)} image{'' if len(names) == 1 else 's'}"):
        images.remove(*names)
        engine_images.prune()
    for planned in steps:
        if planned.kind is StepKind.REMOVE_PATH:
            with step(planned.sentence):
                shutil.rmtree(planned.target, ignore_errors=True)
