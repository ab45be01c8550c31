"""The picker of a file for any zone: prove its contexts from where one stands, point `kind-NAME` at the first proved.

In two shapes: `pick` for places with threezone, and a small POSIX shell script for places that have kubectl alone.
"""

from __future__ import annotations

import os
import shlex
from dataclasses import dataclass
from pathlib import Path

from threezone.core.errors import UsageError
from threezone.core.files import read, special, write_atomic
from threezone.kubeconfig import document, store
from threezone.kubeconfig.credentials import trust
from threezone.kubeconfig.document import Document
from threezone.zones.diagnostics import no_route
from threezone.zones.locate import Zone
from threezone.zones.prove import prove
from threezone.zones.routes import Route


@dataclass(frozen=True)
class Picked:
    """The context that works here, through which of the file's ways, and whether the file had to be changed."""

    context: str
    way: str
    server: str
    seconds: float
    written: bool


def pick(path: Path, zone: Zone) -> Picked:
    """Point the context `kind-NAME` of the file at the way that is proved from here.

    Raises UsageError for a file that is no export for any zone, RouteError (and writes nothing) without a proof.
    """
    env = {"KUBECONFIG": str(path)}
    if not path.is_file():
        raise UsageError(
            f"there is no file {path}", fix="./run invoke kubeconfig.export --for any, where the engine is"
        )
    held = store.read(env).document
    context = next((name.rpartition("@")[0] for name in document.items(held, "contexts") if "@" in name), "")
    found = document.entry(held, context)
    ways = _ways(held, context)
    if found is None or not ways:
        raise UsageError(f"{path} is no export for any zone", fix="./run invoke kubeconfig.export --for any")
    verdict = prove(ways, trust(found, cluster_directory=path.parent, user_directory=path.parent))
    if verdict.chosen is None:
        raise no_route(context.removeprefix("kind-"), zone, verdict)
    way = verdict.chosen.route
    written = store.update(lambda before: pointed(before, context, way.name), env=env)
    return Picked(context, way.name, way.server, verdict.seconds, written)


def _ways(held: Document, context: str) -> list[Route]:
    found = []
    for name in document.items(held, "contexts"):
        entry = document.entry(held, name)
        if name.startswith(f"{context}@") and entry is not None and entry.server:
            found.append(Route(name, entry.server, entry.tls_server_name))
    return found


def pointed(held: Document, context: str, way: str) -> Document:
    """The document whose `context` uses the cluster of the context `way`."""
    cluster = (document.body(held, "contexts", way) or {})["cluster"]
    return document.put(
        held, "contexts", context, {**(document.body(held, "contexts", context) or {}), "cluster": cluster}
    )


_SCRIPT = """\
#!/bin/sh
# Points the context {context} of a kubeconfig at the way that leads to the cluster from here.
# It needs kubectl and nothing else; the server's certificate is verified on every way.
# Usage: sh THIS-SCRIPT [KUBECONFIG-FILE]; without the argument it is the file beside which this script was written.
set -u
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


_OURS = _SCRIPT.partition("{context}")[0].encode()


def beside(path: Path) -> Path:
    """Where the shell picker of the export `path` stands."""
    return path.with_name(f"{path.stem}-pick.sh")


def guard(path: Path) -> None:
    """Raise UsageError where the picker of the export `path` would replace anything but an earlier picker."""
    script = beside(path)
    if os.path.lexists(script) and (script.is_symlink() or special(script) or not read(script).startswith(_OURS)):
        raise UsageError(
            f"{script} is no earlier picker of threezone's, and the one of {path} belongs there",
            fix=f"move {script} away, or name another file with --output",
        )


def write(path: Path, content: Document, context: str) -> Path:
    """Write the shell picker beside the export `path`; returns its path."""
    guard(path)  # a proof takes time
    script_path, text = script(path, content, context)
    write_atomic(script_path, text, 0o755)
    return script_path


def script(path: Path, content: Document, context: str) -> tuple[Path, str]:
    """The shell picker beside the export `path`: its path and its text. A way's cluster has the way's name."""
    ways = " ".join(way.name for way in _ways(content, context))
    return beside(path), _SCRIPT.format(context=context, contexts=ways, name=shlex.quote(path.name))
