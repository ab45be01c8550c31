"""Whose a cluster is, from the labels that `docker ps` shows."""

from collections.abc import Sequence
from typing import Any

import pytest

from threezone.cluster import kind
from threezone.core import process
from threezone.core.process import Completed


def row(name: str, role: str, owner: str = "") -> str:
    return "\t".join((f"id-{name}", name, "lab", role, owner, "running", "image", "", "Up 3 hours", "kind"))


@pytest.mark.parametrize(
    ("rows", "derived", "ours"),
    [
        ([row("lab-control-plane", "control-plane", "lab")], "", True),
        ([row("lab-control-plane", "control-plane")], "", False),
        ([row("lab-control-plane", "control-plane", "another")], "", False),
        ([row("lab-control-plane", "control-plane", "lab"), row("lab-lb", kind.BALANCER)], "", True),
        # Cut off in the middle: the balancer is all that there is.
        ([row("lab-lb", kind.BALANCER)], "sha256:1\n", True),
        ([row("lab-lb", kind.BALANCER)], "", False),
        # An image of ours does not make somebody's nodes ours.
        ([row("lab-control-plane", "control-plane"), row("lab-lb", kind.BALANCER)], "sha256:1\n", False),
    ],
)
def test_whose_a_cluster_is(monkeypatch: pytest.MonkeyPatch, rows: list[str], derived: str, ours: bool) -> None:
    def run(argv: Sequence[str], **_: Any) -> Completed:
        return Completed(tuple(argv), 0, derived if argv[1] == "image" else "\n".join(rows), "", 0.1)

    monkeypatch.setattr(process, "run", run)
    assert {node.ours for node in kind.nodes("lab")} == {ours}
