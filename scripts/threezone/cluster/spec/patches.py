"""The patches of a cluster file: each must parse, and name a document that kind writes; and whom kubeadm's words mean.

kind parses them only when the nodes run already, and drops a patch that matches nothing without a word
(kind, pkg/internal/patch).
"""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import yaml

from threezone.cluster.spec.decode import Draft, Place, Spot, compose, near, shown
from threezone.cluster.spec.schema import PATCHED
from threezone.core import safe_yaml
from threezone.core.errors import UsageError

MERGE, JSON = "kubeadmConfigPatches", "kubeadmConfigPatchesJSON6902"
TOML, TOML_JSON = "containerdConfigPatches", "containerdConfigPatchesJSON6902"
OPERATIONS: dict[str, tuple[str, ...]] = {
    "add": ("value",),
    "remove": (),
    "replace": ("value",),
    "move": ("from",),
    "copy": ("from",),
    "test": (),
}
_SEPARATOR = re.compile(r"\n---[^\n]*(?:\n|$)")  # where kind parts a patch (pkg/internal/patch/resource.go)


@dataclass(frozen=True)
class Patch:
    """One patch to a document of kubeadm's: its place, and the names of fields in it with the line of each."""

    place: Place
    name: str  # such as nodes[0].kubeadmConfigPatches[1]
    kind: str
    version: str
    content: Any  # of a merge patch, else None
    fields: tuple[tuple[str, Place], ...] = ()
    node: int = -1  # the index of the node that it is for; -1 when it is for all


def check(draft: Draft) -> None:
    """Hold every patch against the rules. Raises UsageError for the first that is broken."""
    for _ in of_kubeadm(draft.content, draft.spots):
        pass
    for index, text in enumerate(draft.content.get(TOML) or []):
        try:
            tomllib.loads(text)
        except tomllib.TOMLDecodeError as error:
            found = re.search(r"\(at line (\d+), column \d+\)$", str(error))
            place = draft.spots.at(TOML, index).within(int(found.group(1)) - 1 if found else 0)
            problem = re.sub(r" \(at .*\)$", "", str(error))
            raise UsageError(f"{place}: {TOML}[{index}]: not valid TOML: {problem}") from None
    for index, text in enumerate(draft.content.get(TOML_JSON) or []):
        name, place = f"{TOML_JSON}[{index}]", draft.spots.at(TOML_JSON, index)
        try:
            json.loads(text)  # kind takes these as JSON alone
        except ValueError as error:
            line = getattr(error, "lineno", 1) - 1
            raise UsageError(f"{place.within(line)}: {name}: not valid JSON: {getattr(error, 'msg', error)}") from None
        _operations(text, name, place)


def of_kubeadm(content: dict[str, Any], spots: Spot) -> Iterator[Patch]:
    """Every patch of kubeadm's documents, the cluster's first. Raises UsageError for a broken one."""
    levels: list[tuple[int, dict[str, Any], tuple[str | int, ...]]] = [(-1, content, ())]
    levels += [(index, node, ("nodes", index)) for index, node in enumerate(content.get("nodes") or [])]
    for number, level, above in levels:
        for index, text in enumerate(level.get(MERGE) or []):
            keys = (*above, MERGE, index)
            for each in _merge(text, shown(*keys), spots.at(*keys)):
                yield replace(each, node=number)
        for index, patch in enumerate(level.get(JSON) or []):
            keys = (*above, JSON, index)
            name, kind = shown(*keys), patch.get("kind") or ""
            _known(kind, f"{spots.at(*keys, 'kind')}: {name}.kind")
            if not patch.get("patch"):
                raise UsageError(f"{spots.at(*keys)}: {name}: expected a patch, found none")
            version = "/".join(filter(None, (patch.get("group"), patch.get("version"))))
            place = spots.at(*keys, "patch")
            fields = _operations(patch["patch"], f"{name}.patch", place)
            yield Patch(spots.at(*keys), name, kind, version, None, fields, number)


