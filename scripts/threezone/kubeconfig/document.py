"""A kubeconfig as data: pure functions from document to document. Nothing here reads or writes a file.

The shape is client-go's `tools/clientcmd/api/v1`; what it refuses is refused here with its words, and what it does not
know is kept. A `Document` is never changed in place: every function returns a new one and shares what is equal.
"""

from __future__ import annotations

import base64
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from threezone.core.errors import UsageError
from threezone.kubeconfig import go_yaml

Section = Literal["clusters", "contexts", "users"]
Item = dict[str, Any]

BODY: dict[Section, str] = {"clusters": "cluster", "contexts": "context", "users": "user"}
_GO_TYPES: dict[Section, str] = {"clusters": "Cluster", "contexts": "Context", "users": "AuthInfo"}

_FILE_CREDENTIALS = (
    "client-certificate",
    "client-certificate-data",
    "client-key",
    "client-key-data",
    "token",
    "tokenFile",
)
_CA = ("certificate-authority", "certificate-authority-data")

# What kubectl decodes each field into (client-go `tools/clientcmd/api/v1/types.go`); a value of another type makes it
# refuse the whole file. A shape is "string", "bool", "bytes" (base64) or "any", a list of one shape, a mapping from any
# key ("*") to one, or a struct: its fields, and under "" its name in Go.
_PYTHON = {"string": str, "bytes": str, "bool": bool}
_EXTENSIONS = [{"": "v1.NamedExtension", "name": "string", "extension": "any"}]
_CONFIG: dict[str, Any] = {
    "": "Config",
    "current-context": "string",
    "preferences": {"": "v1.Preferences", "colors": "bool", "extensions": _EXTENSIONS},
    "extensions": _EXTENSIONS,
}
_SHAPES: dict[Section, dict[str, Any]] = {
    "clusters": {
        "": "v1.Cluster",
        **dict.fromkeys(("server", "tls-server-name", "proxy-url", "certificate-authority"), "string"),
        "certificate-authority-data": "bytes",
        "insecure-skip-tls-verify": "bool",
        "disable-compression": "bool",
        "extensions": _EXTENSIONS,
    },
    "contexts": {
        "": "v1.Context",
        **dict.fromkeys(("cluster", "user", "namespace"), "string"),
        "extensions": _EXTENSIONS,
    },
    "users": {
        "": "v1.AuthInfo",
        **dict.fromkeys(("client-certificate", "client-key", "token", "tokenFile", "username", "password"), "string"),
        "client-certificate-data": "bytes",
        "client-key-data": "bytes",
        "as": "string",
        "as-uid": "string",
        "as-groups": ["string"],
        "as-user-extra": {"*": ["string"]},
        "auth-provider": {"": "v1.AuthProviderConfig", "name": "string", "config": {"*": "string"}},
        "exec": {
            "": "v1.ExecConfig",
            **dict.fromkeys(("command", "apiVersion", "installHint", "interactiveMode"), "string"),
            "args": ["string"],
            "env": [{"": "v1.ExecEnvVar", "name": "string", "value": "string"}],
            "provideClusterInfo": "bool",
        },
        "extensions": _EXTENSIONS,
    },
}

# What a new entry of the same name replaces; everything else in the entry (a namespace, extensions, unknown keys) is
# the user's and stays.
_TRUST = frozenset(["server", "tls-server-name", "insecure-skip-tls-verify", *_CA])
_CREDENTIALS = frozenset(["username", "password", "auth-provider", "exec", *_FILE_CREDENTIALS])


@dataclass(frozen=True)
class Document:
    """One kubeconfig: `data` is the tree as read; `cut`: more YAML documents followed, which kubectl ignores."""

    data: Mapping[str, Any] = field(default_factory=dict, repr=False)
    cut: bool = False


@dataclass(frozen=True)
class Entry:
    """A context with what it refers to. `cluster` and `user` are the bodies as written ({} when missing)."""

    context: str
    cluster_name: str
    user_name: str
    namespace: str
    cluster: Mapping[str, Any] = field(repr=False)
    user: Mapping[str, Any] = field(repr=False)

    @property
    def server(self) -> str:
        """The API server's address, "" when the cluster is missing."""
        return str(self.cluster.get("server") or "")

    @property
    def tls_server_name(self) -> str:
        """The name that the server's certificate must carry, "" for the host in `server`."""
        return str(self.cluster.get("tls-server-name") or "")


