"""Check an object against a schema of OpenAPI v3: unknown fields, wrong types, missing fields."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from threezone.clients.kubernetes.api import Json

TYPES: dict[str, tuple[type, ...]] = {
    "string": (str,),
    "integer": (int,),
    "number": (int, float),
    "boolean": (bool,),
    "array": (list,),
    "object": (dict,),
}
DEPTH = 60  # of schemas that refer to each other
# The metadata of every object, which a CustomResourceDefinition does not describe.
FREE = {"apiVersion", "kind", "metadata"}


@dataclass(frozen=True)
class Wrong:
    """What is wrong with a field: its path, such as `.spec.replicas`, and why."""

    path: str
    words: str


@dataclass(frozen=True)
class Schemas:
    """The named schemas of a document, and which of them a kind has (apiVersion, kind)."""

    named: Mapping[str, Json]
    kinds: Mapping[tuple[str, str], Json] = field(default_factory=dict)


def read(document: Json) -> Schemas:
    """The schemas of an OpenAPI v3 document as the API server serves it."""
    named = (document.get("components") or {}).get("schemas") or {}
    kinds = {}
    for schema in named.values():
        for known in schema.get("x-kubernetes-group-version-kind") or []:
            group, version = known.get("group"), known.get("version")
            kinds[f"{group}/{version}" if group else str(version), str(known.get("kind"))] = schema
    return Schemas(named, kinds)


def of_definition(definition: Json) -> dict[tuple[str, str], Json]:
    """The schemas that a CustomResourceDefinition brings, by apiVersion and kind."""
    spec = definition.get("spec") or {}
    kind = str((spec.get("names") or {}).get("kind"))
    return {
        (f"{spec.get('group')}/{version.get('name')}", kind): (version.get("schema") or {}).get("openAPIV3Schema") or {}
        for version in spec.get("versions") or []
        if version.get("served", True)
    }


def check(item: Json, schema: Json, named: Mapping[str, Json]) -> list[Wrong]:
    """What is wrong with an object. A value of a definition that is not to be had is not looked at."""
    return list(_check(item, schema, named, "", DEPTH))


def _check(value: Any, schema: Json, named: Mapping[str, Json], path: str, depth: int) -> Iterator[Wrong]:
    schema = _resolved(schema, named)
    if value is None or depth == 0 or not schema:
        return  # Kubernetes drops null
    if schema.get("x-kubernetes-int-or-string") or "oneOf" in schema or "anyOf" in schema:
        return
    kind = str(schema.get("type", ""))
    wanted = TYPES.get(kind)
    if wanted and (not isinstance(value, wanted) or (isinstance(value, bool) and kind != "boolean")):
        if schema.get("format") != "int-or-string":
            yield Wrong(path, f"expected {kind}, got {_shown(value)}")
        return
    if schema.get("enum") and value not in schema["enum"]:
        yield Wrong(path, f"{_shown(value)} is none of {', '.join(map(str, schema['enum']))}")
    if isinstance(value, dict):
        yield from _check_object(value, schema, named, path, depth)
    elif isinstance(value, list) and "items" in schema:
        for number, each in enumerate(value):
            yield from _check(each, schema["items"], named, f"{path}[{number}]", depth - 1)


def _check_object(
    value: Mapping[str, Any], schema: Json, named: Mapping[str, Json], path: str, depth: int
) -> Iterator[Wrong]:
    known = schema.get("properties") or {}
    rest = schema.get("additionalProperties")
    free = schema.get("x-kubernetes-preserve-unknown-fields") or schema.get("x-kubernetes-embedded-resource")
    for name in schema.get("required") or []:
        if value.get(name) is None:
            yield Wrong(f"{path}.{name}", "it is required")
    for name, each in value.items():
        if name in known:
            inner = {} if not path and name == "metadata" and not known[name].get("allOf") else known[name]
            yield from _check(each, inner, named, f"{path}.{name}", depth - 1)
        elif isinstance(rest, dict):
            yield from _check(each, rest, named, f"{path}.{name}", depth - 1)
        elif known and not free and not rest and not (not path and name in FREE):
            yield Wrong(f"{path}.{name}", "there is no such field")


def _resolved(schema: Json, named: Mapping[str, Json]) -> Json:
    """A schema with its references followed: `$ref`, or `allOf` with one of them."""
    for _ in range(DEPTH):
        parts: Sequence[Json] = schema.get("allOf") or ()
        reference = schema.get("$ref") or (parts[0].get("$ref") if len(parts) == 1 else None)
        if not reference:
            return schema
        schema = named.get(str(reference).rpartition("/")[2], {})
    return {}


def _shown(value: Any) -> str:
    return "an object" if isinstance(value, dict) else "a list" if isinstance(value, list) else repr(value)[:40]
