from dataclasses import replace
from pathlib import Path

from threezone.cluster.kind import Node
from threezone.gitops.delivery import Delivery
from threezone.gitops.flux import REQUIRED, Component, Flux
from threezone.gitops.repository import Commit
from threezone.lab import plan, status
from threezone.lab.observe import Lab, NodeState, Seen
from threezone.plan import Action
from threezone.settings import Settings

LAB = Lab(Path("/project"), Settings(), "lab")
SHA = "b" * 40
WELL = Seen(
    containers=(Node("0", "lab-control-plane", "lab", "control-plane", "running", "image", ours=True),),
    server="https://127.0.0.1:6443",
    nodes=(NodeState("lab-control-plane", "v1.35.0", ready=True),),
    flux=Flux("v2.7.3", tuple(Component(name, "image", ready=True) for name in REQUIRED)),
    git_serves=True,
    delivery=Delivery("http://git/lab.git", f"main@sha1:{SHA}", f"main@sha1:{SHA}", ready=True, message=""),
    head=Commit(SHA, "local/gitops"),
)


def keys(seen: Seen, cluster: tuple[Action, ...] = ()) -> list[str]:
    return [action.key for action in plan.up(LAB, seen, cluster)]


def test_a_lab_that_is_well_needs_nothing() -> None:
    assert keys(WELL) == []


def test_a_new_cluster_needs_everything() -> None:
    assert keys(Seen(()), (Action("create", "create it"),)) == [
        "create",
        "connect",
        "git",
        "flux",
        "ready",
        "carriers",
        "deliver",
        "settle",
    ]


def test_only_what_is_off_is_done() -> None:
    assert keys(replace(WELL, head=Commit("c" * 40, "local/gitops"))) == ["deliver", "settle"]
    assert keys(replace(WELL, git_serves=False)) == ["git", "carriers", "settle"]
    assert keys(replace(WELL, flux=Flux("", ()))) == ["flux", "carriers", "settle"]
    assert keys(replace(WELL, waiting=("kube-system/coredns",))) == ["settle"]
    assert keys(replace(WELL, nodes=()))[:2] == ["connect", "ready"]


def test_the_revision_is_exactly_head() -> None:
    assert plan.revision(LAB, WELL) == f"main@sha1:{SHA}"


def test_why_a_cluster_is_not_ready() -> None:
    assert status.why(WELL) is None
    assert status.why(Seen(())) == "there is no such cluster"
    stopped = replace(WELL, nodes=(), containers=(replace(WELL.containers[0], state="exited"),))
    assert status.why(stopped) == "not running: lab-control-plane"
    foreign = replace(WELL, nodes=(), containers=(replace(WELL.containers[0], ours=False),))
    assert status.why(foreign) == "this cluster was not made by threezone"
