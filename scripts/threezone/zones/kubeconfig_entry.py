"""The entry of a cluster in the user's kubeconfig. Reads files only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from threezone.core.errors import UsageError
from threezone.kubeconfig import document, store
from threezone.kubeconfig.credentials import material
from threezone.kubeconfig.document import Entry
from threezone.zones import certificate

_LOGINS = ("client-certificate-data", "client-certificate", "token", "tokenFile", "exec", "auth-provider", "username")


@dataclass(frozen=True)
class UserEntry:
    """The user's entry for a cluster. `kubeconfig` is that entry alone as data, with absolute paths: it holds keys."""

    context: str
    server: str
    tls_server_name: str
    namespace: str
    file: str
    is_current: bool
    kubeconfig: Mapping[str, Any] = field(repr=False)

    @property
    def entry(self) -> Entry:
        """The context with its cluster and user."""
        entry = document.entry(document.Document(self.kubeconfig), self.context)
        if entry is None:  # `kubeconfig` was made from that context
            raise UsageError(f"there is no context {self.context!r} in this kubeconfig")
        return entry

    def data(self) -> dict[str, Any]:
        """The entry as JSON, without secrets: the CA as a fingerprint, and the kind of login."""
        entry = self.entry
        return {
            "context": self.context,
            "current": self.is_current,
            "file": self.file,
            "server": self.server,
            "tlsServerName": self.tls_server_name or None,
            "namespace": self.namespace or None,
            "caSha256": ca_fingerprint(entry),
            "credential": next((kind.removesuffix("-data") for kind in _LOGINS if entry.user.get(kind)), None),
        }


def ca_fingerprint(entry: Entry) -> str | None:
    """The SHA-256 of the entry's CA certificate, None without one. Two entries with the same have the same cluster."""
    return certificate.fingerprint(material(entry.cluster, "certificate-authority", Path(), entry.context))


def find(context: str) -> UserEntry | None:
    """Return the user's entry of that name, None when there is none. Raises UsageError for a broken kubeconfig."""
    view = store.read()
    entry = document.entry(view.document, context)
    if entry is None or not entry.server:
        return None
    alone = document.extract(
        view.document,
        context,
        view.directory("clusters", entry.cluster_name),
        view.directory("users", entry.user_name),
    )
    return UserEntry(
        context=context,
        server=entry.server,
        tls_server_name=entry.tls_server_name,
        namespace=entry.namespace,
        file=view.origins.get(("contexts", context), view.target),
        is_current=document.current_context(view.document) == context,
        kubeconfig=alone.data,
    )
