"""The proof carried out: phase after phase, each one commit, watched to exactly its revision."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from threezone.clients.kubernetes.api import RETRY, Api, Json
from threezone.clients.kubernetes.watch import NAMESPACES, Judge, Overdue, Watching, World, look
from threezone.core.errors import ClusterError, DeliveryError, ThreezoneError
from threezone.core.events import note, step
from threezone.delivery import sync, wait
from threezone.delivery.proof import assertions, manifests, sandbox
from threezone.delivery.proof import field_ownership as managers
from threezone.delivery.proof.commands import commands
from threezone.delivery.proof.manifests import Files, Names
from threezone.delivery.proof.phases import Phase
from threezone.delivery.proof.worktree import Worktree
from threezone.delivery.revision import short
from threezone.flux.components import DEPLOYMENTS
from threezone.flux.objects import Entry

HAND = "somebody-by-hand"  # the field manager of the drift
BY_HAND = "Changed by hand.\n"


class Remote(Protocol):
    """The repository that Flux reads and that we push to."""

    @property
    def url(self) -> str:
        """Its address as Flux uses it."""

    @property
    def shown(self) -> str:
        """Its name, for people."""

    def push(self, work: Worktree) -> None:
        """Push the branch of `work`. Raises DeliveryError."""

    def drop(self, branch: str) -> None:
        """Delete a branch; one that is not there is no error. Raises DeliveryError."""

    def branches(self) -> list[str]:
        """The branches there are."""


@dataclass
class Moments:
    """When a commit got where, by the monotonic clock; None where it did not get."""

    committed: float | None = None
    pushed: float | None = None
    fetched: float | None = None
    applied: float | None = None
    ended: float | None = None

    def seconds(self) -> dict[str, float | None]:
        """How long each stage took."""
        return {
            "push": _between(self.committed, self.pushed),
            "fetch": _between(self.pushed, self.fetched),
            "apply": _between(self.fetched, self.applied),
            "settle": _between(self.applied, self.ended),
            "total": _between(self.committed, self.ended),
        }


def _between(begin: float | None, end: float | None) -> float | None:
    return None if begin is None or end is None else round(end - begin, 3)


@dataclass
class Outcome:
    """What became of a phase. `ok` is None when it was not run."""

    phase: Phase
    ok: bool | None = None
    revision: str = ""
    moments: Moments = field(default_factory=Moments)
    objects: list[str] = field(default_factory=list)
    commands: list[str] = field(default_factory=list)
    why: str = ""
    evidence: str = ""
    fix: str = ""


@dataclass
class Proof:
    """One run: its names, where it goes, and what came of it."""

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
        self._target = sandbox.target(self.names)
        self._paths = assertions.Paths(self.names)
        self._deadline = 0.0
        self._api = self.api.patient(lambda: self._deadline)
        self._now = Outcome(Phase("", ""))
        self._good: Files = {}
        self._inventory: list[Entry] = []

    @property
    def ok(self) -> bool:
        """Whether every phase that was to be run held."""
        return bool(self.outcomes) and all(outcome.ok for outcome in self.outcomes)

    def run(self, phases: Sequence[Phase]) -> None:
        """Run the phases until one fails. What came of them stands in `outcomes`; nothing is raised for a failure."""
        self.outcomes = [Outcome(phase) for phase in phases]
        self.work.begin()
        sandbox.prepare(self.api, self.names)
        with (
            sandbox.living(self.api, self.names),
            Watching(self.api, [*self._all]) as self._watching,
        ):
            for outcome in self.outcomes:
                self._run(outcome)
                if not outcome.ok:
                    break
        for outcome in (one for one in self.outcomes if one.ok is None):
            outcome.why = f"not run, because {next(o.phase.name for o in self.outcomes if o.ok is False)} failed"

    @property
    def _all(self) -> tuple[str, ...]:
        return (self._target.sources, self._target.kustomizations, DEPLOYMENTS, *self._paths.all)

    def _run(self, outcome: Outcome) -> None:
        self._now = outcome
        self._deadline = time.monotonic() + self.seconds
        carry: Callable[[], None] = getattr(self, f"_{outcome.phase.name}")
        try:
            with step(f"{outcome.phase.name}: {outcome.phase.title}") as running:
                carry()
                outcome.moments.ended = time.monotonic()
                running.result = f"{short(outcome.revision)} in {outcome.moments.seconds()['total']:.1f} s"
            outcome.ok = True
        except Overdue as overdue:
            self._failed(f"not finished within {self.seconds:.0f} s", overdue.evidence, "./run invoke flux.status")
        except wait.Unhealthy as trouble:
            told = wait.with_event(self.api, trouble)
            self._failed(told.message, told.evidence, told.fix)
        except ThreezoneError as error:
            self._failed(error.message, error.evidence, error.fix)
        outcome.commands = commands(outcome.phase.name, self.names, self.context, self.remote.shown)

    def _failed(self, why: str, evidence: str, fix: str) -> None:
        self._now.ok, self._now.why, self._now.evidence, self._now.fix = False, why, evidence, fix

    # The phases, each one commit.

    def _create(self) -> None:
        self._good = manifests.workload(self.names, self.image, manifests.text(self.names, "create"))
        self._push(self.work.commit(self._good, self._message()))
        sandbox.declare(self._api, self.names, self.remote.url)
        self._settled()

    def _update(self) -> None:
        self._write()
        self._settled()

    def _drift(self) -> None:
        world = look(self._api, self._all)
        # To nothing rather than to two: a second pod would be made from the changed text, and may be the one that
        # stays; it shows the text that was put back only when its kubelet looks again, up to a minute later.
        page, replicas = assertions.page_of(world, self._paths), {"spec": {"replicas": 0}}
        self._by_hand(f"{self._paths.deployments}/{manifests.APP}", replicas)
        self._by_hand(f"{self._paths.configmaps}/{page['metadata']['name']}", {"data": {manifests.PAGE: BY_HAND}})
        self._commit(self._good)
        text = self._good[manifests.PAGE]
        self._settled(lambda world: assertions.put_back(world, self._paths, text, HAND))

    def _broken(self) -> None:
        self._commit(manifests.broken(self._good))
        revision, before = self._now.revision, self._generation()
        world = self._until(lambda world: assertions.refused(world, self._paths, self._target, revision))
        self._now.moments.applied = time.monotonic()
        _, kustomization = self._target.find(world)
        assert kustomization is not None  # noqa: S101  the judge has seen it
        self._now.evidence = wait.failure(kustomization, revision)
        self._unchanged(before)

    def _repair(self) -> None:
        self._push(self.work.revert())
        self._request()
        self._settled()

    def _suspend(self) -> None:
        self._set_suspended(suspended=True)
        before, page = self._generation(), self._good[manifests.PAGE]
        self._write()
        revision = self._now.revision
        fetch = [f"Flux to fetch {short(revision)}"]
        self._until(lambda world: [] if wait.fetched(world, self._target, revision) else fetch)
        stamp = sync.request(self._api, self._target)
        self._until(lambda world: assertions.still(world, self._target, revision, stamp), fresh=True)
        self._unchanged(before, page)
        note("nothing moved while suspended; resumed")
        self._set_suspended(suspended=False)
        self._settled()

    def _destroy(self) -> None:
        self._commit(manifests.nothing(self.names))
        revision = self._now.revision
        world = self._until(lambda world: wait.missing(world, self._target, revision), fresh=True)
        if stayed := assertions.unpruned(look(self._api, self._all), self._paths, self._inventory):
            _, kustomization = self._target.find(world)
            off = kustomization is not None and not kustomization["spec"].get("prune")
            raise DeliveryError(
                f"Flux applied {short(revision)}, and what it removes stays"
                + (": pruning is switched off" if off else ""),
                evidence="\n".join(stayed),
                fix=f"kubectl -n {self.names.ground} get kustomization {self.names.name} -o yaml (spec.prune)",
            )
        self._until(lambda world: assertions.gone(world, self._paths))
        held = assertions.guarded(look(self._api, [self._paths.beside]), self._paths)
        if held is None or not held["metadata"].get("deletionTimestamp"):
            raise DeliveryError(
                f"the ConfigMap {self.names.ground}/{manifests.GUARD} did not wait for its finalizer",
                evidence="it is gone" if held is None else "nobody has asked it to go",
            )
        sandbox.release(self._api, self.names)
        self._until(lambda world: ["the finalizer"] if assertions.guarded(world, self._paths) else [])
        self._not_found()

    # What the phases share.

    def _message(self) -> str:
        return f"{self._now.phase.name}: {self._now.phase.title}"

    def _write(self) -> None:
        """Commit the workload with a new text."""
        page = manifests.text(self.names, self._now.phase.name)
        self._good = manifests.workload(self.names, self.image, page)
        self._commit(self._good)

    def _commit(self, files: Files) -> None:
        self._push(self.work.commit(files, self._message()))
        self._request()

    def _push(self, sha: str) -> None:
        self._now.moments.committed = time.monotonic()
        self._now.revision = f"{self.names.name}@sha1:{sha}"
        self.remote.push(self.work)
        self._now.moments.pushed = time.monotonic()

    def _request(self) -> None:
        sync.request(self._api, self._target, source_only=True)

    def _until(self, judge: Judge, *, fresh: bool = False) -> World:
        """Wait in this phase's time, and note when the commit gets where."""
        moments, revision = self._now.moments, self._now.revision

        def noting(world: World) -> Sequence[str]:
            _, kustomization = self._target.find(world)
            if moments.fetched is None and wait.fetched(world, self._target, revision):
                moments.fetched = time.monotonic()
            if moments.applied is None and kustomization and wait.applied(kustomization, revision):
                moments.applied = time.monotonic()
            return judge(world)

        left = self._deadline - time.monotonic()
        return self._watching.until(noting, seconds=left, what=self._now.phase.name, fresh=fresh)

    def _settled(self, also: Judge = lambda _: ()) -> None:
        """The commit's revision runs, answers with its text, and nobody but Flux owns what it declares."""
        revision = self._now.revision

        def judge(world: World) -> Sequence[str]:
            return assertions.settled(world, self._paths, self._target, revision) or also(world)

        self._until(judge, fresh=True)
        self._answers(self.work.read(manifests.PAGE))
        self._owned()

    def _answers(self, page: str) -> None:
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
            threading.Event().wait(RETRY)  # an answer is nothing that the API server lets one watch

    def _owned(self) -> None:
        """Nobody but Flux owns a field of what the commit declares, beside Kubernetes in its status."""
        world = look(self._api, self._all)
        _, kustomization = self._target.find(world)
        found = assertions.declared(world, self._paths, kustomization or {})
        self._inventory = list(found)
        self._now.objects = [str(item) for item in found]
        items = [dict(seen, kind=item.kind) for item, seen in found.items() if seen]
        self.managers.update(managers.seen(items))
        if lines := managers.foreign(items):
            raise DeliveryError(
                "somebody beside Flux owns fields of what the commit declares",
                evidence="\n".join(lines),
                fix=f"kubectl -n {self.names.name} get deployment,service,configmap --show-managed-fields -o yaml",
            )

    def _generation(self) -> Json:
        """The Deployment as it is now: what a commit that moves nothing leaves alone."""
        found = self._api.get(f"{self._paths.deployments}/{manifests.APP}")
        if found is None:
            raise DeliveryError(f"the deployment {manifests.APP} is gone")
        return {"uid": found["metadata"]["uid"], "generation": found["metadata"]["generation"]}

    def _unchanged(self, before: Json, page: str = "") -> None:
        """The workload of the last good commit is as it was, runs, and answers."""
        if (now := self._generation()) != before:
            raise DeliveryError(f"the deployment {manifests.APP} was changed", evidence=f"before {before}\nnow {now}")
        self._until(lambda world: assertions.rolled_out(world, self._paths), fresh=True)
        self._answers(page or self._good[manifests.PAGE])
        self._owned()

    def _by_hand(self, path: str, change: Json) -> None:
        self._api.send("PATCH", path, change, content="application/merge-patch+json", fieldManager=HAND)

    def _set_suspended(self, *, suspended: bool) -> None:
        self._api.merge(self._target.paths[1], {"spec": {"suspend": suspended}})

    def _not_found(self) -> None:
        """Ask for each object of the former inventory: none but the kept one is there."""
        world = look(self._api, self._all)
        paths = self._paths
        stayed = [
            str(item)
            for item in self._inventory
            if item.name != manifests.KEPT
            and f"{item.namespace}/{item.name}"
            in world[paths.beside if item.namespace == self.names.ground else paths.of_kind[item.kind]]
        ]
        if stayed:
            raise DeliveryError("objects stay after they were removed by commit", evidence="\n".join(stayed))
        self._now.objects = [str(item) for item in self._inventory if item.name != manifests.KEPT]


