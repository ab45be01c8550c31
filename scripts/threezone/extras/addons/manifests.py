"""Add-ons in commits: directories of manifests, and a line in the kustomization that Flux reconciles."""

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
class Artifact:
    """Something that a cluster fetches: an image by its reference, or a chart by its name, version and repository."""

    kind: str
    name: str
    url: str  # it answers when the artifact's host can be reached

    @property
    def title(self) -> str:
        """The kind and the name."""
        return f"the {self.kind} {self.name}"


def artifacts(objects: Iterable[Json]) -> tuple[Artifact, ...]:
    """The images of the objects' pods, and the charts of Helm releases, each once."""
    objects = list(objects)
    repositories = {
        item["metadata"]["name"]: item["spec"]["url"] for item in objects if item["kind"] == "HelmRepository"
    }
    by_name: dict[str, Artifact] = {}
    for item in objects:
        if item["kind"] == "HelmRelease":
            chart = item["spec"]["chart"]["spec"]
            url = str(repositories.get(chart["sourceRef"]["name"], ""))
            name = f"{chart['chart']} {chart['version']} of {url}"
            by_name[name] = Artifact("chart", name, f"{url.rstrip('/')}/index.yaml")
        pod = ((item.get("spec") or {}).get("template") or {}).get("spec") or {}
        for container in (*(pod.get("initContainers") or []), *(pod.get("containers") or [])):
            image = str(container["image"])
            by_name[image] = Artifact("image", image, f"https://{_registry(image)}/v2/")
    return tuple(by_name.values())


def _registry(image: str) -> str:
    """The registry of an image's reference; Docker Hub's API has a host of its own."""
    host, slash, _ = image.partition("/")
    if not slash or not ("." in host or ":" in host) or host == "docker.io":
        return "registry-1.docker.io"
    return host


def kustomization(directory: Path) -> Path:
    """The kustomization of a directory. Raises UsageError when it has none."""
    for name in FILES:
        if (directory / name).is_file():
            return directory / name
    raise UsageError(
        f"{directory} has no kustomization: an add-on is declared by a line in it",
        fix="write one like local/gitops/clusters/local in threezone's repository",
    )


def line(file: Path, target: Path) -> str:
    """The line for `target` in the kustomization `file`: the path from its directory."""
    return os.path.relpath(target, file.parent)


def declared(text: str) -> tuple[str, ...]:
    """The resources of a kustomization. Raises UsageError for other content."""
    return tuple(str(node.value) for node in _resources(text)[1])


def _resources(text: str) -> tuple[Any, Any, Any]:
    """The YAML nodes of `resources`, with their positions in `text`: the key or None, the items, the value or None."""
    import yaml

    from threezone.core import safe_yaml

    try:
        root = next(iter(safe_yaml.compose_all(text)), None)
        pairs = {str(key.value): (key, value) for key, value in root.value} if root else {}
    except (yaml.YAMLError, TypeError, ValueError) as error:
        raise UsageError("the kustomization is not valid", evidence=str(error), fix="correct it") from None
    key, value = pairs.get("resources", (None, None))
    if isinstance(value, yaml.SequenceNode):
        return key, value.value, value
    if value is None or value.tag.endswith(":null"):
        return key, [], None
    raise UsageError("the kustomization is not valid: its resources are no list", fix="correct it")


def with_resources(text: str, wanted: Sequence[str]) -> str:
    """The same file with these resources in its list; missing ones are appended, everything else stays.

    Raises UsageError where the list is written in another way: then a person has to add the line.
    """
    before = declared(text)
    missing = [resource for resource in wanted if resource not in before]
    if not missing:
        return text
    key, items, value = _resources(text)
    if value and not items:  # resources: []
        text = text[: value.start_mark.index].rstrip() + text[value.end_mark.index :]
    lines = text.splitlines()
    position, indent = len(lines) + 1, "  "
    if key is None:
        lines.append("resources:")
    elif items:
        position, indent = items[-1].end_mark.line + 1, " " * value.start_mark.column
    else:
        position = key.end_mark.line + 1
    lines[position:position] = [f"{indent}- {resource}" for resource in missing]
    return _checked(lines, (*before, *missing), missing)


def without_resources(text: str, gone: Sequence[str]) -> str:
    """The same file without these resources. Raises UsageError where one is not a line of its own."""
    before = declared(text)
    rest = [resource for resource in before if resource not in gone]
    if len(rest) == len(before):
        return text
    numbers = {node.start_mark.line for node in _resources(text)[1] if node.value in gone}
    lines = [line for number, line in enumerate(text.splitlines()) if number not in numbers]
    return _checked(lines, rest, gone)


def _checked(lines: Sequence[str], wanted: Sequence[str], changed: Sequence[str]) -> str:
    text = "\n".join(lines) + "\n"
    with contextlib.suppress(UsageError):
        if list(declared(text)) == list(wanted):
            return text
    raise UsageError(
        f"the kustomization is not written as a plain list: {', '.join(changed)} cannot be changed in it",
        fix="change its resources by hand",
    )
