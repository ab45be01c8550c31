"""Find the kustomization that says which image the delivered path runs.

It follows what Flux reads: resources, components and bases of each kustomization, the manifests of a directory without
one (Flux generates it), and the paths of Flux's own Kustomizations.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from threezone.core.errors import UsageError
from threezone.core.files import read_text
from threezone.delivery.check.images import PODS
from threezone.delivery.check.model import clean_path, id_of, is_kustomization
from threezone.delivery.release import edit

FILES = ("kustomization.yaml", "kustomization.yml", "Kustomization")
LISTS = ("resources", "components", "bases")


@dataclass(frozen=True)
class Place:
    """A kustomization and the name of an image. `declared`: it has an entry; else its own manifests use the image."""

    file: Path
    image: str
    declared: bool


@dataclass
class _Walk:
    top: Path
    places: list[Place] = field(default_factory=list)
    seen: set[Path] = field(default_factory=set)
    loose: set[str] = field(default_factory=set)  # images of manifests that no kustomization lists


def choose(top: Path, start: Path, image: str = "", file: Path | None = None) -> Place:
    """The place of `image` ("": the only image) in what is delivered from `start`, in the repository `top`.

    An entry of `images:` counts before a use. Raises UsageError with the choices when it is not exactly one.
    """
    walk = _Walk(top.resolve())
    _directory(walk, start.resolve())
    places = [place for place in walk.places if file is None or place.file == file.resolve()]
    name = image or _only_image(places, start)
    found = [place for place in places if place.image == name]
    found = [place for place in found if place.declared] or found
    if len(found) == 1:
        return found[0]
    shown = [str(place.file.relative_to(walk.top)) for place in found]
    if found:
        raise UsageError(
            f"{len(found)} kustomizations have the image {name}",
            evidence="\n".join(shown),
            fix=f"choose one: --kustomization {shown[0]}",
        )
    known = sorted({place.image for place in walk.places})
    if name in walk.loose:
        raise UsageError(
            f"no kustomization has the image {name}: its manifest is in a directory without a kustomization.yaml",
            fix="write one there, with the manifests as its resources",
        )
    raise UsageError(
        f"what is delivered from {start} does not run the image {name}" + (f" by {file}" if file else ""),
        evidence=f"images there: {', '.join(known) or 'none'}",
        fix=f"--image {known[0]}" if known else "name the image in a manifest first, and commit it",
    )


def _only_image(places: Sequence[Place], start: Path) -> str:
    """The name of the only image with an entry, or else of the only image. Raises UsageError with the choices."""
    for among in ([place for place in places if place.declared], places):
        names = sorted({place.image for place in among})
        if len(names) == 1:
            return names[0]
        if names:
            raise UsageError(
                f"what is delivered from {start} runs {len(names)} images",
                evidence="\n".join(names),
                fix=f"choose the one that you build: --image {names[0]}",
            )
    raise UsageError(f"what is delivered from {start} runs no image", fix="commit a manifest with a container first")


def _directory(walk: _Walk, directory: Path) -> None:
    """Look at a directory as Flux does."""
    if directory in walk.seen or not directory.is_relative_to(walk.top) or not directory.is_dir():
        return
    walk.seen.add(directory)
    file = next((directory / name for name in FILES if (directory / name).is_file()), None)
    if file:
        _kustomization(walk, file)
        return
    for each in sorted(directory.iterdir()):
        if each.is_dir():
            _directory(walk, each)
        elif each.suffix in (".yaml", ".yml"):
            walk.loose.update(_manifest(walk, each))


def _kustomization(walk: _Walk, file: Path) -> None:
    text = read_text(file)
    declared = [str(entry.get("name")) for entry in edit.entries(text) if entry.get("name")]
    walk.places += [Place(file, name, declared=True) for name in declared]
    content = next(iter(_documents(text)), {})
    used: set[str] = set()
    for name in (str(each) for key in LISTS for each in content.get(key) or ()):
        target = (file.parent / name).resolve()
        if target.is_dir():
            _directory(walk, target)
        elif target.is_file():
            used |= _manifest(walk, target)
    walk.places += [Place(file, name, declared=False) for name in sorted(used - set(declared))]


def _manifest(walk: _Walk, file: Path) -> set[str]:
    """The names of the images in a file of manifests. The path of a Kustomization of Flux is followed."""
    found: set[str] = set()
    for item in _documents(read_text(file)):
        if is_kustomization(item):
            _directory(walk, walk.top / clean_path((item.get("spec") or {}).get("path")))
        found |= set(_images(item))
    return found


def _documents(text: str) -> list[dict[str, Any]]:
    import yaml

    from threezone.core import safe_yaml

    try:
        return [each for each in safe_yaml.load_all(text) if isinstance(each, dict)]
    except yaml.YAMLError:
        return []  # gitops.check names it


def _images(item: dict[str, Any]) -> Iterator[str]:
    pod: Any = item
    for name in PODS.get(id_of(item)[:2], ("",)):
        pod = pod.get(name) if isinstance(pod, dict) else None
    for part in ("initContainers", "containers"):
        for container in (pod.get(part) if isinstance(pod, dict) else None) or ():
            if isinstance(container, dict) and container.get("image"):
                yield name_of(str(container["image"]))


def name_of(image: str) -> str:
    """An image's name without its tag and its digest, as an entry of `images:` has it."""
    name = image.partition("@")[0]
    head, slash, last = name.rpartition("/")
    return f"{head}{slash}{last.partition(':')[0]}"
