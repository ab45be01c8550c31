"""The types of a kubeconfig's fields, as kubectl decodes them (client-go, `tools/clientcmd/api/v1/types.go`).

kubectl refuses the whole file for a value of another type. So does this module, in the same words.
"""

from __future__ import annotations

import base64
from collections import deque
from collections.abc import Mapping
from typing import Any

from threezone.core.go_yaml import Broken

_PYTHON = {"string": str, "bytes": str, "bool": bool}
_GO = ((bool, "bool"), (int | float, "number"), (str, "string"), (list, "array"), (dict, "object"))


# A type is "string", "bool", "bytes" (base64) or "any", a list of one type, a mapping from any key ("*") to one, or a
# struct: its fields, and under "" its name in Go.
def _struct(name: str, strings: str, fields: Mapping[str, Any] | None = None) -> dict[str, Any]:
    return {"": name, **dict.fromkeys(strings.split(), "string"), **(fields or {})}


_EXTENSIONS = [_struct("v1.NamedExtension", "name", {"extension": "any"})]
_CLUSTER = {
    "certificate-authority-data": "bytes",
    "insecure-skip-tls-verify": "bool",
    "disable-compression": "bool",
    "extensions": _EXTENSIONS,
}
_EXEC = {
    "args": ["string"],
    "env": [_struct("v1.ExecEnvVar", "name value")],
    "provideClusterInfo": "bool",
}
_USER = {
    "client-certificate-data": "bytes",
    "client-key-data": "bytes",
    "as-groups": ["string"],
    "as-user-extra": {"*": ["string"]},
    "auth-provider": _struct("v1.AuthProviderConfig", "name", {"config": {"*": "string"}}),
    "exec": _struct("v1.ExecConfig", "command apiVersion installHint interactiveMode", _EXEC),
    "extensions": _EXTENSIONS,
}


def _named(kind: str, body: str, strings: str, fields: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the type of a section: a list of items with a name and a body."""
    return [_struct(f"v1.Named{kind}", "name", {body: _struct(f"v1.{kind}", strings, fields)})]


_CONFIG = _struct(
    "Config",
    "current-context",
    {
        "preferences": _struct("v1.Preferences", "", {"colors": "bool", "extensions": _EXTENSIONS}),
        "extensions": _EXTENSIONS,
        "clusters": _named("Cluster", "cluster", "server tls-server-name proxy-url certificate-authority", _CLUSTER),
        "contexts": _named("Context", "context", "cluster user namespace", {"extensions": _EXTENSIONS}),
        "users": _named(
            "AuthInfo",
            "user",
            "client-certificate client-key token tokenFile username password as as-uid",
            _USER,
        ),
    },
)


def check(data: object, lines: Mapping[int, int]) -> None:
    """Raise Broken for data that kubectl cannot decode. The message has no value of the document. null fits every type.

    `lines` has the line of every mapping by its `id`.
    """
    if not isinstance(data, dict):
        raise Broken(f"couldn't get version/kind; a mapping was expected, not {_go_type(data)}", 1)
    kind, version = data.get("kind") or "Config", data.get("apiVersion") or "v1"
    if (kind, version) != ("Config", "v1"):
        raise Broken(f'no kind "{kind}" is registered for version "{version}"', 1)
    # A value, its type, the Go struct that has it, its path from the top, and the nearest line.
    pending: deque[tuple[Any, Any, str, str, int]] = deque([(data, _CONFIG, "Config", "", 1)])
    while pending:
        value, expected, owner, path, line = pending.popleft()
        if value is None or expected == "any":
            continue
        line = lines.get(id(value), line)
        if not _fits(value, expected):
            problem = f"json: cannot unmarshal {_go_type(value)} into Go struct field {owner}.{path}"
            raise Broken(f"{problem} of type {_go_name(expected)}", line)
        if expected == "bytes" and not _is_base64(value):
            raise Broken(f"illegal base64 data in {path}", line)
        if isinstance(expected, list):
            _refuse_duplicates(value, expected[0], path, lines, line)
            pending.extend((item, expected[0], owner, path, line) for item in value)
        elif isinstance(expected, dict) and "*" in expected:
            pending.extend((item, expected["*"], owner, path, line) for item in value.values())
        elif isinstance(expected, dict):
            struct, prefix = expected[""].removeprefix("v1."), f"{path}." if path else ""
            fields = ((key, item) for key, item in value.items() if key and key in expected)
            pending.extend((item, expected[key], struct, f"{prefix}{key}", line) for key, item in fields)


def _fits(value: object, expected: Any) -> bool:
    return isinstance(value, _PYTHON[expected] if isinstance(expected, str) else type(expected))


def _refuse_duplicates(items: list[Any], kind: Any, path: str, lines: Mapping[int, int], line: int) -> None:
    """Raise Broken for a name that is in the list twice. kubectl keeps the lists of Named… types as maps."""
    if not (isinstance(kind, dict) and kind[""].startswith("v1.Named")):
        return
    names: set[str] = set()
    for item in items:
        fields = item if isinstance(item, dict) else {}
        name = fields.get("name") or ""
        if not isinstance(name, str):
            continue  # a wrong type is refused elsewhere
        if name in names:
            raise Broken(f'duplicate name "{name}" in list ({path})', lines.get(id(item), line))
        if "extension" not in kind or fields.get("extension") is not None:  # an extension without content is ignored
            names.add(name)


def _go_name(kind: Any) -> str:
    """Return the type as Go writes it."""
    if isinstance(kind, list):
        return f"[]{_go_name(kind[0])}"
    if isinstance(kind, dict):
        return str(kind.get("") or f"map[string]{_go_name(kind['*'])}")
    return "[]uint8" if kind == "bytes" else str(kind)


def _go_type(value: object) -> str:
    return next((word for kind, word in _GO if isinstance(value, kind)), "null")


def _is_base64(text: str) -> bool:
    """Whether Go's encoding/base64 accepts the text: line breaks are ignored, padding is required."""
    try:
        base64.b64decode(text.replace("\n", "").replace("\r", ""), validate=True)
    except ValueError:
        return False
    return True
