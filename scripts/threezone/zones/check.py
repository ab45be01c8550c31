"""Check: is the user's entry good as it stands? Read-only: the entry is proved as kubectl would use it, no other way.

What is worth knowing beside the proof (a file that others may read, a lock, a proxy, an end of validity) is a notice.
"""

from __future__ import annotations

import os
import shlex
import stat
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Literal

from threezone.core import names
from threezone.core.errors import ClusterError, RouteError, ThreezoneError, UsageError
from threezone.kubeconfig import document, store
from threezone.kubeconfig.credentials import material, trust
from threezone.kubeconfig.document import Entry
from threezone.zones import certificate
from threezone.zones.connect import Current, find
from threezone.zones.diagnostics import explain
from threezone.zones.http_proxy import proxied
from threezone.zones.locate import Zone
from threezone.zones.prove import Proof, Verdict, prove
from threezone.zones.routes import Route

# recreated: the context's name now belongs to another cluster. gone: its cluster is deleted or stopped.
State = Literal["proved", "recreated", "gone", "unreachable"]

SOON = timedelta(days=30)
_OTHERS = 0o077
_MINUTES = 120  # seconds from which an age is told in minutes


@dataclass(frozen=True)
class Checked:
    """What a check found. `error` is None when the entry is proved, else what the task fails with."""

    state: State
    context: str
    server: str
    tls_server_name: str
    file: str
    proof: Proof
    notices: tuple[str, ...]
    error: ThreezoneError | None

    def data(self) -> dict[str, Any]:
        """The check as JSON has it."""
        return {
            "context": self.context,
            "state": self.state,
            "exitCode": self.error.exit_code if self.error else 0,
            "file": self.file,
            "server": self.server,
            "tlsServerName": self.tls_server_name or None,
            "stages": self.proof.data()["stages"],
            "seconds": round(self.proof.seconds, 4),
            "why": (self.error.message if self.error else None),
            "fix": (self.error.fix if self.error else None),
            "notices": list(self.notices),
        }


def check(context: str, zone: Zone, *, fresh: str | None = None, missing: ClusterError | None = None) -> Checked:
    """Prove the user's entry `context` exactly as it stands.

    `fresh` is what `kind get kubeconfig` prints for the cluster of that name, `missing` what the engine here says of
    one that is gone or stopped; both are None for other clusters and without an engine. Nothing is written. Raises
    UsageError when there is no such entry, or a file that kubectl cannot read.
    """
    entry = find(context)
    if entry is None:
        raise UsageError(f"your kubeconfig has no entry {context}", fix=_mend(context, "kubectl config get-contexts"))
    verdict = prove([Route("existing entry", entry.server, entry.tls_server_name)], trust(entry.entry))
    state, error = judge(entry, zone, verdict, fresh, missing)
    notices = (*file_notices(store.files()), *entry_notices(entry.entry, os.environ, datetime.now(UTC)))
    if error is None and not verdict.proofs[0].ok:
        notices = (*notices, f"the login was not tried: {verdict.proofs[0].stages[-1].why}")
    if error is None and missing is not None:
        notices = (*notices, f"{missing.message}; this entry leads to a cluster elsewhere")
    return Checked(state, context, entry.server, entry.tls_server_name, entry.file, verdict.proofs[0], notices, error)


def judge(
    entry: Current, zone: Zone, verdict: Verdict, fresh: str | None, missing: ClusterError | None
) -> tuple[State, ThreezoneError | None]:
    """What the proof of the entry means, with what the engine knows of the cluster of its name."""
    last = verdict.proofs[0].stages[-1] if verdict.proofs[0].stages else None
    proved = verdict.chosen is not None or (last is not None and last.cause == "plugin")
    if fresh is not None and _authority(fresh, entry.context) not in (None, _own_authority(entry)):
        why = "leads to another cluster than the one of that name here" if proved else "is of a cluster that is no more"
        return "recreated", ClusterError(
            f"the entry {entry.context} {why}: the cluster was made anew and has another CA",
            evidence=verdict.evidence,
            fix=_mend(entry.context),
        )
    if proved:
        return "proved", None
    if missing is not None:
        return "gone", ClusterError(
            missing.message, evidence=f"{missing.evidence}\n{verdict.evidence}".strip(), fix=missing.fix
        )
    return "unreachable", RouteError(
        f"the entry {entry.context} does not lead to its API server from this {zone.kind}",
        evidence="\n".join((verdict.evidence, explain(verdict, zone))),
        fix=_mend(entry.context),
    )


def _authority(fresh: str, context: str) -> str | None:
    entry = document.entry(document.parse(fresh.encode(), "kind's kubeconfig"), context)
    return certificate.fingerprint(material(entry.cluster, "certificate-authority", Path(), context)) if entry else None


def _own_authority(entry: Current) -> str | None:
    return certificate.fingerprint(material(entry.entry.cluster, "certificate-authority", Path(), entry.context))


def _mend(context: str, other: str = "") -> str:
    """The command that writes the entry of a kind cluster anew; for any other cluster `other`, or what tells more."""
    if not (name := names.in_context(context)):
        return other or f"kubectl --context {shlex.quote(context)} cluster-info"
    return "./run invoke kubeconfig.connect" + ("" if name == "kind" else f" --name {name}")


def file_notices(files: Sequence[str]) -> tuple[str, ...]:
    """What is worth knowing of the kubeconfig files: who else may read them, and locks that are held."""
    found = []
    for name in files:
        with suppress(OSError):
            mode = stat.S_IMODE(Path(name).stat().st_mode)
            if mode & _OTHERS:
                found.append(f"{name} holds keys and has mode {mode:04o}: chmod 600 {shlex.quote(name)}")
        with suppress(OSError):
            age = max(0, int(time.time() - os.lstat(f"{name}.lock").st_mtime))
            old = f"{age} s" if age < _MINUTES else f"{age // 60} min"
            found.append(
                f"{name}.lock is there, {old} old: somebody writes the file, or was killed while writing; then "
                "./run invoke kubeconfig.connect --break-lock"
            )
    return tuple(found)


def entry_notices(entry: Entry, env: Mapping[str, str], now: datetime) -> tuple[str, ...]:
    """What is worth knowing of an entry: verification that is off, a proxy, a client certificate that ends soon."""
    found = []
    if entry.cluster.get("insecure-skip-tls-verify"):
        found.append(
            "insecure-skip-tls-verify is set: kubectl would talk to whoever answers; this check verified all the same"
        )
    if entry.cluster.get("proxy-url"):
        found.append("proxy-url is set: kubectl goes through that proxy, this check went directly")
    elif sentence := proxied(entry.server, env):
        found.append(sentence)
    end = certificate.not_after(material(entry.user, "client-certificate", Path(), entry.context))
    if end is not None and end - now < SOON:
        verb = "ends" if end > now else "ended"
        found.append(f"the client certificate {verb} on {end:%Y-%m-%d}; a cluster that is made anew has a new one")
    return tuple(found)