def parse(text: bytes, where: str = "kubeconfig") -> Document:
    """The document in `text`; an empty one for no text, as kubectl reads it. `where` is the name that errors use.

    Raises UsageError, with the line where it is known, for everything that kubectl refuses too.
    """
    try:
        data, lines, cut = go_yaml.load(text)
    except go_yaml.Broken as error:
        raise _broken(where, error.problem, error.line) from None
    if data is None:
        return Document({}, cut)
    if not isinstance(data, dict):
        raise _broken(where, f"couldn't get version/kind; a mapping was expected, not {_go_type(data)}", 1)
    if data.get("apiVersion") not in (None, "", "v1") or data.get("kind") not in (None, "", "Config"):
        kind, version = data.get("kind") or "Config", data.get("apiVersion") or "v1"
        raise _broken(where, f'no kind "{kind}" is registered for version "{version}"', 1)
    wrong = _wrong(data, _CONFIG, "Config", "")
    if wrong:
        raise _broken(where, wrong, 1)
    for section in BODY:
        _check(data.get(section), section, lines, where)
    return Document(data, cut)


def _check(listed: Any, section: Section, lines: dict[int, int], where: str) -> None:
    """Raise UsageError where kubectl's decoder would fail in this section."""
    kind = _GO_TYPES[section]
    if not isinstance(listed, list | None):
        raise _broken(where, _mismatch(listed, f"Config.{section}", f"[]v1.Named{kind}"), lines.get(id(listed), 0))
    seen: set[str] = set()
    for item in listed or []:
        if not isinstance(item, dict | None):
            raise _broken(where, _mismatch(item, f"Config.{section}", f"v1.Named{kind}"))
        line = lines.get(id(item), 0)
        name, content = (item or {}).get("name"), (item or {}).get(BODY[section])
        place = f"Named{kind}.{section}"
        if not isinstance(name, str | None):
            raise _broken(where, _mismatch(name, f"{place}.name", "string"), line)
        if not isinstance(content, dict | None):
            raise _broken(where, _mismatch(content, f"{place}.{BODY[section]}", f"v1.{kind}"), line)
        wrong = _wrong(content, _SHAPES[section], kind, f"{section}.{BODY[section]}")
        if wrong:
            raise _broken(where, wrong, lines.get(id(content), line))
        if (name or "") in seen:
            raise _broken(where, f'duplicate name "{name or ""}" in list ({section})', line)
        seen.add(name or "")


def _wrong(value: Any, shape: Any, owner: str, place: str) -> str:
    """Why kubectl cannot decode `value` into `shape`, with nothing of its content; "" when it can, as it can with null.

    `owner` is the struct in Go, `place` the way to the value from the top.
    """
    if value is None or shape == "any":
        return ""
    fitting: Any = _PYTHON[shape] if isinstance(shape, str) else type(shape)
    if not isinstance(value, fitting):
        return _mismatch(value, f"{owner}.{place}", _go_name(shape))
    if shape == "bytes" and not _is_base64(value):
        return f"illegal base64 data in {place}"
    problems: Iterator[str] = iter(())
    if isinstance(shape, list):
        problems = (_wrong(item, shape[0], owner, place) for item in value)
    elif isinstance(shape, dict) and "*" in shape:
        problems = (_wrong(item, shape["*"], owner, place) for item in value.values())
    elif isinstance(shape, dict):
        inner = shape[""].removeprefix("v1.")
        known = ((key, item) for key, item in value.items() if key in shape and key)
        problems = (_wrong(item, shape[key], inner, f"{place}.{key}" if place else key) for key, item in known)
    twice = _twice(value) if shape is _EXTENSIONS else ""
    return next(filter(None, problems), twice and f"{twice} ({place})")


def _twice(extensions: list[Item | None]) -> str:
    """What kubectl says of a name that is there twice; an extension without content does not count for it."""
    seen: set[str] = set()
    for item in extensions:
        name, content = (item or {}).get("name") or "", (item or {}).get("extension")
        if name in seen:
            return f'duplicate name "{name}" in list'
        if content is not None:
            seen.add(name)
    return ""


def _go_name(shape: Any) -> str:
    """The shape as Go writes it."""
    if isinstance(shape, str):
        return "[]uint8" if shape == "bytes" else shape
    if isinstance(shape, list):
        return f"[]{_go_name(shape[0])}"
    return str(shape.get("") or f"map[string]{_go_name(shape['*'])}")


