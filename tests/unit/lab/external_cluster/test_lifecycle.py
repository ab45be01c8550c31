"""up on an adopted cluster: what the lab brings there, each after a question; nothing that makes or mends a cluster."""

from dataclasses import replace
from pathlib import Path

import pytest

from threezone.cluster.lab import Lab
from threezone.core.errors import ClusterError
from threezone.core.plan import StepKind
from threezone.core.settings import Settings
from threezone.delivery.repository import Commit
from threezone.delivery.sync import Delivery
from threezone.flux.components import REQUIRED, Component, Flux
from threezone.lab import status
from threezone.lab.external_cluster import lifecycle
from threezone.lab.observe import LabState, NodeState

SHA = "b" * 40
AT = Lab(Path("/project"), Settings(), "kind", "docker-desktop")
WELL = LabState(
    containers=(),
    server="https://127.0.0.1:6443",
    nodes=(NodeState("docker-desktop", "v1.34.1", ready=True),),
    flux=Flux("v2.7.3", tuple(Component(name, "image", ready=True) for name in REQUIRED)),
    git_serves=True,
    delivery=Delivery("http://git/lab.git", f"main@sha1:{SHA}", f"main@sha1:{SHA}", ready=True, message=""),
    head=Commit(SHA, "local/gitops"),
)
BARE = replace(WELL, flux=Flux("", ()), git_serves=False, delivery=None)


def test_what_is_missing_is_brought_after_a_question() -> None:
    actions = lifecycle.needed(AT, BARE)
    assert [action.kind for action in actions] == [
        StepKind.INSTALL_FLUX,
        StepKind.SERVE_GIT,
        StepKind.WAIT_FOR_GIT,
        StepKind.DELIVER,
    ]
    assert all(action.asks and action.sentence.endswith("(on docker-desktop)") for action in actions)


def test_workloads_of_others_and_nodes_are_not_waited_for() -> None:
    assert lifecycle.needed(AT, replace(WELL, waiting=("somebody/app",))) == ()
    assert lifecycle.needed(AT, replace(WELL, nodes=(NodeState("docker-desktop", "v1.34.1", ready=False),))) == ()


def test_a_server_that_does_not_answer_is_told() -> None:
    with pytest.raises(ClusterError, match="the API server of docker-desktop does not answer") as refused:
        lifecycle.needed(AT, replace(BARE, unreachable="connection refused"))
    assert refused.value.evidence == "connection refused"


def test_the_status_of_an_adopted_cluster_asks_no_engine() -> None:
    assert status.why(WELL, adopted=True) is None
    assert status.why(replace(WELL, nodes=(), unreachable="connection refused"), adopted=True) == "connection refused"
    unready = replace(WELL, nodes=(NodeState("docker-desktop", "v1.34.1", ready=False),))
    assert status.why(unready, adopted=True) == "not Ready: docker-desktop"
    assert status.why(WELL) is None
    assert status.why(unready) == "there is no such cluster"
