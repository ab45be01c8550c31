"""What Flux would apply: Kustomizations, each with its objects, as a check sees them."""

from __future__ import annotations

import posixpath
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from threezone.clients.kubernetes.api import Json
from threezone.delivery.check.findings import Finding
from threezone.flux.objects import KUSTOMIZE, SOURCE

MASK = "**SOPS**"  # what `flux build` writes in place of an encrypted value (flux2, internal/build/build.go: mask)
OWNER = (f"{KUSTOMIZE}/namespace", f"{KUSTOMIZE}/name")  # the labels that tell who applies an object
MASK_BASE64 = "KipTT1BTKio="


class Id(NamedTuple):
    """What tells one object from another in a cluster."""

    group: str
    kind: str
    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.kind} {self.namespace}/{self.name}" if self.namespace else f"{self.kind} {self.name}"


class Key(NamedTuple):
    """A Kustomization's namespace and name."""

    namespace: str
    name: str

    def __str__(self) -> str:
        return f"Kustomization {self.namespace}/{self.name}"


@dataclass(frozen=True)
class Group:
    """A Kustomization and the objects that it applies.

    `parent` is the Kustomization that applies it, None for the first. `complete` is false where values of variables are
    not known, so that the objects are not those that Flux would apply.
    """

    kustomization: Json
    objects: tuple[Json, ...]
    parent: Key | None = None
    complete: bool = True

    @property
    def key(self) -> Key:
        """Its namespace and name."""
        return key_of(self.kustomization)

    @property
    def spec(self) -> Json:
        """Its spec."""
        return dict(self.kustomization.get("spec") or {})


@dataclass(frozen=True)
class Rendering:
    """All Kustomizations that are reachable, parents first, with what was found on the way and what was not rendered.

    `failed` are those that could not be rendered, `local` the sources whose files these are. `secrets` are values of
    Secrets that were written into other objects.
    """

    groups: tuple[Group, ...] = ()
    findings: tuple[Finding, ...] = ()
    unchecked: tuple[str, ...] = ()
    failed: frozenset[Key] = frozenset()
    local: Mapping[str, str] = field(default_factory=dict)
    secrets: frozenset[str] = field(default=frozenset(), repr=False)

    @property
    def objects(self) -> Iterator[tuple[Group, Json]]:
        """Every object with its Kustomization."""
        return ((group, item) for group in self.groups for item in group.objects)

    def by_id(self) -> dict[Id, list[tuple[Group, Json]]]:
        """The objects by what tells them apart."""
        found: dict[Id, list[tuple[Group, Json]]] = {}
        for group, item in self.objects:
            found.setdefault(id_of(item), []).append((group, item))
        return found


def meta(item: Json) -> Json:
    """An object's metadata."""
    return dict(item.get("metadata") or {})


def id_of(item: Json) -> Id:
    """What tells the object from others."""
    group = str(item.get("apiVersion", "")).rpartition("/")[0]
    data = meta(item)
    return Id(group, str(item.get("kind")), str(data.get("namespace") or ""), str(data.get("name") or ""))


def key_of(item: Json) -> Key:
    """The namespace and name of a Kustomization."""
    return Key(str(meta(item).get("namespace") or ""), str(meta(item).get("name") or ""))


def is_kustomization(item: Json) -> bool:
    """Whether an object is a Kustomization of Flux."""
    return id_of(item)[:2] == (KUSTOMIZE, "Kustomization")


def children(objects: Sequence[Json]) -> list[Json]:
    """The Kustomizations of Flux among the objects."""
    return [item for item in objects if is_kustomization(item)]


def source_of(spec: Json, namespace: str) -> str:
    """The source that a Kustomization or a chart names, as `Kind/namespace/name`."""
    reference = spec.get("sourceRef") or {}
    return f"{reference.get('kind')}/{reference.get('namespace') or namespace}/{reference.get('name')}"


def source_id(item: Json) -> str:
    """A source's name in the spelling of `source_of`; "" for other objects."""
    group, kind, namespace, name = id_of(item)
    return f"{kind}/{namespace}/{name}" if group == SOURCE else ""


def staying(item: Json | None, groups: Mapping[Key, Group]) -> Json | None:
    """A live object, but None for one that Flux will delete: its Kustomization prunes, and does not bring it."""
    labels = meta(item or {}).get("labels") or {}
    owner = groups.get(Key(*(str(labels.get(name)) for name in OWNER)))
    if item is None or owner is None or not owner.spec.get("prune"):
        return item
    return item if id_of(item) in set(map(id_of, owner.objects)) else None


def clean_path(path: object) -> str:
    """A path in a source, relative to its root: `..` does not lead out of it (kustomize-controller: SecureJoin)."""
    return posixpath.normpath(f"/{path or ''}").strip("/")


def annotated(item: Json, name: str) -> str:
    """The value of a label or an annotation; "" for none. Flux reads both alike."""
    data = meta(item)
    return str((data.get("annotations") or {}).get(name) or (data.get("labels") or {}).get(name) or "")


def is_masked(value: object) -> bool:
    """Whether `flux build` has masked an encrypted value."""
    return value in (MASK, MASK_BASE64) or (isinstance(value, str) and '{"mask":"**SOPS**"}' in value)