def _is_base64(text: str) -> bool:
    """Whether Go's encoding/base64 takes it: line breaks count for nothing, padding has to be there."""
    try:
        base64.b64decode(text.replace("\n", "").replace("\r", ""), validate=True)
    except ValueError:
        return False
    return True


def _mismatch(value: Any, place: str, wanted: str) -> str:
    return f"json: cannot unmarshal {_go_type(value)} into Go struct field {place} of type {wanted}"


def _go_type(value: Any) -> str:
    for kind, word in ((bool, "bool"), (int | float, "number"), (str, "string"), (list, "array"), (dict, "object")):
        if isinstance(value, kind):
            return word
    return "null"


def _broken(where: str, problem: str, line: int = 0) -> UsageError:
    at = f"{where}, line {line}" if line else where
    advice = "; quote the value" if "cannot unmarshal number" in problem or "cannot unmarshal bool" in problem else ""
    return UsageError(
        f"{at}: not a kubeconfig that kubectl can read",
        evidence=problem,
        fix=f"correct {where}{advice}; `kubectl config view --kubeconfig {where}` must accept it",
    )


def dump(document: Document) -> bytes:
    """The document as YAML that kubectl and YAML 1.1 and 1.2 readers read back the same.

    Missing sections are written empty: the Python client requires them, and a `users: null` breaks it.
    """
    data = dict(document.data)
    head = {"apiVersion": data.pop("apiVersion", None) or "v1", "kind": data.pop("kind", None) or "Config"}
    for section in BODY:
        data[section] = data.get(section) or []
    data["current-context"] = data.get("current-context") or ""
    return go_yaml.dump({**head, **data})


def items(document: Document, section: Section) -> dict[str, Item]:
    """The named items of a section in their order, each as it stands in the list (`name`, the body, unknown keys)."""
    return {(item or {}).get("name") or "": item or {} for item in document.data.get(section) or []}


def body(document: Document, section: Section, name: str) -> Item | None:
    """What stands under `cluster`, `context` or `user` of the named item; {} when it is empty, None when missing."""
    item = items(document, section).get(name)
    return None if item is None else dict(item.get(BODY[section]) or {})


def put_item(document: Document, section: Section, name: str, item: Item | None) -> Document:
    """The document with this item in its place, or at the end when it is new; with None, without it."""
    named = items(document, section)
    if item is None:
        named.pop(name, None)
    else:
        named[name] = item
    return Document({**document.data, section: list(named.values())}, document.cut)


def put(document: Document, section: Section, name: str, content: Mapping[str, Any]) -> Document:
    """The document with `content` as the body of the named item; unknown keys beside the body stay."""
    item = items(document, section).get(name) or {}
    return put_item(document, section, name, {**item, "name": name, BODY[section]: dict(content)})


def current_context(document: Document) -> str:
    """The name of the current context, "" when none is set."""
    return str(document.data.get("current-context") or "")


def with_current_context(document: Document, name: str) -> Document:
    """The document with another current context; "" sets none."""
    return Document({**document.data, "current-context": name}, document.cut)


def entry(document: Document, context: str) -> Entry | None:
    """The context and what it refers to, or None when there is no such context."""
    found = body(document, "contexts", context)
    if found is None:
        return None
    cluster, user = found.get("cluster") or "", found.get("user") or ""
    return Entry(
        context=context,
        cluster_name=cluster,
        user_name=user,
        namespace=found.get("namespace") or "",
        cluster=body(document, "clusters", cluster) or {},
        user=body(document, "users", user) or {},
    )


def with_route(document: Document, cluster: str, server: str, tls_server_name: str = "") -> Document:
    """The document with this way to the cluster's API server. Raises UsageError for a cluster that is not there."""
    found = body(document, "clusters", cluster)
    if found is None:
        raise UsageError(f"there is no cluster {cluster!r} in this kubeconfig")
    found["server"] = server
    found.pop("tls-server-name", None)
    if tls_server_name:
        found["tls-server-name"] = tls_server_name
    return put(document, "clusters", cluster, found)


