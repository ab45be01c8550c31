"""In a kubeconfig for any place, point `kind-NAME` at the route that works from here.

`pick` needs threezone; a small POSIX shell script does the same with kubectl alone.
"""

from __future__ import annotations

import os
import shlex
from dataclasses import dataclass
from pathlib import Path

from threezone.core.errors import UsageError
from threezone.core.files import read, special_kind, write_atomic
from threezone.kubeconfig import document, store
from threezone.kubeconfig.credentials import trust
from threezone.kubeconfig.document import Document
from threezone.zones.diagnostics import no_route
from threezone.zones.locate import Zone
from threezone.zones.prove import prove
from threezone.zones.routes import Route


@dataclass(frozen=True)
class PickResult:
    """The context, the route that it uses now (named by its own context), and whether the file was changed."""

    context: str
    way: str
    server: str
    seconds: float
    written: bool


def pick(path: Path, zone: Zone) -> PickResult:
    """Point the context `kind-NAME` of the file at the route that is proved from here.

    Raises UsageError for other files than an export for any place, RouteError (and writes nothing) without a proof.
    """
    env = {"KUBECONFIG": str(path)}
    if not path.is_file():
        raise UsageError(
            f"there is no file {path}", fix="./run invoke kubeconfig.export --for any, where the engine is"
        )
    content = store.read(env).document
    context = next((name.rpartition("@")[0] for name in document.items(content, "contexts") if "@" in name), "")
    entry = document.entry(content, context)
    routes = _routes(content, context)
    if entry is None or not routes:
        raise UsageError(f"{path} is not an export for any place", fix="./run invoke kubeconfig.export --for any")
    verdict = prove(routes, trust(entry, cluster_directory=path.parent, user_directory=path.parent))
    if verdict.chosen is None:
        raise no_route(context.removeprefix("kind-"), zone, verdict)
    route = verdict.chosen.route
    written = store.update(lambda before: with_cluster_of(before, context, route.name), env=env)
    return PickResult(context, route.name, route.server, verdict.seconds, written)


def _routes(content: Document, context: str) -> list[Route]:
    entries = [document.entry(content, name) for name in document.items(content, "contexts")]
    return [
        Route(entry.context, entry.server, entry.tls_server_name)
        for entry in entries
        if entry is not None and entry.context.startswith(f"{context}@") and entry.server
    ]


def with_cluster_of(content: Document, context: str, other: str) -> Document:
    """Return the document in which `context` uses the cluster of the context `other`."""
    cluster = (document.body(content, "contexts", other) or {})["cluster"]
    body = document.body(content, "contexts", context) or {}
    return document.put(content, "contexts", context, {**body, "cluster": cluster})


_SCRIPT = """\
#!/bin/sh
# Points the context {context} of a kubeconfig at the way that leads to the cluster from here.
# It needs kubectl and nothing else; the server's certificate is verified on every way.
# Usage: sh THIS-SCRIPT [KUBECONFIG-FILE]; without the argument it is the file beside which this script was written.
set -u
export KUBERC=off # the defaults in a user's kuberc are for people
name={name}
file=${{1:-$(dirname -- "$0")/$name}}
for context in {contexts}; do
  if said=$(kubectl --kubeconfig "$file" --context "$context" --request-timeout=2s get --raw /readyz 2>&1); then
    kubectl --kubeconfig "$file" config set-context {context} --cluster="$context" >/dev/null || exit 1
    printf '%s\\n' "{context} goes through $context"
    exit 0
  fi
  printf '%s\\n' "$context: $said" | tail -n 1 >&2
done
printf '%s\\n' "error: no way in $file leads to the cluster from here" >&2
exit 5
"""


_OURS = _SCRIPT.partition("{context}")[0].encode()  # the beginning of every picker


def beside(path: Path) -> Path:
    """Return the path of the shell picker beside the export `path`."""
    return path.with_name(f"{path.stem}-pick.sh")


def guard(path: Path) -> None:
    """Raise UsageError if the picker of the export `path` would replace anything but an earlier picker."""
    script = beside(path)
    if os.path.lexists(script) and (script.is_symlink() or special_kind(script) or not read(script).startswith(_OURS)):
        raise UsageError(
            f"{script} is in the way of the picker of {path}: it is not an earlier picker of threezone",
            fix=f"move {script} away, or name another file with --output",
        )


def write(path: Path, content: Document, context: str) -> Path:
    """Write the shell picker beside the export `path`. Return its path."""
    guard(path)  # again, as a proof takes time
    script_path, text = script(path, content, context)
    write_atomic(script_path, text, 0o755)
    return script_path


def script(path: Path, content: Document, context: str) -> tuple[Path, str]:
    """Return path and text of the shell picker beside the export `path`. A route's cluster has its context's name."""
    contexts = " ".join(route.name for route in _routes(content, context))
    return beside(path), _SCRIPT.format(context=context, contexts=contexts, name=shlex.quote(path.name))
