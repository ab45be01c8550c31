"""Connect and check with what the engine here knows of the cluster: its CA, or that it is gone."""

from __future__ import annotations

from threezone.core import names
from threezone.core.errors import RouteError, UsageError
from threezone.core.events import note
from threezone.zones import check as checking
from threezone.zones import connect as zone
from threezone.zones.check import Checked
from threezone.zones.connect import Connected
from threezone.zones.discovery import Known, look
from threezone.zones.locate import locate


def connect(known: Known, *, by_hand: tuple[str, str] | None = None) -> Connected:
    """Prove a way and write it. Where the engine here has no kubeconfig for it, the user's own entry has to serve.

    Raises ClusterError for a cluster that is gone or stopped, RouteError when no way is proved.
    """
    if known.kubeconfig is None:
        return _from_own_entry(known, by_hand)
    return zone.connect(
        known.name, known.kubeconfig, engine=known.engine, zone=known.zone, patience=known.patience, by_hand=by_hand
    )


def _from_own_entry(known: Known, by_hand: tuple[str, str] | None) -> Connected:
    """A job's container has no engine, or another one than the cluster's: its entry may lead there all the same."""
    if known.nodes and known.trouble is not None:
        raise known.trouble
    if zone.current(known.name) is None and known.engine.state != "missing":
        raise known.trouble or UsageError(f"nothing here knows the cluster {known.name}")
    note("no engine here has the cluster; your own entry's CA and login are used")
    try:
        return zone.connect(known.name, None, engine=known.engine, zone=known.zone, by_hand=by_hand)
    except RouteError as error:
        if known.trouble is None or known.engine.state == "missing":
            raise
        trouble = known.trouble  # that is why: the cluster is gone, or the engine is stopped
        words = f"{trouble.evidence}\n{error.evidence}".strip()
        raise type(trouble)(trouble.message, evidence=words, fix=trouble.fix) from None


def check(context: str) -> Checked:
    """Prove an entry as it stands, knowing of a kind cluster what the engine here knows."""
    name = names.in_context(context)
    if zone.find(context) is None or not name:
        return checking.check(context, locate())
    known = look(name)
    return checking.check(context, known.zone, fresh=known.kubeconfig, missing=known.missing)
