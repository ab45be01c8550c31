"""doctor: what is wrong with the lab, why, and how to fix it."""

import sys
from typing import TYPE_CHECKING, Annotated

from threezone.tasks.options import ClusterName, ContextName, Json, Yes, asking_on_foreign, open_lab
from threezone.tasks.runtime import consent, present, say, task

if TYPE_CHECKING:
    from threezone.cluster.lab import Lab
    from threezone.doctor.diagnose import Diagnosis

ROUNDS = 3  # of repairs: a repaired engine shows what is wrong with the cluster


@task
def doctor(
    fix: Annotated[bool, "repair what can be repaired; asks before anything that is not trivially safe"] = False,
    json: Json = False,
    explain: Annotated[str, "print what is known of a finding's ID, or of a pasted error message"] = "",
    name: ClusterName = "",
    context: ContextName = "",
    yes: Yes = False,
) -> None:
    """Find out what is wrong: the cause first, with its evidence and its fix, and what follows from it below.

    Read-only without --fix; works with any component down. Exit code 0 for a healthy lab, else that of the zone of the
    first cause. docs/doctor.md has every fault that is known.
    """
    from threezone.doctor import diagnose, document, observe

    if explain:
        say(document.explain(explain))
        return
    lab = open_lab(name, context=context)
    diagnosis = diagnose.diagnose(observe.observe(lab))
    if fix:
        diagnosis = _fix(lab, diagnosis, yes=yes)
    present(diagnosis.data, diagnose.text(diagnosis), as_json=json)
    if diagnosis.exit_code:
        sys.exit(diagnosis.exit_code)


def _fix(lab: "Lab", diagnosis: "Diagnosis", *, yes: bool) -> "Diagnosis":
    """Repair and look again, until nothing is left that can be repaired. The diagnosis afterwards."""
    from threezone.core.events import note
    from threezone.doctor import diagnose, fix, observe

    tried: set[str] = set()
    for _ in range(ROUNDS):
        steps = [step for step in asking_on_foreign(lab, diagnosis.steps) if step.sentence not in tried]
        if not steps:
            break
        consent(steps, yes=yes)
        tried |= {step.sentence for step in steps}
        for line in fix.apply(lab, steps):
            note(f"not repaired: {line}")
        diagnosis = diagnose.diagnose(observe.settled(lab))
    return diagnosis
