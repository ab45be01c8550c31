"""Every Kustomization that is reachable from the delivered path, with the objects that Flux would apply."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from threezone.clients.kubernetes.api import Json
from threezone.core.events import step
from threezone.delivery.check import flux_build, place, variables
from threezone.delivery.check.findings import Finding
from threezone.delivery.check.flux_build import Endless, Flux
from threezone.delivery.check.model import (
    Group,
    Id,
    Key,
    Rendering,
    children,
    clean_path,
    id_of,
    key_of,
    source_id,
    source_of,
    staying,
)
from threezone.delivery.check.source import Tree
from threezone.delivery.check.variables import Lookup, Values

NAME = re.compile(r"[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?")  # of objects (Kubernetes: IsDNS1123Subdomain)
IsOurs = Callable[[Json], bool]  # whether a GitRepository has the files that are checked


@dataclass
class _Walk:
    """What is known while the Kustomizations are rendered, level by level."""

    tool: Path
    tree: Tree
    own: Mapping[Path, bytes]
    is_ours: IsOurs
    sources: dict[str, str]
    lookup: Lookup
    strict: bool
    groups: dict[Key, Group] = field(default_factory=dict)
    parents: dict[Key, Key | None] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)
    unchecked: dict[str, None] = field(default_factory=dict)
    failed: set[Key] = field(default_factory=set)
    values: dict[Key, Values] = field(default_factory=dict)
    complete: set[Key] = field(default_factory=set)  # none of their variables lacks a value
    together: bool = True

    @property
    def flux(self) -> Flux:
        """The program with the sources that are known by now."""
        return Flux(self.tool, self.tree.root, self.sources, self.own)

    def objects(self) -> dict[Id, list[Json]]:
        """What is rendered by now."""
        found: dict[Id, list[Json]] = {}
        for group in self.groups.values():
            for item in group.objects:
                found.setdefault(id_of(item), []).append(item)
        return found


def render(
    tool: Path, tree: Tree, root: Json, *, is_ours: IsOurs = lambda _: False, lookup: Lookup, strict: bool = True
) -> Rendering:
    """Render the Kustomization `root` and all that it brings, from the files of `tree`.

    With `strict`, variables without a value are findings. A Kustomization with values from ConfigMaps or Secrets is
    rendered after those without, because these may bring them.
    """
    own = flux_build.own_files(tree.root)
    walk = _Walk(tool, tree, own, is_ours, {source_of(root["spec"], key_of(root).namespace): "./"}, lookup, strict)
    waiting: dict[Key, Json] = {}
    level = _admitted(walk, [root], None)
    with step("render what Flux would apply") as running:
        while level or waiting:
            waiting |= {key_of(each): each for each in level if variables.references(each)}
            level = [each for each in level if key_of(each) not in waiting]
            if not level:
                level = _with_values(walk, waiting)
            level = _level(walk, level)
        if strict:
            _find_unset(walk)
        running.result = f"{len(walk.groups)} Kustomizations"
    return Rendering(
        tuple(walk.groups.values()),
        tuple(walk.findings),
        tuple(walk.unchecked),
        frozenset(walk.failed),
        dict(walk.sources),
        frozenset().union(*(values.secrets for values in walk.values.values())),
    )


def _with_values(walk: _Walk, waiting: dict[Key, Json]) -> list[Json]:
    """Take the Kustomizations whose values are known by now out of `waiting`; all of them when there is none."""
    known = walk.objects()

    def live(wanted: Id) -> Json | None:
        return staying(walk.lookup(wanted), walk.groups)

    resolved = {key: variables.resolve(each, known, live) for key, each in waiting.items()}
    ready = [key for key, values in resolved.items() if not values.missing and not values.unknown] or list(waiting)
    taken = []
    for key in ready:
        walk.values[key] = values = resolved[key]
        for name in values.missing:
            message = f"{name} does not exist, and this commit does not bring it before this Kustomization needs it"
            fix = f"add it to a Kustomization that {key.name} depends on, or set optional: true"
            walk.findings.append(Finding("error", "substitute-from", str(key), message, fix))
        for name in values.unknown:
            walk.unchecked[f"what {key} applies: the values of {name} are not known here"] = None
        taken.append(waiting.pop(key))
    return taken


def _level(walk: _Walk, level: list[Json]) -> list[Json]:
    """Render Kustomizations and those of their descendants that need nothing more. Returns those that do."""
    given = {key_of(each): _given(walk, each) for each in level}
    try:
        outcome = flux_build.render(walk.flux, list(given.values()), together=walk.together, strict=walk.strict)
    except Endless:  # rendered one by one, each of them is rendered once
        walk.together = False
        outcome = flux_build.render(walk.flux, list(given.values()), together=False)
    rendered = outcome.objects
    walk.complete |= outcome.complete
    for key, reason in outcome.words.items():
        walk.failed.add(key)
        path = clean_path(given[key]["spec"].get("path"))
        walk.findings += place.broken(walk.tree.root, path, str(key), reason)
    later: list[Json] = []
    queue = [each for each in level if key_of(each) in rendered]
    while queue:
        kustomization = queue.pop(0)
        key = key_of(kustomization)
        objects = tuple(rendered[key])
        values = walk.values.get(key, Values())
        walk.groups[key] = Group(
            kustomization, objects, walk.parents[key], complete=not (values.unknown or values.missing)
        )
        for source in filter(walk.is_ours, objects):
            if not all(map(NAME.fullmatch, key_of(source))):
                continue
            walk.sources.setdefault(source_id(source), "./")
        for child in _admitted(walk, children(objects), key):
            if variables.references(child) or key_of(child) not in rendered:
                later.append(child)
            else:
                queue.append(child)
    return later


def _given(walk: _Walk, kustomization: Json) -> Json:
    values = walk.values.get(key_of(kustomization))
    return variables.with_values(kustomization, values.values) if values else kustomization


def _admitted(walk: _Walk, found: list[Json], parent: Key | None) -> list[Json]:
    """Those of the Kustomizations that are new and whose files are here. Others are findings or notes."""
    admitted = []
    for kustomization in found:
        key = key_of(kustomization)
        if key in walk.parents:
            continue
        walk.parents[key] = parent
        spec = kustomization.get("spec") or {}
        source = source_of(spec, key.namespace)
        if not all(map(NAME.fullmatch, key)):
            walk.failed.add(key)
            message = "its name or namespace is none that Kubernetes allows"
            walk.findings.append(Finding("error", "build", str(key), message, "correct metadata"))
        elif source not in walk.sources:
            walk.unchecked[f"what {key} applies: the files of {source} are not here"] = None
        elif problem := missing_path(walk.tree, clean_path(spec.get("path"))):
            walk.failed.add(key)
            fix = "correct spec.path, or commit the directory"
            walk.findings.append(Finding("error", "path", str(key), problem, fix))
        else:
            admitted.append(kustomization)
    return admitted


def missing_path(tree: Tree, path: str) -> str:
    """Why Flux finds no directory at a path of the source; "" when it does."""
    if (tree.root / path).is_dir():
        return ""
    parts = path.split("/")
    prefixes = ["/".join(parts[:count]) for count in range(1, len(parts) + 1)]
    if link := next((each for each in prefixes if each in tree.left_out), ""):
        return f"{link} is a link or an ignored file, which Flux does not get"
    return f"{path} is a file, not a directory" if (tree.root / path).exists() else f"there is no directory {path}"


def _find_unset(walk: _Walk) -> None:
    """Find variables without a value. Flux would write nothing in their place (unless it is strict)."""
    wanted: Mapping[Key, Json] = {
        key: _given(walk, group.kustomization) for key, group in walk.groups.items() if group.complete
    }
    with_variables = [(key, each) for key, each in wanted.items() if key not in walk.complete and variables.own(each)]
    is_leaf = {key: not children(walk.groups[key].objects) for key, _ in with_variables}
    parents = [each for key, each in with_variables if not is_leaf[key]]
    leaves = [each for key, each in with_variables if is_leaf[key]]
    names_of = {key: frozenset(each.name for each in map(id_of, walk.groups[key].objects)) for key in wanted}
    for key, unset in flux_build.unset(walk.flux, parents, leaves, names_of).items():
        objects = {each.name: str(each) for each in map(id_of, walk.groups[key].objects)}
        for each in unset:
            message = f"the variable {each.variable} has no value in {key}: Flux writes nothing in its place"
            name = f"{{{each.variable}}}"
            fix = f"give it a value in spec.postBuild, a default (${name[:-1]}:=…}}), or write $${name}"
            walk.findings.append(Finding("error", "variable", objects.get(each.name, each.name), message, fix))
