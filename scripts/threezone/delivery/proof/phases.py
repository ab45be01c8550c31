"""The phases of a proof: what each one shows, which one stands on which, and which are run. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from threezone.core.errors import UsageError


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


def plan(asked: Sequence[str] = ()) -> tuple[Phase, ...]:
    """The phases to run, in their order: those asked for (none: all) and those that they stand on.

    Raises UsageError for a name that is none.
    """
    known = {phase.name: phase for phase in PHASES}
    wanted: set[str] = set()
    for name in asked or NAMES:
        if name not in known:
            raise UsageError(f"there is no phase {name!r}", fix=f"choose from {', '.join(NAMES)}")
        while name:
            wanted.add(name)
            name = known[name].needs  # noqa: PLW2901  up to the one that needs nothing
    return tuple(phase for phase in PHASES if phase.name in wanted)
