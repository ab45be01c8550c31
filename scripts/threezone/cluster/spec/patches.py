"""The patches of a cluster file: each must parse, and name a document that kind writes.

kind parses them only after it has started the nodes, and silently drops a patch that matches nothing
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

from threezone.cluster.spec.decode import Draft, Place, Spot, compose, shown, suggestion
from threezone.cluster.spec.schema import PATCHED
from threezone.core import go_yaml
from threezone.core.errors import UsageError

MERGE, JSON = "kubeadmConfigPatches", "kubeadmConfigPatchesJSON6902"
TOML, TOML_JSON = "containerdConfigPatches", "containerdConfigPatchesJSON6902"
# The key that kind's library demands of each operation beside op and path (RFC 6902).
OPERATIONS = {"add": "value", "remove": "", "replace": "value", "move": "from", "copy": "from", "test": ""}
_SEPARATOR = re.compile(r"\n---[^\n]*(?:\n|$)")  # where kind splits a patch (pkg/internal/patch/resource.go)

Field = tuple[str, Place]  # a field's name or path in a patch, with its line


@dataclass(frozen=True)
class Patch:
    """One patch of a document of kubeadm's, with its fields."""

    place: Place
    name: str  # such as nodes[0].kubeadmConfigPatches[1]
    kind: str
    version: str
    content: Any  # of a merge patch, else None
    fields: tuple[Field, ...] = ()
    node: int = -1  # the index of the node that it is for; -1 for all nodes


def check(draft: Draft) -> None:
    """Check every patch. Raises UsageError for the first that is broken."""
    for _ in of_kubeadm(draft.content, draft.spots):
        pass
    for index, text in enumerate(draft.content.get(TOML) or []):
        try:
            tomllib.loads(text)
        except tomllib.TOMLDecodeError as error:
            line = re.search(r"\(at line (\d+), column \d+\)$", str(error))
            place = draft.spots.at(TOML, index).within(int(line[1]) - 1 if line else 0)
            problem = re.sub(r" \(at .*\)$", "", str(error))
            raise UsageError(f"{place}: {TOML}[{index}]: not valid TOML: {problem}") from None
    for index, text in enumerate(draft.content.get(TOML_JSON) or []):
        try:
            json.loads(text)  # kind takes only JSON here, no YAML
        except ValueError as error:
            place = draft.spots.at(TOML_JSON, index).within(getattr(error, "lineno", 1) - 1)
            problem = str(getattr(error, "msg", error))
            raise UsageError(f"{place}: {TOML_JSON}[{index}]: not valid JSON: {problem}") from None
    for _ in of_containerd(draft.content, draft.spots):
        pass


def of_kubeadm(content: dict[str, Any], spots: Spot) -> Iterator[Patch]:
    """Every patch of kubeadm's documents, the cluster's first. Raises UsageError for a broken one."""
    levels: list[tuple[int, dict[str, Any], tuple[str | int, ...]]] = [(-1, content, ())]
    levels += [(index, node, ("nodes", index)) for index, node in enumerate(content.get("nodes") or [])]
    for node, level, above in levels:
        for index, text in enumerate(level.get(MERGE) or []):
            keys = (*above, MERGE, index)
            for patch in _merge_patches(text, shown(*keys), spots.at(*keys)):
                yield replace(patch, node=node)
        for index, patch_6902 in enumerate(level.get(JSON) or []):
            keys = (*above, JSON, index)
            name, kind = shown(*keys), patch_6902.get("kind") or ""
            _check_kind(kind, f"{spots.at(*keys, 'kind')}: {name}.kind")
            if not patch_6902.get("patch"):
                raise UsageError(f"{spots.at(*keys)}: {name}: expected a patch, found none")
            version = "/".join(filter(None, (patch_6902.get("group"), patch_6902.get("version"))))
            fields = _operations(patch_6902["patch"], f"{name}.patch", spots.at(*keys, "patch"))
            yield Patch(spots.at(*keys), name, kind, version, None, fields, node)


def of_containerd(content: dict[str, Any], spots: Spot) -> Iterator[Field]:
    """The paths of containerd's JSON patches with their lines. Raises UsageError for a broken one."""
    for index, text in enumerate(content.get(TOML_JSON) or []):
        yield from _operations(text, f"{TOML_JSON}[{index}]", spots.at(TOML_JSON, index))