def of_containerd(content: dict[str, Any], spots: Spot) -> Iterator[tuple[str, Place]]:
    """The paths of containerd's JSON patches with their lines."""
    for index, text in enumerate(content.get(TOML_JSON) or []):
        yield from _operations(text, f"{TOML_JSON}[{index}]", spots.at(TOML_JSON, index))


def _known(kind: str, where: str) -> None:
    if kind in PATCHED:
        return
    found = f"found {kind!r}" if kind else "found none"
    hint = f"; did you mean {meant}?" if (meant := near(kind, PATCHED)) else ""
    raise UsageError(f"{where}: expected one of {', '.join(PATCHED)}, {found}{hint}")


def _merge(text: str, name: str, place: Place) -> Iterator[Patch]:
    start = 0
    for end, after in [*((found.start(), found.end()) for found in _SEPARATOR.finditer(text)), (len(text), len(text))]:
        part, line = text[start:end], text.count("\n", 0, start)
        start = after
        here = place.within(line)
        root = _composed(part, name, place, line)
        if root is None:
            continue
        if not isinstance(root, yaml.MappingNode):
            raise UsageError(f"{here}: {name}: expected a mapping with a kind")
        try:
            content = safe_yaml.Loader("").construct_document(root)
        except (ValueError, yaml.YAMLError) as error:
            raise UsageError(f"{here}: {name}: {getattr(error, 'problem', error)}") from None
        kind, version = str(content.get("kind") or ""), str(content.get("apiVersion") or "")
        _known(kind, f"{here}: {name}: kind")
        yield Patch(here, name, kind, version, content, tuple(_fields(root, place, line)))


def _composed(text: str, name: str, place: Place, line: int) -> Any:
    """YAML inside a file: its mistakes are told with the file's lines."""
    try:
        return compose(text, place.source, place.text + line)
    except UsageError as error:
        told = re.sub(r"^.*?:\d+: ", "", error.message.removeprefix(place.source))
        at = error.message.removesuffix(f": {told}") if place.text else place
        raise UsageError(f"{at}: {name}: {told}") from None


def _fields(node: Any, place: Place, line: int, above: str = "") -> Iterator[tuple[str, Place]]:
    """The fields of a merge patch, deepest first, as `apiServer.extraArgs`."""
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            name = f"{above}.{key.value}".lstrip(".")
            yield from _fields(value, place, line, name)
            yield name, place.within(line + key.start_mark.line)
    elif isinstance(node, yaml.SequenceNode):
        for index, item in enumerate(node.value):
            yield from _fields(item, place, line, f"{above}[{index}]")


def _operations(text: str, name: str, place: Place) -> tuple[tuple[str, Place], ...]:
    """The paths of a JSON 6902 patch with their lines. Raises UsageError when it is none."""
    root = _composed(text, name, place, 0)
    if not isinstance(root, yaml.SequenceNode):
        raise UsageError(f"{place}: {name}: expected a list of operations, each with op and path")
    found = []
    for index, node in enumerate(root.value):
        here, at = place.within(node.start_mark.line), f"{name}[{index}]"
        if not isinstance(node, yaml.MappingNode):
            raise UsageError(f"{here}: {at}: expected an operation with op and path")
        operation = {str(key.value): value for key, value in node.value}
        told = str(getattr(operation.get("op"), "value", ""))
        if told not in OPERATIONS:
            hint = f"; did you mean {meant}?" if (meant := near(told, OPERATIONS)) else ""
            raise UsageError(f"{here}: {at}.op: expected one of {', '.join(OPERATIONS)}, found {told!r}{hint}")
        for key in ("path", *OPERATIONS[told]):
            if key not in operation:
                raise UsageError(f"{here}: {at}: expected a {key} for the operation {told}, found none")
        for key in ("path", "from"):
            if key in operation and (path := str(operation[key].value)) and not path.startswith("/"):
                raise UsageError(
                    f"{here}: {at}.{key}: expected a path from the root such as /apiServer, found {path!r}"
                )
        found.append((str(operation["path"].value), here))
    return tuple(found)