def keep(api: Api, _remote: Remote, names: Names) -> None:
    """Leave everything as it is, and see to it that no later proof takes it for a killed one's."""
    with step(f"keep {names.name}") as running:
        sandbox.keep(api, names)
        running.result = f"./run invoke gitops.prove --remove {names.id} removes it"


def clean(api: Api, remote: Remote, names: Names) -> None:
    """Remove a proof from the cluster, and its branch. What cannot be removed is told, not raised."""
    removals: list[Callable[[], None]] = [lambda: sandbox.remove(api, names), lambda: remote.drop(names.name)]
    with step(f"clean up {names.name}"):
        for remove in removals:
            try:
                remove()
            except ThreezoneError as error:
                note(f"left behind: {error.message} ({error.evidence}); the next gitops.prove tries again")


def sweep(api: Api, remote: Remote, names: Names) -> None:
    """Remove what killed proofs left: in the cluster, and branches that no proof in the cluster stands for.

    A living proof makes its namespace before its branch, so the branches are looked at first.
    """
    try:
        branches = [branch for branch in remote.branches() if re.fullmatch("proof-[0-9a-f]{6}", branch)]
        for dead in sandbox.leftovers(api, names):
            note(f"{dead.name} was left by a run that was killed")
            clean(api, remote, dead)
        for branch in branches:
            if branch != names.name and not api.get(f"{NAMESPACES}/{branch}-flux"):
                remote.drop(branch)
    except ThreezoneError as error:
        note(f"what killed proofs may have left is not looked at: {error.message}")
