"""The state of the lab as it changes: zones, nodes, Flux's tree, the revision and the app's answer. Read-only."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from dataclasses import asdict, dataclass
from typing import Any

from threezone.clients.kubernetes.api import Api
from threezone.clients.kubernetes.watch import Watching
from threezone.cluster.lab import Lab
from threezone.core.errors import ClusterError, DeliveryError
from threezone.core.events import muted
from threezone.extras.sample_app import app_answer
from threezone.flux import objects, status_tree
from threezone.flux.objects import HELM, KUSTOMIZE, SOURCE
from threezone.lab import status
from threezone.lab.observe import ALL_DEPLOYMENTS

WATCHED = (
    "/api/v1/nodes",
    ALL_DEPLOYMENTS,
    f"/apis/{SOURCE}/v1/gitrepositories",
    f"/apis/{KUSTOMIZE}/v1/kustomizations",
    f"/apis/{HELM}/v2/helmreleases",
)
# An engine or an API server that stops sends no event.
AT_LATEST = 5.0  # seconds between two looks

LINE = 80  # characters of the app's answer, which may be a page


@dataclass(frozen=True)
class View:
    """The lab at one moment; its data has the keys of `status`, with `tree` and `app`."""

    status: dict[str, Any]
    tree: tuple[status_tree.Node, ...]
    app: str

    def data(self) -> dict[str, Any]:
        """For programs."""
        return {**self.status, "tree": [asdict(each) for each in self.tree], "app": self.app or None}

    @property
    def tables(self) -> list[list[list[str]]]:
        """For people."""
        answer = (self.app.splitlines() or ["no answer"])[0][:LINE]
        rows = [*status.rows(self.status), ["app", "yes" if self.app else "no", answer]]
        return [rows, *([status_tree.rows(self.tree)] if self.tree else [])]


def look(lab: Lab) -> View:
    """The lab as it is now."""
    tree: tuple[status_tree.Node, ...] = ()
    app = ""
    with suppress(ClusterError):
        declared = objects.observe(lab.api)
        tree = status_tree.build(declared, status_tree.observe(lab.api, declared))
        with suppress(DeliveryError):  # a project may have no such app
            app = app_answer(lab.api, lab.settings.app)
    return View(status.collect(lab), tree, app)


def follow(lab: Lab) -> Iterator[View]:
    """The lab now, and again after each change, without an end."""
    last: View | None = None
    with ExitStack() as stack:
        followed: tuple[Api, Watching] | None = None
        while True:
            with muted():
                now = look(lab)
            if now != last:
                yield now
            last, api = now, _api(lab)
            if api and (followed is None or followed[0] is not api):  # a new cluster has a new connection
                stack.close()
                followed = api, stack.enter_context(Watching(api, WATCHED))
            if followed:
                followed[1].next_change(AT_LATEST)
            else:
                time.sleep(AT_LATEST)  # without a cluster there is nothing to watch


def _api(lab: Lab) -> Api | None:
    try:
        return lab.api
    except ClusterError:
        return None
