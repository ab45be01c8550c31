"""A kubeconfig as data: pure functions from document to document. Nothing here reads or writes a file.

The format is client-go's `tools/clientcmd/api/v1`. Unknown fields are kept. A `Document` is never changed in place:
every function returns a new one.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from threezone.core import go_yaml
from threezone.core.errors import UsageError
from threezone.kubeconfig import schema, yaml_writer

Section = Literal["clusters", "contexts", "users"]
Item = dict[str, Any]

BODY: dict[Section, str] = {"clusters": "cluster", "contexts": "context", "users": "user"}

# The fields that a new entry of the same name replaces. All others (a namespace, extensions) are the user's.
_CA = ("certificate-authority", "certificate-authority-data")
_TRUST = frozenset(["server", "tls-server-name", "insecure-skip-tls-verify", *_CA])
_CERTIFICATE = ("client-certificate", "client-certificate-data", "client-key", "client-key-data")
_CREDENTIALS = frozenset(["username", "password", "auth-provider", "exec", "token", "tokenFile", *_CERTIFICATE])
# kind, minikube and others keep notes in `extensions`, which kubectl ignores and keeps. Ours is in the context: the
# name of the context that was current before, which becomes current again when ours is removed.
_EXTENSION = "threezone"


@dataclass(frozen=True)
class Document:
    """One kubeconfig. `truncated`: more YAML documents followed in the file, which kubectl ignores."""

    data: Mapping[str, Any] = field(default_factory=dict, repr=False)
    truncated: bool = False


@dataclass(frozen=True)
class Entry:
    """A context with its cluster and user as written ({} when missing)."""

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
    """Return the document in `text`, an empty one without text. Error messages call it `where`.

    Raises UsageError, with the line if known, for everything that kubectl refuses too.
    """
    try:
        data, lines, cut = go_yaml.load(text)
        if data is not None:
            schema.check(data, lines)
    except go_yaml.Broken as error:
        line = f", line {error.line}" if error.line else ""
        is_unquoted = re.search("cannot unmarshal (number|bool)", error.problem)
        raise UsageError(
            f"{where}{line}: not a kubeconfig that kubectl can read",
            evidence=error.problem,
            fix=f"correct {where}{'; quote the value' if is_unquoted else ''}; "
            f"`kubectl config view --kubeconfig {where}` must accept it",
        ) from None
    return Document(data or {}, cut)


def dump(document: Document) -> bytes:
    """Return the document as YAML that kubectl and readers of YAML 1.1 and 1.2 read back the same.

    Missing sections are written as empty lists: the Python client requires them.
    """
    data = dict(document.data)
    head = {"apiVersion": data.pop("apiVersion", None) or "v1", "kind": data.pop("kind", None) or "Config"}
    for section in BODY:
        data[section] = data.get(section) or []
    data["current-context"] = data.get("current-context") or ""
    return yaml_writer.dump({**head, **data})


def items(document: Document, section: Section) -> dict[str, Item]:
    """Return the items of a section by name, in order. An item has a `name`, a body and maybe unknown keys."""
    return {(item or {}).get("name") or "": item or {} for item in document.data.get(section) or []}


def body(document: Document, section: Section, name: str) -> Item | None:
    """Return the `cluster`, `context` or `user` of the named item; {} when it is empty, None if it is missing."""
    item = items(document, section).get(name)
    return None if item is None else dict(item.get(BODY[section]) or {})


def put_item(document: Document, section: Section, name: str, item: Item | None) -> Document:
    """Return the document with this item in place of the old one, or at the end. None removes it."""
    by_name = items(document, section)
    if item is None:
        by_name.pop(name, None)
    else:
        by_name[name] = item
    return Document({**document.data, section: list(by_name.values())}, document.truncated)


def put(document: Document, section: Section, name: str, content: Mapping[str, Any]) -> Document:
    """Return the document with `content` as the body of the named item. Unknown keys beside the body stay."""
    item = items(document, section).get(name) or {}
    return put_item(document, section, name, {**item, "name": name, BODY[section]: dict(content)})


def current_context(document: Document) -> str:
    """Return the name of the current context, "" when none is set."""
    return str(document.data.get("current-context") or "")


def with_current_context(document: Document, name: str) -> Document:
    """Return the document with another current context; "" for none."""
    return Document({**document.data, "current-context": name}, document.truncated)


def entry(document: Document, context: str) -> Entry | None:
    """Return the context with its cluster and user, or None when there is no such context."""
    content = body(document, "contexts", context)
    if content is None:
        return None
    cluster, user = content.get("cluster") or "", content.get("user") or ""
    return Entry(
        context=context,
        cluster_name=cluster,
        user_name=user,
        namespace=content.get("namespace") or "",
        cluster=body(document, "clusters", cluster) or {},
        user=body(document, "users", user) or {},
    )


def with_route(document: Document, cluster: str, server: str, tls_server_name: str = "") -> Document:
    """Return the document with another address of the cluster. Raises UsageError when there is no such cluster."""
    content = body(document, "clusters", cluster)
    if content is None:
        raise UsageError(f"there is no cluster {cluster!r} in this kubeconfig")
    content["server"] = server
    content.pop("tls-server-name", None)
    if tls_server_name:
        content["tls-server-name"] = tls_server_name
    return put(document, "clusters", cluster, content)


def merge(document: Document, source: Document, context: str) -> Document:
    """Return the document with `context` of `source`, its cluster and its user.

    In entries of the same names the address, CA and credentials are replaced; all other fields stay. File paths are
    taken as they are. Raises UsageError when `source` lacks one of the three.
    """
    new = entry(source, context)
    if new is None or not new.cluster or body(source, "users", new.user_name) is None:
        raise UsageError(f"the source has no complete context {context!r} (a context, its cluster and its user)")
    parts: tuple[tuple[Section, str, Mapping[str, Any], frozenset[str]], ...] = (
        ("clusters", new.cluster_name, new.cluster, _TRUST),
        ("users", new.user_name, new.user, _CREDENTIALS),
        ("contexts", context, body(source, "contexts", context) or {}, frozenset()),
    )
    for section, name, content, replaced in parts:
        old = body(document, section, name) or {}
        kept = {key: value for key, value in old.items() if key in content or key not in replaced}
        document = put(document, section, name, {**kept, **content})
    return document


def remove(document: Document, context: str) -> Document:
    """Return the document without the context, and without its cluster and user unless another context uses them."""
    removed = body(document, "contexts", context)
    if removed is None:
        return document
    document = put_item(document, "contexts", context, None)
    others = [item.get("context") or {} for item in items(document, "contexts").values()]
    sections: tuple[Section, ...] = ("clusters", "users")
    for section in sections:
        name = removed.get(BODY[section]) or ""
        if name not in {other.get(BODY[section]) or "" for other in others} and name in items(document, section):
            document = put_item(document, section, name, None)
    return document


def extract(document: Document, context: str, cluster_directory: Path, user_directory: Path) -> Document:
    """Return a document with this context alone, usable anywhere: relative paths become absolute.

    They are relative to the directories of the files that define the cluster and the user. Raises UsageError when there
    is no such context.
    """
    content = entry(document, context)
    if content is None:
        raise UsageError(f"there is no context {context!r} in this kubeconfig")
    cluster = _absolute(content.cluster, ("certificate-authority",), cluster_directory)
    user = _absolute(content.user, ("client-certificate", "client-key", "tokenFile"), user_directory)
    if os.sep in str((user.get("exec") or {}).get("command") or ""):  # a bare name is looked up on PATH
        user["exec"] = _absolute(user["exec"], ("command",), user_directory)
    result = put(Document(), "clusters", content.cluster_name, cluster)
    result = put(result, "users", content.user_name, user)
    result = put(result, "contexts", context, body(document, "contexts", context) or {})
    return with_current_context(result, context)


def _absolute(content: Mapping[str, Any], keys: tuple[str, ...], directory: Path) -> Item:
    paths = {key: str(directory / content[key]) for key in keys if isinstance(content.get(key), str) and content[key]}
    return {**content, **paths}


def adopt(document: Document, source: Document, context: str) -> Document:
    """`merge`, and make a new context the current one, as kind does. It keeps a note of the previous one.

    A context that exists already does not become the current one.
    """
    is_new = body(document, "contexts", context) is None
    before = current_context(document)
    document = merge(document, source, context)
    if not is_new:
        return document
    content = body(document, "contexts", context) or {}
    # The new context is already current if somebody deleted it by hand before.
    facts: dict[str, Any] = {"previous-context": "" if before == context else before}
    if before and body(document, "contexts", before) is None:
        facts["was-missing"] = True  # as it was, it comes back
    note = {"name": _EXTENSION, "extension": facts}
    others = [item for item in content.get("extensions") or [] if (item or {}).get("name") != _EXTENSION]
    document = put(document, "contexts", context, {**content, "extensions": [*others, note]})
    return with_current_context(document, context)


def disown(document: Document, context: str) -> Document:
    """`remove`, and make the context that `adopt` noted current again, unless it is gone since then."""
    notes = {}
    for item in (body(document, "contexts", context) or {}).get("extensions") or []:
        if (item or {}).get("name") == _EXTENSION and isinstance(item.get("extension"), dict):
            notes = item["extension"]
    document = remove(document, context)
    noted = str(notes.get("previous-context") or "")
    previous = noted if body(document, "contexts", noted) is not None or notes.get("was-missing") else ""
    return with_current_context(document, previous) if current_context(document) == context else document
