"""Prove that a commit alone delivers on the lab: its Git server is the source, the sample app the workload."""

from __future__ import annotations

import re
import secrets
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import threezone
from threezone.clients.kubernetes.api import Api
from threezone.clients.kubernetes.watch import NAMESPACES
from threezone.cluster.lab import Lab
from threezone.core.errors import DeliveryError, ThreezoneError, UsageError
from threezone.core.events import note, step
from threezone.delivery.proof import phases, sandbox
from threezone.delivery.proof.manifests import PART, PART_LABEL, Names
from threezone.delivery.proof.phases import Outcome
from threezone.delivery.proof.repository import Remote, Worktree
from threezone.delivery.proof.run import Proof
from threezone.flux import components
from threezone.images import build


def prove(lab: Lab, requested: Sequence[str] = (), *, keep: bool = False, seconds: float = 0.0) -> Proved:
    """Run the requested phases (none: all), each within `seconds` (0: as the settings say), and clean up.

    A failed phase is not raised: the result has it. Raises UsageError for an unknown phase, DeliveryError without Flux
    or a Git server, and KeyboardInterrupt after the cleanup.
    """
    wanted, seconds = phases.plan(requested), seconds or lab.settings.gitops.timeout
    flux = components.observe(lab.api)
    if not flux.components:
        components.require(flux)
    names, started = Names(secrets.token_hex(3)), datetime.now(UTC)
    with (
        tempfile.TemporaryDirectory(prefix=f"{names.name}-") as scratch,
        closing(Remote(lab, Path(scratch, "remote"), seconds)) as remote,
    ):
        work = Worktree(Path(scratch, "work"), names.name, names.path)
        proof = Proof(lab.api, remote, names, work, lab.context, build.APP, seconds)
        try:
            proof.run(wanted)
            duration = time.monotonic() - proof.began
            _sweep(lab.api, remote, names)
        finally:
            if keep:
                _keep(lab.api, names)
            else:
                _clean(lab.api, remote, names)
    server_version = str((lab.api.get("/version") or {}).get("gitVersion", ""))
    versions = {"kubernetes": server_version, "flux": flux.version, "threezone": threezone.__version__}
    return Proved(proof, started, duration, lab.name, versions)


def remove(lab: Lab, identity: str) -> None:
    """Remove a proof that was kept. Raises UsageError when there is none of that id."""
    names = Names(identity.removeprefix("proof-"))
    if lab.api.get(f"{NAMESPACES}/{names.sandbox}") is None:
        raise UsageError(f"there is no proof {names.id}", fix=f"kubectl get namespaces -l {PART_LABEL}={PART}")
    with (
        tempfile.TemporaryDirectory() as scratch,
        closing(Remote(lab, Path(scratch), lab.settings.gitops.timeout)) as remote,
    ):
        _clean(lab.api, remote, names)


def _keep(api: Api, names: Names) -> None:
    """Leave everything as it is, and prevent a later proof from removing it."""
    with step(f"keep {names.name}") as running:
        api.merge(f"{NAMESPACES}/{names.sandbox}", {"metadata": {"labels": {sandbox.KEPT_LABEL: "true"}}})
        running.result = f"./run invoke gitops.prove --remove {names.id} removes it"


def _clean(api: Api, remote: Remote, names: Names) -> None:
    """Remove a proof from the cluster, and its branch. A failure is reported, not raised."""
    removals: list[Callable[[], None]] = [lambda: sandbox.remove(api, names), lambda: remote.delete(names.name)]
    with step(f"clean up {names.name}"):
        for removal in removals:
            try:
                removal()
            except ThreezoneError as error:
                note(f"left behind: {error.message} ({error.evidence}); the next gitops.prove tries again")


def _sweep(api: Api, remote: Remote, names: Names) -> None:
    """Remove what killed proofs left: in the cluster, and branches without a proof in the cluster.

    A running proof creates its namespace before its branch, so the branches are listed first.
    """
    try:
        branches = [branch for branch in remote.branches() if re.fullmatch("proof-[0-9a-f]{6}", branch)]
        for dead in sandbox.leftovers(api, names):
            note(f"{dead.name} was left by a run that was killed")
            _clean(api, remote, dead)
        for branch in branches:
            if branch != names.name and not api.get(f"{NAMESPACES}/{branch}-flux"):
                remote.delete(branch)
    except ThreezoneError as error:
        note(f"cannot look for leftovers of killed proofs: {error.message}")


@dataclass(frozen=True)
class Proved:
    """A proof that was run, with its start, duration and versions."""

    proof: Proof
    started: datetime
    seconds: float
    cluster: str
    versions: dict[str, str]

    def data(self) -> dict[str, Any]:
        """The proof as JSON; the keys are an interface."""
        proof = self.proof
        return {
            "id": proof.names.id,
            "ok": proof.ok,
            "context": proof.context,
            "cluster": self.cluster,
            "namespace": proof.names.name,
            "repository": proof.remote.url,
            "branch": proof.names.name,
            "started": self.started.isoformat(timespec="seconds").replace("+00:00", "Z"),
            "seconds": round(self.seconds, 3),
            "versions": self.versions,
            "managers": sorted(proof.managers),
            "phases": [self._phase(outcome) for outcome in proof.outcomes],
        }

    def _phase(self, outcome: Outcome) -> dict[str, Any]:
        committed = outcome.moments.get("committed")
        return {
            "name": outcome.phase.name,
            "title": outcome.phase.title,
            "ok": outcome.ok,
            "revision": outcome.revision or None,
            "began": None if committed is None else round(committed - self.proof.began, 3),
            "seconds": outcome.seconds(),
            "objects": outcome.objects,
            "commands": outcome.commands,
            "why": outcome.why or None,
            "evidence": outcome.evidence or None,
        }

    def require(self) -> None:
        """Raise DeliveryError for the phase that failed."""
        for outcome in self.proof.outcomes:
            if outcome.ok is False:
                raise DeliveryError(
                    f"the phase {outcome.phase.name} failed: {outcome.why}", evidence=outcome.evidence, fix=outcome.fix
                )
