"""The phases of a proof: what each one shows, which phase it needs, how to repeat it by hand, and its result."""

from __future__ import annotations

import shlex
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from threezone.core.errors import UsageError
from threezone.delivery.proof import manifests
from threezone.delivery.proof.manifests import Names


@dataclass(frozen=True)
class Phase:
    """One phase: its name, what it shows in one sentence, and the phase whose state it needs."""

    name: str
    title: str
    needs: str = ""


PHASES = (
    Phase("create", "A commit creates a namespace with a workload, and the workload answers with the commit's text."),
    Phase("update", "A commit changes the text: the new text answers, and the old pods are gone.", "create"),
    Phase("drift", "What somebody changes by hand is put back by a commit that declares nothing new.", "create"),
    Phase("broken", "A commit that the API server refuses is reported, and the last good state stays up.", "create"),
    Phase("repair", "A revert of the broken commit heals it.", "broken"),
    Phase("suspend", "While Flux is suspended a commit moves nothing; resumed, it is applied.", "create"),
    Phase("destroy", "A commit removes everything: the namespace, and what waits for a finalizer, are gone.", "create"),
)
NAMES = tuple(phase.name for phase in PHASES)
# The stages of a commit, by the moments at which they begin and end.
STAGES = {
    "push": ("committed", "pushed"),
    "fetch": ("pushed", "fetched"),
    "apply": ("fetched", "applied"),
    "settle": ("applied", "ended"),
    "total": ("committed", "ended"),
}


def plan(requested: Sequence[str] = ()) -> tuple[Phase, ...]:
    """Return the requested phases (none: all) and those that they need, in their order. Raises UsageError."""
    phases = {phase.name: phase for phase in PHASES}
    wanted: set[str] = set()
    for name in requested or NAMES:
        if name not in phases:
            raise UsageError(f"there is no phase {name!r}", fix=f"choose from {', '.join(NAMES)}")
        while name:
            wanted.add(name)
            name = phases[name].needs  # noqa: PLW2901  up to the one that needs nothing
    return tuple(phase for phase in PHASES if phase.name in wanted)


@dataclass
class Outcome:
    """The result of a phase. `ok` is None when it was not run; `moments` says when, by the monotonic clock."""

    phase: Phase
    ok: bool | None = None
    revision: str = ""
    moments: dict[str, float] = field(default_factory=dict)
    objects: list[str] = field(default_factory=list)
    commands: list[str] = field(default_factory=list)
    why: str = ""
    evidence: str = ""
    fix: str = ""

    def mark(self, moment: str) -> None:
        """Note that the commit is `committed`, `pushed`, `fetched`, `applied`, or the phase `ended`: the first time."""
        self.moments.setdefault(moment, time.monotonic())

    def seconds(self) -> dict[str, float | None]:
        """How long each stage took; None for a stage that did not end."""
        moments = self.moments
        return {
            stage: round(moments[end] - moments[begin], 3) if begin in moments and end in moments else None
            for stage, (begin, end) in STAGES.items()
        }


def commands(phase: str, names: Names, context: str, repository: str) -> list[str]:
    """Return the commands that repeat a phase by hand, in their order, for any POSIX shell."""
    kubectl = f"kubectl --context {shlex.quote(context)}"
    flux = f"flux --context {shlex.quote(context)} --namespace {names.sandbox}"
    name, web = names.name, f"deployment/{manifests.APP}"
    answer = f"{kubectl} get --raw /api/v1/namespaces/{name}/services/{manifests.APP}:{manifests.PORT}/proxy/"
    commit = [
        f"git add --all {names.path} && git commit --allow-empty --message {phase}",
        f"git push {repository} HEAD:{name}",
        f"{flux} reconcile source git {name}",
    ]
    state = f"{kubectl} --namespace {names.sandbox} get kustomization {name}"
    rollout = [f"{kubectl} --namespace {name} rollout status {web}", answer]
    scale = '--type=merge --field-manager=somebody-by-hand -p \'{"spec":{"replicas":0}}\''
    release = '--type=merge -p \'{"metadata":{"finalizers":null}}\''
    owners = f"{kubectl} --namespace {name} get {web} --show-managed-fields --output yaml"
    suspend, resume = (f"{flux} {verb} kustomization {name}" for verb in ("suspend", "resume"))
    special = {
        "drift": [f"{kubectl} --namespace {name} patch {web} {scale}", *commit, *rollout, owners],
        "broken": [*commit, state, answer],
        "repair": ["git revert --no-edit HEAD", *commit[1:], *rollout],
        "suspend": [suspend, *commit, state, answer, resume, *rollout],
        "destroy": [
            *commit,
            f"{kubectl} get namespace {name}",
            f"{kubectl} --namespace {names.sandbox} patch configmap {manifests.GUARD} {release}",
        ],
    }
    return special.get(phase, [*commit, *rollout])
