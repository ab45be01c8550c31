"""The content of an exported kubeconfig: one context with its cluster and user, everything inline. Pure.

A file for any place has a cluster and a context for each place that was proved, and the context `kind-NAME`, which
a picker points at one of them.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from threezone.core.errors import UsageError
from threezone.kubeconfig import document
from threezone.kubeconfig.credentials import material
from threezone.kubeconfig.document import Document, Entry
from threezone.zones.routes import Route


def identity(entry: Entry) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the CA as an inline cluster, and the client certificate or token as an inline user.

    Raises UsageError for an entry that other places cannot use: a credential plugin, a password, a missing CA.
    """

    def inline(stanza: Mapping[str, Any], *keys: str) -> dict[str, Any]:
        files = {key: material(stanza, key, Path(), entry.context) for key in keys}
        return {f"{key}-data": base64.b64encode(pem).decode("ascii") for key, pem in files.items() if pem}

    cluster = inline(entry.cluster, "certificate-authority")
    if not cluster:
        raise UsageError(f"the context {entry.context} has no certificate authority, so its server cannot be verified")
    user = inline(entry.user, "client-certificate", "client-key")
    if len(user) == 2:  # noqa: PLR2004  a certificate and its key
        return cluster, user
    if entry.user.get("token"):
        return cluster, {"token": str(entry.user["token"])}
    raise UsageError(
        f"the context {entry.context} uses a login that works on this machine only, so it cannot be exported",
        fix="add --token: the file then has a short-lived token",
    )


def file(
    context: str, cluster: Mapping[str, Any], user: Mapping[str, Any], route: Route, namespace: str = ""
) -> Document:
    """Return a kubeconfig with one context that uses this route."""
    return _file(context, cluster, user, {context: route}, namespace)


def any_file(
    context: str,
    cluster: Mapping[str, Any],
    user: Mapping[str, Any],
    routes: Sequence[tuple[str, Route]],
    namespace: str = "",
) -> Document:
    """Return a kubeconfig with cluster and context `CONTEXT@PLACE` for each place, and `CONTEXT` for the first."""
    return _file(context, cluster, user, {f"{context}@{target}": route for target, route in routes}, namespace)


def _file(
    context: str, cluster: Mapping[str, Any], user: Mapping[str, Any], routes: Mapping[str, Route], namespace: str
) -> Document:
    content = document.put(Document(), "users", context, user)
    in_namespace = {"namespace": namespace} if namespace else {}
    for name, route in routes.items():
        tls = {"tls-server-name": route.tls_server_name} if route.tls_server_name else {}
        content = document.put(content, "clusters", name, {**cluster, "server": route.server, **tls})
        content = document.put(content, "contexts", name, {"cluster": name, "user": context, **in_namespace})
    first = next(iter(routes))
    content = document.put(content, "contexts", context, {"cluster": first, "user": context, **in_namespace})
    return document.with_current_context(content, context)