def merge(document: Document, source: Document, context: str) -> Document:
    """The document with `context` of `source`, its cluster and its user.

    Entries of the same names are renewed: address, trust and credentials come from `source` alone, everything else
    that stands in them stays. File paths are taken as they are. Raises UsageError when `source` lacks one of the three.
    """
    new = entry(source, context)
    if new is None or not new.cluster or body(source, "users", new.user_name) is None:
        raise UsageError(f"the source has no complete context {context!r} (a context, its cluster and its user)")
    old_cluster = body(document, "clusters", new.cluster_name) or {}
    old_user = body(document, "users", new.user_name) or {}
    document = put(document, "clusters", new.cluster_name, _renewed(old_cluster, new.cluster, _TRUST))
    document = put(document, "users", new.user_name, _renewed(old_user, new.user, _CREDENTIALS))
    old_context = body(document, "contexts", context) or {}
    return put(document, "contexts", context, {**old_context, **(body(source, "contexts", context) or {})})


def _renewed(old: Mapping[str, Any], new: Mapping[str, Any], owned: frozenset[str]) -> Item:
    """`new` over `old`, with the keys of `owned` from `new` alone; keys keep their places, so equal stays equal."""
    kept = {key: value for key, value in old.items() if key in new or key not in owned}
    return {**kept, **new}


def remove(document: Document, context: str) -> Document:
    """The document without the context, and without its cluster and user where no other context refers to them."""
    gone = body(document, "contexts", context)
    if gone is None:
        return document
    document = put_item(document, "contexts", context, None)
    left = [item.get("context") or {} for item in items(document, "contexts").values()]
    parts: tuple[tuple[Section, str], ...] = (("clusters", "cluster"), ("users", "user"))
    for section, key in parts:
        name = gone.get(key) or ""
        if name not in {other.get(key) or "" for other in left} and name in items(document, section):
            document = put_item(document, section, name, None)
    return document


def extract(document: Document, context: str, cluster_directory: Path, user_directory: Path) -> Document:
    """The context alone with what it refers to, usable anywhere: relative paths become absolute.

    They are relative to the directories of the files that define the cluster and the user. Raises UsageError when there
    is no such context.
    """
    found = entry(document, context)
    if found is None:
        raise UsageError(f"there is no context {context!r} in this kubeconfig")
    user = _absolute(found.user, ("client-certificate", "client-key", "tokenFile"), user_directory)
    if os.sep in str((user.get("exec") or {}).get("command") or ""):  # a bare name is looked up on PATH
        user["exec"] = _absolute(user["exec"], ("command",), user_directory)
    alone = put(Document(), "clusters", found.cluster_name, _absolute(found.cluster, _CA[:1], cluster_directory))
    alone = put(alone, "users", found.user_name, user)
    alone = put(alone, "contexts", context, body(document, "contexts", context) or {})
    return with_current_context(alone, context)


def _absolute(content: Mapping[str, Any], keys: tuple[str, ...], directory: Path) -> Item:
    return {
        key: str(directory / value) if key in keys and isinstance(value, str) and value else value
        for key, value in content.items()
    }


# kind, minikube and others leave their notes in `extensions`, which kubectl keeps and nobody else reads. Ours is in the
# context: which context was the current one before this became it, to be restored when this one is removed.
_EXTENSION = "threezone"


def adopt(document: Document, source: Document, context: str) -> Document:
    """`merge`, and make a context that is new the current one, as kind does; the one before is noted in it.

    A context that was there before stays as current or not current as the user left it.
    """
    known = body(document, "contexts", context)
    before = current_context(document)
    document = merge(document, source, context)
    if known is not None:
        return document
    made = body(document, "contexts", context) or {}
    # The name may have been current already, left over from a context that somebody deleted by hand.
    note = {"name": _EXTENSION, "extension": {"previous-context": "" if before == context else before}}
    kept = [other for other in made.get("extensions") or [] if (other or {}).get("name") != _EXTENSION]
    document = put(document, "contexts", context, {**made, "extensions": [*kept, note]})
    return with_current_context(document, context)


def disown(document: Document, context: str) -> Document:
    """`remove`, and give the current context back to the one that `adopt` noted, or to none."""
    found = body(document, "contexts", context) or {}
    previous = ""
    for other in found.get("extensions") or []:
        if isinstance(other, dict) and other.get("name") == _EXTENSION:
            previous = str((other.get("extension") or {}).get("previous-context") or "")
    document = remove(document, context)
    return with_current_context(document, previous) if current_context(document) == context else document
