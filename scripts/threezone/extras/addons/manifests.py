"""Add-ons as commits have them: directories of manifests, and a line in the kustomization that Flux reconciles.

Pure but for the files themselves: what stands in the manifests, and the same file with that line or without it.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from threezone.clients.kubernetes.api import Json
from threezone.core.errors import UsageError

HOME = "local/gitops/addons"
FILES = ("kustomization.yaml", "kustomization.yml", "Kustomization")


@dataclass(frozen=True)
class Needed:
    """What a cluster fetches by itself: an image by its reference, or a chart by its name, version and address."""

    kind: str
    name: str
    host: str  # an address there that tells whether it can be reached

    @property
    def words(self) -> str:
        """The kind and the name."""
        return f"the {self.kind} {self.name}"


def needed(objects: Iterable[Json]) -> tuple[Needed, ...]:
    """The images of the objects' pods, and the charts of Helm releases, each once."""
    objects = list(objects)
    repositories = {
        each["metadata"]["name"]: each["spec"]["url"] for each in objects if each["kind"] == "HelmRepository"
    }
    found: dict[str, Needed] = {}
    for each in objects:
        if each["kind"] == "HelmRelease":
            chart = each["spec"]["chart"]["spec"]
            url = str(repositories.get(chart["sourceRef"]["name"], ""))
            name = f"{chart['chart']} {chart['version']} of {url}"
            found[name] = Needed("chart", name, f"{url.rstrip('/')}/index.yaml")
        for image in _images(each):
            found[image] = Needed("image", image, f"https://{_registry(image)}/v2/")
    return tuple(found.values())


def _images(item: Json) -> list[str]:
    pod = ((item.get("spec") or {}).get("template") or {}).get("spec") or {}
    containers = [*(pod.get("initContainers") or []), *(pod.get("containers") or [])]
    return [str(container["image"]) for container in containers]


def _registry(image: str) -> str:
    """The registry of an image's reference; Docker Hub's API has a host of its own."""
    host, slash, _ = image.partition("/")
    if not slash or not ("." in host or ":" in host):
        host = "docker.io"
    return "registry-1.docker.io" if host == "docker.io" else host


def kustomization(directory: Path) -> Path:
    """The kustomization of a directory. Raises UsageError when it has none."""
    for name in FILES:
        if (directory / name).is_file():
            return directory / name
    raise UsageError(
        f"{directory} has no kustomization: an add-on is declared by a line in it",
        fix="make one, as local/gitops/clusters/local of threezone has it",
    )


def line(file: Path, target: Path) -> str:
    """What names `target` in the kustomization `file`: the way from its directory."""
    return os.path.relpath(target, file.parent)


def declared(text: str) -> tuple[str, ...]:
    """The resources of a kustomization. Raises UsageError for what is none."""
    return tuple(str(each.value) for each in _resources(text)[1])


def _resources(text: str) -> tuple[Any, Any, Any]:
    """The nodes of `resources`, which know their places in `text`: the key or None, the items, the value or None."""
    import yaml

    from threezone.core import safe_yaml

    try:
        root = next(iter(safe_yaml.compose_all(text)), None)
        pairs = {str(key.value): (key, value) for key, value in root.value} if root else {}
    except (yaml.YAMLError, TypeError, ValueError) as error:
        raise UsageError("the kustomization is not valid", evidence=str(error), fix="correct it") from None
    key, listed = pairs.get("resources", (None, None))
    if isinstance(listed, yaml.SequenceNode):
        return key, listed.value, listed
    if listed is None or listed.tag.endswith(":null"):
        return key, [], None
    raise UsageError("the kustomization is not valid: its resources are no list", fix="correct it")


def with_resources(text: str, wanted: Sequence[str]) -> str:
    """The same file with these resources at the end of its list, where they are missing; everything else stays.

    Raises UsageError where the list is written in a way that is not understood: then a person has to add the line.
    """
    before = declared(text)
    lacking = [each for each in wanted if each not in before]
    if not lacking:
        return text
    key, items, listed = _resources(text)
    if listed and not items:  # resources: []
        text = text[: listed.start_mark.index].rstrip() + text[listed.end_mark.index :]
    lines = text.splitlines()
    position, indent = len(lines) + 1, "  "
    if key is None:
        lines.append("resources:")
    elif items:
        position, indent = items[-1].end_mark.line + 1, " " * listed.start_mark.column
    else:
        position = key.end_mark.line + 1
    lines[position:position] = [f"{indent}- {each}" for each in lacking]
    return _checked(lines, (*before, *lacking), lacking)


def without_resources(text: str, gone: Sequence[str]) -> str:
    """The same file without these resources. Raises UsageError where one cannot be taken out line by line."""
    before = declared(text)
    left = [each for each in before if each not in gone]
    if len(left) == len(before):
        return text
    leaving = {each.start_mark.line for each in _resources(text)[1] if each.value in gone}
    lines = [line for number, line in enumerate(text.splitlines()) if number not in leaving]
    return _checked(lines, left, gone)


def _checked(lines: Sequence[str], wanted: Sequence[str], changed: Sequence[str]) -> str:
    text = "\n".join(lines) + "\n"
    with contextlib.suppress(UsageError):
        if list(declared(text)) == list(wanted):
            return text
    raise UsageError(
        f"the kustomization is not written as a plain list: {', '.join(changed)} cannot be changed in it",
        fix="change its resources by hand",
    )
