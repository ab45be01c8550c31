"""Add-ons as commits have them: directories of manifests, and a line in the kustomization that Flux reconciles.

Pure but for the files themselves: what stands in the manifests, and the same file with that line or without it.
"""

from __future__ import annotations

import os
import re
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
    import yaml

    try:
        document: Any = yaml.safe_load(text) or {}
        return tuple(str(each) for each in document.get("resources") or ())
    except (yaml.YAMLError, AttributeError, TypeError) as error:
        raise UsageError("the kustomization is not valid", evidence=str(error), fix="correct it") from None


def with_resources(text: str, wanted: Sequence[str]) -> str:
    """The same file with these resources at the end of its list, where they are missing; everything else stays.

    Raises UsageError where the list is written in a way that is not understood: then a person has to add the line.
    """
    before = declared(text)
    lacking = [each for each in wanted if each not in before]
    if not lacking:
        return text
    lines = text.splitlines()
    if lines and not before and not any(_is_key(each) for each in lines):
        lines.append("resources:")
    at, indent = _end(lines)
    lines[at:at] = [f"{indent}- {each}" for each in lacking]
    return _checked("\n".join(lines) + "\n", (*before, *lacking), lacking)


def without_resources(text: str, gone: Sequence[str]) -> str:
    """The same file without these resources. Raises UsageError where one cannot be taken out line by line."""
    before = declared(text)
    left = [each for each in before if each not in gone]
    if len(left) == len(before):
        return text
    lines = [each for each in text.splitlines() if _item(each) not in gone]
    return _checked("\n".join(lines) + "\n", left, gone)


def _checked(text: str, wanted: Sequence[str], changed: Sequence[str]) -> str:
    if list(declared(text)) != list(wanted):
        raise UsageError(
            f"the kustomization is not written as a plain list: {', '.join(changed)} cannot be changed in it",
            fix="change its resources by hand",
        )
    return text


def _is_key(text: str) -> bool:
    return re.fullmatch(r"resources:\s*(#.*)?", text) is not None


def _item(text: str) -> str:
    """The item on a line of a list, "" when the line has none."""
    found = re.fullmatch(r"\s*-\s+[\"']?([^\"'#]+?)[\"']?\s*(#.*)?", text)
    return found[1] if found else ""


def _end(lines: Sequence[str]) -> tuple[int, str]:
    """Behind which line the list of resources ends, and how its items are indented."""
    start = next((number for number, each in enumerate(lines) if _is_key(each)), None)
    if start is None:
        raise UsageError("the kustomization has no list of resources", fix="write one: resources: on a line of its own")
    at, indent = start + 1, "  "
    for number in range(start + 1, len(lines)):
        text = lines[number]
        if _item(text):
            at, indent = number + 1, text[: len(text) - len(text.lstrip())]
        elif text.strip() and not text.lstrip().startswith("#"):
            break
    return at, indent
