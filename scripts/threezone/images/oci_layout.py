"""Images in an OCI image layout: their platforms, and which of these have all of their contents in it.

An engine with containerd's image store keeps the index of an image for several platforms, but only the content of the
platforms that it has pulled, and saves just that (moby, daemon/containerd/image_exporter.go: WithSkipMissing). kind has
containerd import all platforms (kind, LoadImageArchive), which ends with `content digest …: not found` (kind #3795).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

Json = dict[str, Any]
Load = Callable[[str], Any]  # a JSON document of the archive, by its path there

LAYOUT, INDEX = "oci-layout", "index.json"
NAMES = ("io.containerd.image.name", "org.opencontainers.image.ref.name")  # annotations, the preferred one first
ATTESTATION = "unknown"  # as their architecture


@dataclass(frozen=True)
class Variant:
    """A manifest: an image for one platform, or an attestation. `absent` is the first content that is not there."""

    descriptor: Json
    config: str
    architecture: str
    contents: frozenset[str]
    absent: str

    @property
    def is_usable(self) -> bool:
        """Whether a node of its architecture can run it."""
        return not self.absent and self.architecture != ATTESTATION


@dataclass(frozen=True)
class Entry:
    """An image of the layout: its descriptor and name there, its manifests, and all contents that are there."""

    descriptor: Json
    name: str
    variants: tuple[Variant, ...]
    contents: frozenset[str]

    @property
    def absent(self) -> str:
        """The first content that is named but not there; "" for a complete image."""
        return next((variant.absent for variant in self.variants if variant.absent), "")

    @property
    def architectures(self) -> tuple[str, ...]:
        """The architectures of the nodes that can run it."""
        return tuple(sorted({variant.architecture for variant in self.variants if variant.is_usable}))

    def usable(self, architecture: str) -> Variant | None:
        """The variant for an architecture, else the first one that can be used."""
        usable = [variant for variant in self.variants if variant.is_usable]
        return next((each for each in usable if each.architecture == architecture), usable[0] if usable else None)


def entries(load: Load, files: Collection[str]) -> list[Entry]:
    """The images of a layout. Raises KeyError, TypeError or ValueError for one that is not valid."""
    found = []
    for descriptor in load(INDEX)["manifests"]:
        annotations = descriptor.get("annotations") or {}
        name = next((str(annotations[key]) for key in NAMES if ":" in str(annotations.get(key, ""))), "")
        contents: set[str] = set()
        variants = tuple(_variants(load, files, descriptor, contents))
        found.append(Entry(descriptor, name, variants, frozenset(contents & set(files))))
    return found


def _variants(load: Load, files: Collection[str], descriptor: Json, contents: set[str]) -> Iterator[Variant]:
    """The manifests of a descriptor, each once: an index may name others. The paths of all contents are added."""
    digest = str(descriptor["digest"])
    path = blob(digest)
    if path in contents:
        return
    contents.add(path)
    architecture = str((descriptor.get("platform") or {}).get("architecture", ""))
    if path not in files:
        yield Variant(descriptor, "", architecture, frozenset(), digest)
        return
    document = load(path)
    if "manifests" in document:
        for each in document["manifests"]:
            yield from _variants(load, files, each, contents)
        return
    parts = [str(part["digest"]) for part in (document["config"], *(document.get("layers") or ()))]
    contents.update(map(blob, parts))
    if not architecture and blob(parts[0]) in files:
        architecture = str(load(blob(parts[0])).get("architecture", ""))
    absent = next((part for part in parts if blob(part) not in files), "")
    yield Variant(descriptor, parts[0], architecture, frozenset(map(blob, (digest, *parts))), absent)


def blob(digest: str) -> str:
    """The path of a content in a layout."""
    return f"blobs/{digest.replace(':', '/', 1)}"


def trimmed(layout: Sequence[Entry], architecture: str) -> tuple[Json, frozenset[str]]:
    """The index of a layout in which nothing is absent, and the contents that it names.

    Of an image that is not complete it names the manifest for `architecture` instead of the image's own index.
    """
    manifests, contents = [], set[str]()
    for entry in layout:
        variant = entry.usable(architecture) if entry.absent else None
        marks = {key: entry.descriptor[key] for key in ("annotations",) if key in entry.descriptor}
        manifests.append({**variant.descriptor, **marks} if variant else entry.descriptor)
        contents |= variant.contents if variant else entry.contents
    return {"schemaVersion": 2, "manifests": manifests}, frozenset(contents)
