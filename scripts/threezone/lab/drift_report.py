"""`cluster.plan` as rows, as words and as data: a comparison, what changes it, and what that costs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from threezone.cluster import lifecycle
from threezone.cluster.drift import detect
from threezone.cluster.drift.detect import Drift
from threezone.cluster.drift.rows import NOT_RECORDED
from threezone.cluster.lab import Lab
from threezone.core.errors import ClusterError, ThreezoneError
from threezone.core.plan import Step, describe
from threezone.delivery import git_backup
from threezone.lab import data_loss, up
from threezone.lab.data_loss import Losses

WORTH = {"same": "same", "in place": "change", "new cluster": "NEW CLUSTER", "unknown": "unknown"}
NOTHING = Losses()
WIDEST = 48  # characters of a cell


@dataclass(frozen=True)
class Report:
    """What `cluster.plan` prints: a table, or data; and the error by whose exit code a program is told."""

    rows: tuple[tuple[str, ...], ...]
    words: str
    data: dict[str, Any]
    trouble: ThreezoneError | None


def report(lab: Lab) -> Report:
    """Compare, and list what a new cluster would cost where one is needed. Changes nothing.

    Raises ClusterError for a cluster that is not ours.
    """
    observed = lifecycle.observe(lab.name)
    if observed.state in ("absent", "interrupted", "foreign"):
        actions = up.cluster_plan(lab)
        return _missing(lab, observed, actions)
    stands = detect.drift_of(lab, observed.nodes)
    lost, unseen = _losses(lab) if stands.blocking else (NOTHING, "")
    actions = _in_place(lab, observed, stands)
    return made(lab.name, stands, actions, lost=lost, unseen=unseen, kept=git_backup.summary(lab.key))


def _in_place(lab: Lab, observed: lifecycle.Observed, stands: Drift) -> tuple[Step, ...]:
    if observed.state == "stopped":
        return lifecycle.plan(observed, lab.declared, (), "")
    return stands.actions


def _losses(lab: Lab) -> tuple[Losses, str]:
    try:
        return data_loss.look(lab), ""
    except ClusterError as error:
        return NOTHING, error.message


def _missing(lab: Lab, observed: lifecycle.Observed, actions: Sequence[Step]) -> Report:
    name = lab.name
    how = "there is no cluster" if observed.state == "absent" else "nobody finished the creation of the cluster"
    data = {"cluster": name, "state": observed.state, "same": False, "recorded": False, "fields": [],
            "actions": [step.data for step in actions], "losses": None}  # fmt: skip
    trouble = ClusterError(f"{how} {name}", fix=f"./run invoke cluster.create --name {name}")
    return Report((), describe(actions), data, trouble)


def made(
    name: str,
    stands: Drift,
    actions: Sequence[Step],
    *,
    lost: Losses = NOTHING,
    unseen: str = "",
    kept: str = "",
) -> Report:
    """The report on a cluster that is there. Pure.

    `lost` goes with it where it takes a new one, or `unseen` says why that is not known; `kept` is an earlier backup.
    """
    blocking, unknown = stands.blocking, [row for row in stands.rows if row.verdict == "unknown"]
    recorded = stands.live.last_applied is not None
    words = []
    if actions:
        words.append("in place, by ./run invoke up:\n" + describe(actions))
    if blocking:
        cost = [*lost.backup, *lost.actions]
        price = unseen or (describe(cost) if cost else "+ nothing would be lost")
        words.append(f"a new cluster, by ./run invoke up --recreate, which asks first:\n{price}")
    if unknown:
        why = "" if recorded or not all(node.files for node in stands.live.kubernetes_nodes) else NOT_RECORDED
        words.append(f"{len(unknown)} of {len(stands.rows)} fields are not known" + (f": {why}" if why else ""))
    if kept:
        words.append(kept)
    if not (actions or stands.differing):
        words.insert(0, f"the cluster {name} is as it is declared")
    data = {
        "cluster": name,
        "state": "running" if all(node.state == "running" for node in stands.live.nodes) else "stopped",
        "same": not stands.differing,
        "recorded": recorded,
        "fields": [asdict(row) for row in stands.rows],
        "actions": [step.data for step in actions],
        "losses": None if not blocking or unseen else _plain(lost),
    }
    trouble = None
    if stands.differing:
        fix = "./run invoke up --recreate" if blocking else "./run invoke up"
        fields = ", ".join(row.field for row in stands.differing)
        trouble = ClusterError(f"the cluster {name} is not as it is declared: {fields}", fix=fix)
    return Report(tuple(_cells(row) for row in stands.rows), "\n".join(words), data, trouble)


def _cells(row: Any) -> tuple[str, ...]:
    return (row.field, _short(row.declared), _short(row.running), WORTH[row.verdict], row.why)


def _short(text: str) -> str:
    return text if len(text) <= WIDEST else f"{text[: WIDEST - 1]}…"


def _plain(lost: Losses) -> dict[str, Any]:
    return {
        "volumes": list(lost.volumes),
        "images": list(lost.images),
        "objects": dict(lost.objects),
        "rescued": {"repositories": list(lost.repositories), "commits": [asdict(branch) for branch in lost.commits]},
    }
