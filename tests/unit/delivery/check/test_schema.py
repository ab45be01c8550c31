"""Objects against schemas."""

from __future__ import annotations

from typing import Any

import pytest
from tests.unit.delivery.check.trees import definition, thing

from threezone.clients.kubernetes.api import Json
from threezone.delivery.check import schema

CONTAINER: Json = {
    "type": "object",
    "required": ["name"],
    "properties": {
        "name": {"type": "string"},
        "port": {"x-kubernetes-int-or-string": True},
        "limits": {"type": "object", "additionalProperties": {"$ref": "#/components/schemas/Quantity"}},
    },
}
NAMED: dict[str, Json] = {
    "Quantity": {"oneOf": [{"type": "string"}, {"type": "number"}]},
    "Container": CONTAINER,
    "Self": {"type": "object", "properties": {"self": {"$ref": "#/components/schemas/Self"}}},
}
SPEC: Json = {
    "type": "object",
    "properties": {
        "replicas": {"type": "integer"},
        "paused": {"type": "boolean"},
        "ratio": {"type": "number"},
        "policy": {"type": "string", "enum": ["A", "B"]},
        "containers": {
            "type": "array",
            "items": {"allOf": [{"$ref": "#/components/schemas/Container"}], "default": {}},
        },
        "free": {
            "type": "object",
            "x-kubernetes-preserve-unknown-fields": True,
            "properties": {"a": {"type": "string"}},
        },
        "any": {"type": "object"},
        "self": {"$ref": "#/components/schemas/Self"},
    },
}
ROOT = {"type": "object", "properties": {"apiVersion": {"type": "string"}, "spec": SPEC}}
TABLE = [
    ({}, []),
    ({"replicas": 1, "paused": True, "ratio": 1.5}, []),
    ({"replicas": "1"}, [".spec.replicas"]),
    ({"replicas": True}, [".spec.replicas"]),
    ({"replicas": 1.5}, [".spec.replicas"]),
    ({"ratio": 1}, []),
    ({"paused": "yes"}, [".spec.paused"]),
    ({"policy": "C"}, [".spec.policy"]),
    ({"replica": 1}, [".spec.replica"]),
    ({"replicas": None}, []),
    ({"containers": [{"name": "a", "port": "http"}, {"port": 1}]}, [".spec.containers[1].name"]),
    ({"containers": [{"name": "a", "imag": "x"}]}, [".spec.containers[0].imag"]),
    ({"containers": {"name": "a"}}, [".spec.containers"]),
    ({"containers": [{"name": "a", "limits": {"cpu": 1, "memory": "1Gi"}}]}, []),
    ({"free": {"x": 1}}, []),
    ({"free": {"a": 1}}, [".spec.free.a"]),
    ({"any": {"x": {"y": 1}}}, []),
    ({"self": {"self": {"self": {"other": 1}}}}, [".spec.self.self.self.other"]),
]


@pytest.mark.parametrize(("spec", "expected"), TABLE)
def test_fields(spec: Any, expected: list[str]) -> None:
    item = thing("Thing", "one", "app", "example.com/v1", spec=spec)
    assert [wrong.path for wrong in schema.check(item, ROOT, NAMED)] == expected


def test_a_field_beside_the_spec() -> None:
    item = thing("Thing", "one", "app", "example.com/v1", specs={})
    assert [wrong.path for wrong in schema.check(item, ROOT, NAMED)] == [".specs"]


def test_the_kinds_of_a_document() -> None:
    known = {"x-kubernetes-group-version-kind": [{"group": "apps", "version": "v1", "kind": "Deployment"}]}
    core = {"x-kubernetes-group-version-kind": [{"group": "", "version": "v1", "kind": "Pod"}]}
    read = schema.read({"components": {"schemas": {"a": known, "b": core, "c": {}}}})
    assert set(read.kinds) == {("apps/v1", "Deployment"), ("v1", "Pod")}


def test_the_schemas_of_a_definition() -> None:
    assert schema.of_definition(definition("Thing", schema=ROOT)) == {("example.com/v1", "Thing"): ROOT}
    assert schema.of_definition(thing("CustomResourceDefinition", "x")) == {}


def test_a_schema_that_refers_to_itself_ends() -> None:
    loop = {"A": {"$ref": "#/components/schemas/A"}}
    assert schema.check({"a": 1}, {"$ref": "#/components/schemas/A"}, loop) == []
