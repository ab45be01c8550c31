"""Deliver new commits of previewed branches, and stop previews whose time has ended, while a watch runs."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime

from threezone.cluster.lab import Lab
from threezone.core.errors import ClusterError, RouteError, ThreezoneError
from threezone.delivery.branch import Tip
from threezone.delivery.preview import cluster
from threezone.delivery.preview.model import Preview
from threezone.delivery.preview.start import observe, start
from threezone.delivery.preview.stop import stop

SECONDS = 3.0  # between looks at the previews; a look is one request to the API server
Report = Callable[[str], None]


def in_background(lab: Lab, report: Report, *, force: bool = False) -> None:
    """Follow the previews until this program ends. `report` gets a line for each delivery, failure and end."""
    threading.Thread(target=_follow, args=(lab, report, force), daemon=True).start()


def _follow(lab: Lab, report: Report, force: bool) -> None:
    tried: dict[str, str] = {}
    while True:
        look(lab, tried, report, force=force)
        time.sleep(SECONDS)


def look(lab: Lab, tried: dict[str, str], report: Report, *, force: bool = False) -> None:
    """Bring each preview to its branch's newest commit, once for each commit, or to its end. Raises nothing.

    `tried` has the last commit of each branch that was tried.
    """
    try:
        previews = cluster.observe(lab)
    except ThreezoneError:  # the watch of main says so
        return
    for preview in previews:
        tip = Tip(lab.root, preview.branch)
        try:
            if preview.is_expired(datetime.now(UTC)):
                stop(lab, preview)
                report(f"{preview.branch}: its time has ended, and its preview is gone")
            elif (sha := tip.sha) and sha not in (_applied(preview), tried.get(preview.branch)):
                tried[preview.branch] = sha
                report(_delivered(lab, preview, tip, sha, force=force))
        except (ClusterError, RouteError):  # a server was not reachable, so the next look tries again
            tried.pop(preview.branch, None)
        except ThreezoneError as failure:
            lines = [f"  | {line}" for line in failure.evidence.splitlines() if line.strip()]
            report("\n".join([f"{preview.branch}: was not delivered: {failure.message}", *lines]))


def _applied(preview: Preview) -> str:
    return preview.applied.rpartition(":")[2]


def _delivered(lab: Lab, preview: Preview, tip: Tip, sha: str, *, force: bool) -> str:
    def newest() -> str:
        return newer if (newer := tip.other(sha, 0)) != sha else ""

    return start(lab, observe(lab, preview.branch), force=force, newest=newest).line
