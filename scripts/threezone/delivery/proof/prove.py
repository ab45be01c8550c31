"""The proof on the lab: its Git server as the source, the sample app's image as the workload."""

from __future__ import annotations

import secrets
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import threezone
from threezone.clients import kubectl
from threezone.clients.git import command
from threezone.clients.git.command import Answer
from threezone.clients.git.own import Own
from threezone.clients.kubernetes.watch import NAMESPACES
from threezone.cluster.lab import Lab
from threezone.core.errors import DeliveryError, UsageError
from threezone.delivery import git_server
from threezone.delivery.proof import phases as plan
from threezone.delivery.proof import run
from threezone.delivery.proof.manifests import PART, PART_LABEL, Names
from threezone.delivery.proof.worktree import Worktree
from threezone.flux import components
from threezone.images import build

FINAL = ("[rejected]", "[remote rejected]", "Authentication failed", "403", "not found")  # no trying again heals it


class LabRemote:
    """The lab's repository on its Git server, through a forward that is opened when needed and again when it broke."""

    def __init__(self, lab: Lab, opened: ExitStack, seconds: float) -> None:
        self._lab = lab
        self._opened = opened
        self._seconds = seconds
        self._repository = lab.settings.gitops.repository
        self._password = git_server.password(lab.api, lab.key)
        self._forward: kubectl.Forward | None = None

    @property
    def url(self) -> str:
        """The repository's address inside the cluster."""
        return git_server.url(self._repository)

    @property
    def shown(self) -> str:
        """The repository, for people: through a forward it has another port each time."""
        return self.url

    def push(self, work: Worktree) -> None:
        """Push the branch of `work`. Raises DeliveryError when the Git server does not serve or refuses it."""
        self._send(work, f"HEAD:refs/heads/{work.branch}")

    def drop(self, branch: str) -> None:
        """Delete a branch; one that is not there is no error. Raises DeliveryError."""
        if branch in self.branches():
            with tempfile.TemporaryDirectory() as empty:
                work = Worktree(Path(empty), branch, "")
                work.begin()
                self._send(work, f":refs/heads/{branch}")

    def branches(self) -> list[str]:
        """The branches there are. Raises DeliveryError when the Git server does not serve."""
        with tempfile.TemporaryDirectory() as empty:
            answer = self._try(lambda address: Own(Path(empty)).remote_refs(address, "--heads"))
        return [name.removeprefix("refs/heads/") for name in command.refs(answer.text)]

    def _send(self, work: Worktree, refspec: str) -> None:
        self._try(lambda address: work.own.push(address, [refspec], user=git_server.USER, password=self._password))

    def _try(self, ask: Callable[[str], Answer]) -> Answer:
        """Ask git, given the repository's address, and again while the way there or the server is being restarted."""
        deadline = time.monotonic() + self._seconds
        again = False
        while True:
            answer = ask(self._address(deadline, again=again))
            if answer.ok:
                return answer
            if time.monotonic() > deadline or any(word in answer.words for word in FINAL):
                raise DeliveryError(
                    "the lab's Git server does not do what it is asked",
                    evidence=answer.words,
                    fix="./run invoke gitops.serve",
                )
            again = True

    def _address(self, deadline: float, *, again: bool) -> str:
        """The repository's address here; `again` opens a forward anew that seems to work and does not."""
        while self._forward is None or again or not self._forward.kubectl.alive:
            self._opened.close()
            self._forward = None
            self._serving(deadline)
            try:
                self._forward = self._opened.enter_context(
                    kubectl.forwarded(
                        self._lab.tools["kubectl"], self._lab.context, git_server.NAMESPACE,
                        f"service/{git_server.NAME}", 80,
                    )
                )  # fmt: skip
            except DeliveryError:
                if time.monotonic() > deadline:
                    raise
            else:
                break
        return f"http://{self._forward.address}/{self._repository}.git"

    def _serving(self, deadline: float) -> None:
        """Wait for the Git server; one that is not meant to run is told at once."""
        api = self._lab.api.patient(lambda: deadline)
        deployment = api.get(f"{git_server.DEPLOYMENTS}/{git_server.NAME}")
        if deployment is None or not deployment["spec"].get("replicas", 1):
            raise DeliveryError(
                "the lab's Git server does not run: there is nowhere to push to",
                evidence="it is not there"
                if deployment is None
                else f"deployment {git_server.NAMESPACE}/git: replicas 0",
                fix="./run invoke gitops.serve",
            )
        if not (deployment.get("status") or {}).get("availableReplicas"):
            git_server.wait_ready(api, max(0.0, deadline - time.monotonic()))


@contextmanager
def _remote(lab: Lab, seconds: float) -> Iterator[LabRemote]:
    with ExitStack() as opened:
        yield LabRemote(lab, opened, seconds)


def prove(lab: Lab, asked: Sequence[str] = (), *, keep: bool = False, seconds: float = 0.0) -> Proved:
    """Run the proof's phases (none asked for: all), each within `seconds` (0: as the settings say), and clean up.

    A failed phase is not raised: it stands in what is returned. Raises UsageError for an unknown phase, DeliveryError
    when there is no Flux or no Git server to begin with, and KeyboardInterrupt when all is cleaned up.
    """
    wanted, seconds = plan.plan(asked), seconds or lab.settings.gitops.timeout
    seen = components.observe(lab.api)
    if not seen.components:
        components.require(seen)
    names, started = Names(secrets.token_hex(3)), datetime.now(UTC)
    with _remote(lab, seconds) as remote, tempfile.TemporaryDirectory(prefix=f"{names.name}-") as base:
        work = Worktree(Path(base), names.name, names.path)
        proof = run.Proof(lab.api, remote, names, work, lab.context, build.APP, seconds)
        try:
            proof.run(wanted)
            lasted = time.monotonic() - proof.began
            run.sweep(lab.api, remote, names)
        finally:
            (run.keep if keep else run.clean)(lab.api, remote, names)
    server_version = str((lab.api.get("/version") or {}).get("gitVersion", ""))
    versions = {"kubernetes": server_version, "flux": seen.version, "threezone": threezone.__version__}
    return Proved(proof, started, lasted, lab.name, versions)


def remove(lab: Lab, identity: str) -> None:
    """Remove a proof that was kept. Raises UsageError when there is none of that id."""
    names = Names(identity.removeprefix("proof-"))
    if lab.api.get(f"{NAMESPACES}/{names.ground}") is None:
        raise UsageError(f"there is no proof {names.id}", fix=f"kubectl get namespaces -l {PART_LABEL}={PART}")
    with _remote(lab, lab.settings.gitops.timeout) as remote:
        run.clean(lab.api, remote, names)


@dataclass(frozen=True)
class Proved:
    """A proof that was run, and when, for how long, on what."""

    proof: run.Proof
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

    def _phase(self, outcome: run.Outcome) -> dict[str, Any]:
        committed = outcome.moments.committed
        return {
            "name": outcome.phase.name,
            "title": outcome.phase.title,
            "ok": outcome.ok,
            "revision": outcome.revision or None,
            "began": None if committed is None else round(committed - self.proof.began, 3),
            "seconds": outcome.moments.seconds(),
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
