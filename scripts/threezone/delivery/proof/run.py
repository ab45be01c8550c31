"""Run the proof: phase after phase, each one commit, watched to exactly its revision."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from threezone.clients.kubernetes.api import RETRY, Api, Json
from threezone.clients.kubernetes.watch import Judge, Overdue, Watching, World, look
from threezone.core.errors import ClusterError, DeliveryError, ThreezoneError
from threezone.core.events import note, step
from threezone.delivery import final, progress, sync, wait
from threezone.delivery.proof import field_ownership, manifests, sandbox
from threezone.delivery.proof.assertions import Assertions
from threezone.delivery.proof.manifests import Files, Names
from threezone.delivery.proof.phases import Outcome, Phase, commands
from threezone.delivery.proof.repository import Remote, Worktree
from threezone.delivery.revision import short
from threezone.flux.components import DEPLOYMENTS
from threezone.flux.objects import Entry

HAND = "somebody-by-hand"  # the field manager of the drift
BY_HAND = "Changed by hand.\n"


@dataclass
class Proof:
    """One run: its names, its remote, and its results. Each phase takes at most `seconds`."""

    api: Api
    remote: Remote
    names: Names
    work: Worktree
    context: str
    image: str
    seconds: float
    began: float = field(default_factory=time.monotonic)
    managers: set[str] = field(default_factory=set)
    outcomes: list[Outcome] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._assert = Assertions(self.names)
        self._target = self._assert.target
        self._collections = self._assert.collections
        self._deadline = 0.0
        self._api = self.api.retrying(lambda: self._deadline)
        self._outcome = Outcome(Phase("", ""))
        self._files: Files = {}  # of the last good commit
        self._inventory: list[Entry] = []

    @property
    def ok(self) -> bool:
        """Whether every requested phase passed."""
        return bool(self.outcomes) and all(outcome.ok for outcome in self.outcomes)

    def run(self, phases: Sequence[Phase]) -> None:
        """Run the phases until one fails. `outcomes` has the results; nothing is raised for a failure."""
        self.outcomes = [Outcome(phase) for phase in phases]
        self.work.init()
        sandbox.prepare(self.api, self.names)
        with sandbox.renewing(self.api, self.names), Watching(self.api, self._all) as self._watching:
            for outcome in self.outcomes:
                self._run(outcome)
                if not outcome.ok:
                    break
        for outcome in self.outcomes:
            if outcome.ok is None:
                failed = next(other.phase.name for other in self.outcomes if other.ok is False)
                outcome.why = f"not run, because {failed} failed"

    @property
    def _all(self) -> tuple[str, ...]:
        return (self._target.sources, self._target.kustomizations, DEPLOYMENTS, *self._collections.values())

    def _run(self, outcome: Outcome) -> None:
        self._outcome = outcome
        self._deadline = time.monotonic() + self.seconds
        carry_out: Callable[[], None] = getattr(self, f"_{outcome.phase.name}")
        try:
            with step(f"{outcome.phase.name}: {outcome.phase.title}") as running:
                carry_out()
                outcome.mark("ended")
                running.result = f"{short(outcome.revision)} in {outcome.seconds()['total']:.1f} s"
            outcome.ok = True
        except Overdue as overdue:
            self._fail(f"not finished within {self.seconds:.0f} s", overdue.evidence, "./run invoke flux.status")
        except final.NotHealing as trouble:
            error = final.with_event(self.api, trouble)
            self._fail(error.message, error.evidence, error.fix)
        except ThreezoneError as error:
            self._fail(error.message, error.evidence, error.fix)
        outcome.commands = commands(outcome.phase.name, self.names, self.context, self.remote.url)

    def _fail(self, why: str, evidence: str, fix: str) -> None:
        outcome = self._outcome
        outcome.ok, outcome.why, outcome.evidence, outcome.fix = False, why, evidence, fix

    # The phases, each one commit.

    def _create(self) -> None:
        self._commit_workload(request=False)
        # Without Flux's health check, which looks every 5 s (kustomize-controller, checkHealth): we watch by ourselves.
        sync.declare(
            self._api, name=self.names.name, namespace=self.names.sandbox, url=self.remote.url,
            branch=self.names.name, path=self.names.path, interval="10m0s", wait=False,
        )  # fmt: skip
        self._wait_settled()

    def _update(self) -> None:
        self._commit_workload()
        self._wait_settled()

    def _drift(self) -> None:
        page = self._assert.page(look(self._api, self._all))
        # To no pods rather than to two: a second pod would be created from the changed text, and may be the one that
        # stays; it shows the restored text only when its kubelet looks again, up to a minute later.
        self._patch("Deployment", manifests.APP, {"spec": {"replicas": 0}})
        self._patch("ConfigMap", page["metadata"]["name"], {"data": {manifests.PAGE: BY_HAND}})
        self._commit(self._files)
        text = self._files[manifests.PAGE]
        self._wait_settled(lambda world: self._assert.drift_corrected(world, text, HAND))

    def _broken(self) -> None:
        self._commit(manifests.broken(self._files))
        revision, before = self._outcome.revision, self._generation()
        world = self._until(lambda world: self._assert.refused(world, revision))
        self._outcome.mark("applied")
        self._outcome.evidence = progress.failure(self._target.find(world)[1] or {}, revision)
        self._require_unchanged(before, self._files[manifests.PAGE])

    def _repair(self) -> None:
        self._push(self.work.revert())
        self._wait_settled()

    def _suspend(self) -> None:
        self._set_suspended(suspended=True)
        before, page = self._generation(), self._files[manifests.PAGE]
        self._commit_workload()
        revision = self._outcome.revision
        fetch = [f"Flux to fetch {short(revision)}"]
        self._until(lambda world: [] if progress.fetched(world, self._target, revision) else fetch)
        stamp = sync.request(self._api, self._target)
        self._until(lambda world: self._assert.suspended(world, revision, stamp), fresh=True)
        self._require_unchanged(before, page)
        note("nothing moved while suspended; resumed")
        self._set_suspended(suspended=False)
        self._wait_settled()

    def _destroy(self) -> None:
        self._commit(manifests.nothing(self._files))
        revision = self._outcome.revision
        world = self._until(lambda world: wait.missing(world, self._target, revision), fresh=True)
        if unpruned := self._remaining(terminating=False):
            kustomization = self._target.find(world)[1]
            off = kustomization is not None and not kustomization["spec"].get("prune")
            raise DeliveryError(
                f"Flux applied {short(revision)}, and what it removes stays"
                + (": pruning is switched off" if off else ""),
                evidence="\n".join(unpruned),
                fix=f"kubectl -n {self.names.sandbox} get kustomization {self.names.name} -o yaml (spec.prune)",
            )
        self._until(self._assert.namespace_gone)
        guard = self._assert.guard(look(self._api, [self._collections["Sandbox"]]))
        if guard is None or not guard["metadata"].get("deletionTimestamp"):
            raise DeliveryError(
                f"the ConfigMap {self.names.sandbox}/{manifests.GUARD} did not wait for its finalizer",
                evidence="it is gone" if guard is None else "nobody has deleted it",
            )
        sandbox.release(self._api, self.names)
        self._until(lambda world: ["the finalizer"] if self._assert.guard(world) else [])
        if remaining := self._remaining(terminating=True):
            raise DeliveryError("objects stay after they were removed by commit", evidence="\n".join(remaining))
        self._outcome.objects = [str(item) for item in self._inventory if item.name != manifests.KEPT]

    # What the phases share.

    def _commit_workload(self, *, request: bool = True) -> None:
        """Commit the workload with this phase's text."""
        page = manifests.text(self.names, self._outcome.phase.name)
        self._files = manifests.workload(self.names, self.image, page)
        self._commit(self._files, request=request)

    def _commit(self, files: Files, *, request: bool = True) -> None:
        phase = self._outcome.phase
        self._push(self.work.commit(files, f"{phase.name}: {phase.title}"), request=request)

    def _push(self, sha: str, *, request: bool = True) -> None:
        """Push a commit, and ask Flux to fetch it where Flux's objects exist already."""
        self._outcome.mark("committed")
        self._outcome.revision = f"{self.names.name}@sha1:{sha}"
        self.remote.push(self.work)
        self._outcome.mark("pushed")
        if request:
            sync.request(self._api, self._target, source_only=True)

    def _until(self, judge: Judge, *, fresh: bool = False) -> World:
        """Wait in this phase's time, and note when the commit reaches each stage."""
        outcome, revision = self._outcome, self._outcome.revision

        def noting(world: World) -> Sequence[str]:
            kustomization = self._target.find(world)[1]
            if progress.fetched(world, self._target, revision):
                outcome.mark("fetched")
            if kustomization and progress.is_applied(kustomization, revision):
                outcome.mark("applied")
            return judge(world)

        seconds = self._deadline - time.monotonic()
        return self._watching.until(final.patient(noting), seconds=seconds, what=outcome.phase.name, fresh=fresh)

    def _wait_settled(self, also: Judge = lambda _: ()) -> None:
        """The commit's revision runs, answers with its text, and nobody but Flux owns what it declares."""
        revision = self._outcome.revision
        self._until(lambda world: self._assert.settled(world, revision) or also(world), fresh=True)
        self._require_answer(self.work.read(manifests.PAGE))
        self._require_ownership()

    def _require_answer(self, page: str) -> None:
        """The workload answers with `page` through the API server's proxy (works from every zone)."""
        path = f"/api/v1/namespaces/{self.names.name}/services/{manifests.APP}:{manifests.PORT}/proxy/"
        while True:
            try:
                answer = self._api.text(path)
            except ClusterError as error:
                answer = error.message
            if answer == page:
                return
            if time.monotonic() > self._deadline:
                raise DeliveryError(
                    "the workload does not answer with the commit's text",
                    evidence=f"expected {page!r}\nanswered {answer[:200]!r}",
                    fix=f"kubectl get --raw {path}",
                )
            threading.Event().wait(RETRY)  # the API server offers no watch on an answer

    def _require_ownership(self) -> None:
        """Nobody but Flux owns a field of what the commit declares, beside Kubernetes in its status."""
        declared = self._assert.declared(look(self._api, self._all))
        self._inventory = list(declared)
        self._outcome.objects = [str(item) for item in declared]
        items = [dict(live, kind=item.kind) for item, live in declared.items() if live]
        self.managers |= field_ownership.managers(items)
        if lines := field_ownership.foreign(items):
            raise DeliveryError(
                "somebody beside Flux owns fields of what the commit declares",
                evidence="\n".join(lines),
                fix=f"kubectl -n {self.names.name} get deployment,service,configmap --show-managed-fields -o yaml",
            )

    def _generation(self) -> Json:
        """The Deployment's identity and generation, which only a change of its spec moves."""
        deployment = self._api.get(f"{self._collections['Deployment']}/{manifests.APP}")
        if deployment is None:
            raise DeliveryError(f"the deployment {manifests.APP} is gone")
        return {key: deployment["metadata"][key] for key in ("uid", "generation")}

    def _require_unchanged(self, before: Json, page: str) -> None:
        """The workload of the last good commit is as it was, runs, and answers."""
        if (now := self._generation()) != before:
            raise DeliveryError(f"the deployment {manifests.APP} was changed", evidence=f"before {before}\nnow {now}")
        self._until(self._assert.rolled_out, fresh=True)
        self._require_answer(page)
        self._require_ownership()

    def _patch(self, kind: str, name: str, change: Json) -> None:
        """Change an object by hand."""
        path = f"{self._collections[kind]}/{name}"
        self._api.send("PATCH", path, change, content="application/merge-patch+json", fieldManager=HAND)

    def _set_suspended(self, *, suspended: bool) -> None:
        self._api.merge(self._target.paths[1], {"spec": {"suspend": suspended}})

    def _remaining(self, *, terminating: bool) -> list[str]:
        world = look(self._api, self._all)
        return self._assert.remaining(world, self._inventory, terminating=terminating)
