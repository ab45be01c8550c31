"""The JSON Schema of invoke.yaml, made from the settings' own declarations. Editors check and complete with it."""

from __future__ import annotations

from typing import Any

import msgspec.json

from threezone.core.settings import Settings


def invoke_yaml() -> dict[str, Any]:
    """The schema of the whole file: our section is checked, sections of others are theirs.

    An empty section is one without settings, as `settings.parse` takes it.
    """
    _, definitions = msgspec.json.schema_components([Settings], ref_template="#/$defs/{name}")
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "invoke.yaml of a project that uses threezone",
        "type": ["object", "null"],
        "properties": {"threezone": {"anyOf": [{"$ref": "#/$defs/Settings"}, {"type": "null"}]}},
        "$defs": {name: _plain(definition) for name, definition in definitions.items()},
    }


def _plain(value: Any) -> Any:
    """The same with patterns as ECMA-262 writes them: Python's end of the text is its `$`."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return value.replace(r"\Z", "$") if isinstance(value, str) else value
