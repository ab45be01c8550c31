"""The report of `cluster.plan`: drift between the declared and the live cluster, what corrects it, what it costs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from threezone.cluster import lease, lifecycle
from threezone.cluster.drift import detect
from threezone.cluster.drift.detect import Drift
from threezone.cluster.drift.rows import NOT_RECORDED, Row
from threezone.cluster.lab import Lab
from threezone.core.errors import ClusterError, ThreezoneError
from threezone.core.plan import Step, describe
from threezone.delivery import git_backup
from threezone.lab import data_loss, up, versions
from threezone.lab.data_loss import DataLoss

VERDICTS = {"same": "same", "in place": "change", "new cluster": "NEW CLUSTER", "unknown": "unknown"}
NOTHING = DataLoss()
CELL_WIDTH = 48


@dataclass(frozen=True)
class Report:
    """What `cluster.plan` prints, as a table and text or as data; `error` has its exit code."""

    rows: tuple[tuple[str, ...], ...]
    text: str
    data: dict[str, Any]
    error: ThreezoneError | None


def report(lab: Lab) -> Report:
    """Compare, and list what a new cluster would cost where one is needed. Read-only.

    Raises ClusterError for a cluster that is not ours.
    """
    observed, notices = lifecycle.observe(lab.name), _notices(lab)
    if observed.state in ("absent", "interrupted", "busy", "foreign"):
        return _absent(observed, up.cluster_plan(lab), notices)
    drift = detect.drift_of(lab, observed.nodes)
    lost, unreadable = NOTHING, ""
    if drift.blocking:
        try:
            lost = data_loss.observe(lab)
        except ClusterError as error:
            unreadable = error.message
    steps = drift.actions
    if observed.state == "stopped":
        steps = lifecycle.plan(observed, lab.declared, (), "")
    text = (*notices, git_backup.summary(lab.key))
    return describe_drift(lab.name, drift, steps, lost=lost, unreadable=unreadable, notices=tuple(filter(None, text)))


def _notices(lab: Lab) -> tuple[str, ...]:
    """What does not go together in the declared cluster: its versions, and what they do to its file."""
    return (*(overlay.sentence for overlay in lab.version_notes), *versions.planned_skew(lab))


def _absent(observed: lifecycle.Observed, steps: Sequence[Step], notices: Sequence[str]) -> Report:
    name, state = observed.name, observed.state
    problem = "there is no cluster" if state == "absent" else "nobody finished the creation of the cluster"
    data = _data(name, state, steps, same=False, recorded=False)
    error = ClusterError(f"{problem} {name}", fix=f"./run invoke cluster.create --name {name}")
    if observed.lease is not None:
        error = lease.busy(name, observed.lease)
    told = [notice for notice in notices if not any(notice == step.sentence for step in steps)]
    return Report((), "\n".join((describe(steps), *told)), data | {"notices": list(notices)}, error)


def describe_drift(
    name: str,
    drift: Drift,
    steps: Sequence[Step],
    *,
    lost: DataLoss = NOTHING,
    unreadable: str = "",
    notices: Sequence[str] = (),
) -> Report:
    """The report on an existing cluster. Pure.

    `lost` is the cost of a new cluster, or `unreadable` says why it is not known; `notices` end the text.
    """
    recorded = drift.live.last_applied is not None
    text = []
    if not (steps or drift.differing):
        text.append(f"the cluster {name} is as it is declared")
    if steps:
        text.append("in place, by ./run invoke up:\n" + describe(steps))
    if drift.blocking:
        cost = (*lost.backup_steps, *lost.steps)
        price = unreadable or (describe(cost) if cost else "+ nothing would be lost")
        text.append(f"a new cluster, by ./run invoke up --recreate, which asks first:\n{price}")
    if unknown := [row for row in drift.rows if row.verdict == "unknown"]:
        why = "" if recorded or not all(node.files for node in drift.live.kubernetes_nodes) else f": {NOT_RECORDED}"
        text.append(f"{len(unknown)} of {len(drift.rows)} fields are not known{why}")
    text.extend(notices)
    state = "running" if all(node.state == "running" for node in drift.live.nodes) else "stopped"
    data = _data(name, state, steps, same=not drift.differing, recorded=recorded)
    data["fields"] = [asdict(row) for row in drift.rows]
    data["notices"] = list(notices)
    data["losses"] = None if not drift.blocking or unreadable else lost.data
    error = None
    if drift.differing:
        fix = "./run invoke up --recreate" if drift.blocking else "./run invoke up"
        fields = ", ".join(row.field for row in drift.differing)
        error = ClusterError(f"the cluster {name} is not as it is declared: {fields}", fix=fix)
    return Report(tuple(map(_cells, drift.rows)), "\n".join(text), data, error)


def _data(name: str, state: str, steps: Sequence[Step], *, same: bool, recorded: bool) -> dict[str, Any]:
    """The report for programs; its keys are an interface."""
    actions = [step.data for step in steps]
    return {"cluster": name, "state": state, "same": same, "recorded": recorded, "fields": [], "actions": actions,
            "losses": None, "notices": []}  # fmt: skip


def _cells(row: Row) -> tuple[str, ...]:
    return (row.field, _short(row.declared), _short(row.running), VERDICTS[row.verdict], row.why)


def _short(text: str) -> str:
    return text if len(text) <= CELL_WIDTH else f"{text[: CELL_WIDTH - 1]}…"