def value(content: Any, *keys: str) -> Any:
    """The value under these keys of a patch's content, None without one."""
    for key in keys:
        content = content.get(key) if isinstance(content, dict) else None
    return content


def tables(text: str) -> Iterator[tuple[str, str]]:
    """The names of all tables in a TOML patch, each after the name of the one above."""
    pending: list[tuple[str, Any]] = [("", tomllib.loads(text))]
    while pending:
        above, table = pending.pop()
        for name, inner in table.items():
            if isinstance(inner, dict):
                yield above, name
                pending.append((name, inner))


def _check_kind(kind: str, where: str) -> None:
    if kind not in PATCHED:
        found = f"found {kind!r}{suggestion(kind, PATCHED)}" if kind else "found none"
        raise UsageError(f"{where}: expected one of {', '.join(PATCHED)}, {found}")


def split(text: str) -> Iterator[tuple[str, int]]:
    """The documents of a patch where kind splits it, each with its line (from 0)."""
    start = 0
    for end, after in [*(match.span() for match in _SEPARATOR.finditer(text)), (len(text), len(text))]:
        yield text[start:end], text.count("\n", 0, start)
        start = after


def _merge_patches(text: str, name: str, place: Place) -> Iterator[Patch]:
    for part, line in split(text):
        here = place.within(line)
        root = _compose(part, name, place, line)
        if root is None:
            continue
        if not isinstance(root, yaml.MappingNode):
            raise UsageError(f"{here}: {name}: expected a mapping with a kind")
        try:
            content = go_yaml.load(part.encode())[0]
        except go_yaml.Broken as error:
            problem = f"{place.within(line + max(error.line, 1) - 1)}: {name}: {error.problem}"
            raise UsageError(problem) from None
        kind, version = str(content.get("kind") or ""), str(content.get("apiVersion") or "")
        _check_kind(kind, f"{here}: {name}: kind")
        yield Patch(here, name, kind, version, content, tuple(_fields(root, place, line)))


def _compose(text: str, name: str, place: Place, line: int) -> Any:
    """Compose YAML inside a file: errors name the file's lines."""
    try:
        return compose(text, place.source, place.text + line)
    except UsageError as error:
        problem = re.sub(r"^.*?:\d+: ", "", error.message.removeprefix(place.source))
        where = error.message.removesuffix(f": {problem}") if place.text else place
        raise UsageError(f"{where}: {name}: {problem}") from None


def _fields(node: Any, place: Place, line: int, above: str = "") -> Iterator[Field]:
    """The fields of a merge patch, deepest first, as `apiServer.extraArgs`."""
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            name = f"{above}.{key.value}".lstrip(".")
            yield from _fields(value, place, line, name)
            yield name, place.within(line + key.start_mark.line)
    elif isinstance(node, yaml.SequenceNode):
        for index, item in enumerate(node.value):
            yield from _fields(item, place, line, f"{above}[{index}]")


def _operations(text: str, name: str, place: Place) -> tuple[Field, ...]:
    """The paths of a JSON 6902 patch with their lines. Raises UsageError for anything else."""
    root = _compose(text, name, place, 0)
    if not isinstance(root, yaml.SequenceNode):
        raise UsageError(f"{place}: {name}: expected a list of operations, each with op and path")
    fields = []
    for index, node in enumerate(root.value):
        here = place.within(node.start_mark.line)
        where = f"{here}: {name}[{index}]"
        if not isinstance(node, yaml.MappingNode):
            raise UsageError(f"{where}: expected an operation with op and path")
        operation = {str(key.value): value for key, value in node.value}
        op = str(getattr(operation.get("op"), "value", ""))
        if op not in OPERATIONS:
            hint = suggestion(op, OPERATIONS)
            raise UsageError(f"{where}.op: expected one of {', '.join(OPERATIONS)}, found {op!r}{hint}")
        for key in filter(None, ("path", OPERATIONS[op])):
            if key not in operation:
                raise UsageError(f"{where}: expected a {key} for the operation {op}, found none")
        for key in ("path", "from"):
            if key in operation and (path := str(operation[key].value)) and not path.startswith("/"):
                raise UsageError(f"{where}.{key}: expected a path from the root such as /apiServer, found {path!r}")
        fields.append((str(operation["path"].value), here))
    return tuple(fields)
