"""Probes of the user's kubeconfig, and of the route in its entry."""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from threezone.core.errors import UsageError
from threezone.doctor.facts import Kubeconfig, Route, UserEntry
from threezone.kubeconfig import document, store
from threezone.kubeconfig.credentials import material, trust
from threezone.kubeconfig.document import BODY, Document, Section
from threezone.zones import certificate, kubeconfig_entry
from threezone.zones import routes as candidates
from threezone.zones.http_proxy import proxied
from threezone.zones.locate import locate
from threezone.zones.prove import prove

_OTHERS = 0o077
_SECTIONS: tuple[Section, ...] = ("clusters", "contexts", "users")


def observe(context: str) -> Kubeconfig:
    """The user's files and the entry for a context. Reads files only; no secret is in the result."""
    try:
        files = store.files()
    except UsageError as error:
        return Kubeconfig(problem=_sentence(error))
    locks, exposed = [], []
    for name in files:
        with suppress(OSError):
            locks.append((f"{name}.lock", time.time() - os.lstat(f"{name}.lock").st_mtime))
        with suppress(OSError):
            if (mode := stat.S_IMODE(Path(name).stat().st_mode)) & _OTHERS:
                exposed.append((name, mode))
    try:
        view = store.read()
        entry = _entry(context)
    except UsageError as error:
        return Kubeconfig(files, _sentence(error), tuple(locks), tuple(exposed))
    return Kubeconfig(
        files,
        locks=tuple(locks),
        exposed=tuple(exposed),
        dangling=tuple(dangling(view.document, context)),
        different=tuple(different(files)) if len(files) > 1 else (),
        entry=entry,
    )


def _sentence(error: UsageError) -> str:
    return "\n".join(filter(None, (error.message, error.evidence)))


def _entry(context: str) -> UserEntry | None:
    found = kubeconfig_entry.find(context)
    if found is None:
        return None
    ends = certificate.not_after(material(found.entry.user, "client-certificate", Path(), context))
    return UserEntry(
        found.server,
        found.file,
        bool(found.entry.cluster.get("proxy-url")),
        kubeconfig_entry.ca_fingerprint(found.entry),
        ends,
    )


def dangling(merged: Document, context: str) -> Iterator[str]:
    """A sentence for each name that the current context, or the given one, refers to and that is in no file. Pure.

    Where the given one is missing itself, its entry is, which is no dangling name.
    """
    current = document.current_context(merged)
    if current not in ("", context) and document.body(merged, "contexts", current) is None:
        yield f"current-context is {current}, and there is no such context"
    for name in dict.fromkeys((current, context)):
        entry = document.entry(merged, name)
        if entry is None:
            continue
        if not entry.cluster_name or document.body(merged, "clusters", entry.cluster_name) is None:
            yield f"the context {name} names the cluster {entry.cluster_name or 'nothing'}, which no file has"
        if not entry.user_name or document.body(merged, "users", entry.user_name) is None:
            yield f"the context {name} names the user {entry.user_name or 'nothing'}, which no file has"


def different(files: tuple[str, ...]) -> Iterator[str]:
    """A sentence for each name that two files define differently. Values are not shown: some are keys."""
    first: dict[tuple[Section, str], tuple[str, object]] = {}
    for name in files:
        with suppress(OSError):
            part = document.parse(Path(name).read_bytes(), name)
            for section in _SECTIONS:
                for item in document.items(part, section):
                    body = document.body(part, section, item)
                    where, before = first.setdefault((section, item), (name, body))
                    if before != body:
                        yield f"{BODY[section]} {item}: {where} (which kubectl takes) and {name} differ"


def prove_entry(context: str) -> Route | None:
    """The proof of the user's entry exactly as it is; None without an entry, or for one whose files are broken."""
    try:
        entry = kubeconfig_entry.find(context)
        if entry is None:
            return None
        route = candidates.Route("existing entry", entry.server, entry.tls_server_name)
        verdict = prove([route], trust(entry.entry))
    except UsageError:  # the probe of the files says what is wrong with them
        return None
    sentence = "" if entry.entry.cluster.get("proxy-url") else proxied(entry.server, os.environ)
    return Route(verdict.proofs[0], locate().kind, sentence)
