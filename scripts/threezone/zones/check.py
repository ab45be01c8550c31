"""Check whether the user's entry works exactly as it is. Read-only; no other route is tried.

Notices name other problems: a file that others may read, a lock, a proxy, a certificate that ends soon.
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
from threezone.core.errors import ClusterError, RouteError, ThreezoneError
from threezone.kubeconfig import document, store
from threezone.kubeconfig.credentials import material, trust
from threezone.kubeconfig.document import Entry
from threezone.zones import certificate, kind_cluster
from threezone.zones.diagnostics import explain
from threezone.zones.http_proxy import proxied
from threezone.zones.kubeconfig_entry import UserEntry, ca_fingerprint, find
from threezone.zones.locate import Zone, locate
from threezone.zones.proof import Proof, Verdict
from threezone.zones.prove import prove
from threezone.zones.routes import Route

# recreated: the context's name now belongs to another cluster. gone: its cluster is deleted or stopped.
State = Literal["proved", "recreated", "gone", "unreachable"]

SOON = timedelta(days=30)
_OTHERS = 0o077
_MINUTES = 120  # seconds; longer ages are shown in minutes


@dataclass(frozen=True)
class Checked:
    """The result of a check. `error` is None for a proved entry, else the task fails with it."""

    state: State
    entry: UserEntry
    proof: Proof
    notices: tuple[str, ...]
    error: ThreezoneError | None

    def data(self) -> dict[str, Any]:
        """The check as JSON."""
        return {
            "context": self.entry.context,
            "state": self.state,
            "exitCode": self.error.exit_code if self.error else 0,
            "file": self.entry.file,
            "server": self.entry.server,
            "tlsServerName": self.entry.tls_server_name or None,
            "stages": self.proof.data()["stages"],
            "seconds": round(self.proof.seconds, 4),
            "why": (self.error.message if self.error else None),
            "fix": (self.error.fix if self.error else None),
            "notices": list(self.notices),
        }


def check(context: str) -> Checked:
    """Prove the user's entry exactly as it is. For a kind cluster, the engine here is asked about it."""
    name = names.in_context(context)
    if not name or find(context) is None:
        return check_entry(context, locate())
    cluster = kind_cluster.observe(name)
    return check_entry(context, cluster.zone, fresh=cluster.kubeconfig, missing=cluster.missing)


def check_entry(context: str, zone: Zone, *, fresh: str | None = None, missing: ClusterError | None = None) -> Checked:
    """Prove the user's entry `context` exactly as it is.

    `fresh` is the output of `kind get kubeconfig` for the cluster of that name, `missing` the error for one that is
    gone or stopped; both are None for other clusters and without an engine. Raises ClusterError for a
    missing entry, UsageError for a file that kubectl cannot read.
    """
    entry = find(context)
    if entry is None:
        raise ClusterError(
            f"your kubeconfig has no entry {context}", fix=_repair(context, "kubectl config get-contexts")
        )
    verdict = prove([Route("existing entry", entry.server, entry.tls_server_name)], trust(entry.entry))
    proof = verdict.proofs[0]
    state, error = judge(entry, zone, verdict, fresh, missing)
    notices = [*file_notices(store.files()), *entry_notices(entry.entry, os.environ, datetime.now(UTC))]
    if error is None and not proof.ok:
        notices.append(f"the login was not tried: {proof.stages[-1].why}")
    if error is None and missing is not None:
        notices.append(f"{missing.message}; this entry leads to a cluster elsewhere")
    return Checked(state, entry, proof, tuple(notices), error)


def judge(
    entry: UserEntry, zone: Zone, verdict: Verdict, fresh: str | None, missing: ClusterError | None
) -> tuple[State, ThreezoneError | None]:
    """Return the state of the entry by its proof and the engine's facts about the cluster."""
    stages = verdict.proofs[0].stages
    proved = verdict.chosen is not None or bool(stages and stages[-1].cause == "plugin")
    fresh_entry = document.entry(document.parse(fresh.encode(), "kind's kubeconfig"), entry.context) if fresh else None
    if fresh_entry is not None and ca_fingerprint(fresh_entry) not in (None, ca_fingerprint(entry.entry)):
        why = "leads to another cluster than the one of that name here" if proved else "belongs to a deleted cluster"
        return "recreated", ClusterError(
            f"the entry {entry.context} {why}: the cluster was created again and has another CA",
            evidence=verdict.evidence,
            fix=_repair(entry.context),
        )
    if proved:
        return "proved", None
    if missing is not None:
        evidence = f"{missing.evidence}\n{verdict.evidence}".strip()
        return "gone", ClusterError(missing.message, evidence=evidence, fix=missing.fix)
    return "unreachable", RouteError(
        f"the entry {entry.context} does not lead to its API server from this {zone.kind}",
        evidence=f"{verdict.evidence}\n{explain(verdict, zone)}",
        fix=_repair(entry.context),
    )


def _repair(context: str, other: str = "") -> str:
    """Return the command that repairs a kind cluster's entry; for other clusters `other`, or kubectl's diagnosis."""
    if not (name := names.in_context(context)):
        return other or f"kubectl --context {shlex.quote(context)} cluster-info"
    return "./run invoke kubeconfig.connect" + ("" if name == "kind" else f" --name {name}")


def file_notices(files: Sequence[str]) -> tuple[str, ...]:
    """Return notices about the kubeconfig files: others who may read them, and locks."""
    notices = []
    for name in files:
        with suppress(OSError):
            mode = stat.S_IMODE(Path(name).stat().st_mode)
            if mode & _OTHERS:
                notices.append(f"{name} has keys and its mode is {mode:04o}: chmod 600 {shlex.quote(name)}")
        with suppress(OSError):
            age = max(0, int(time.time() - os.lstat(f"{name}.lock").st_mtime))
            old = f"{age} s" if age < _MINUTES else f"{age // 60} min"
            notices.append(
                f"{name}.lock exists and is {old} old: another program is writing the file, or was killed; then "
                "./run invoke kubeconfig.connect --break-lock"
            )
    return tuple(notices)


def entry_notices(entry: Entry, env: Mapping[str, str], now: datetime) -> tuple[str, ...]:
    """Return notices about an entry: verification switched off, a proxy, a client certificate that ends soon."""
    notices = []
    if entry.cluster.get("insecure-skip-tls-verify"):
        notices.append("insecure-skip-tls-verify is set: kubectl would trust any server; this check verified it anyway")
    if str(entry.cluster.get("proxy-url") or "").startswith("https:"):
        notices.append("proxy-url is an https proxy: kubectl goes through it, this check went directly")
    elif sentence := proxied(entry.server, env):
        notices.append(sentence)
    end = certificate.not_after(material(entry.user, "client-certificate", Path(), entry.context))
    if end is not None and end - now < SOON:
        verb = "ends" if end > now else "ended"
        notices.append(f"the client certificate {verb} on {end:%Y-%m-%d}; a cluster created again has a new one")
    return tuple(notices)
