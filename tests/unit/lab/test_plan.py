from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from threezone.clients.kind import Node
from threezone.cluster.lab import Lab
from threezone.core.plan import Step, StepKind
from threezone.core.settings import Settings
from threezone.delivery.handover import Declared
from threezone.delivery.repository import Commit
from threezone.delivery.sync import Delivery, Target
from threezone.engine.find import Engine
from threezone.flux.components import REQUIRED, Component, Flux
from threezone.lab import plan, status
from threezone.lab.observe import LabState, NodeState
from threezone.toolchain import install
from threezone.zones.locate import Zone

pytestmark = pytest.mark.usefixtures("unleased")

LAB = Lab(Path("/project"), Settings(), "lab")
SHA = "b" * 40
WELL = LabState(
    containers=(Node("0", "lab-control-plane", "lab", "control-plane", "running", "image", ours=True),),
    server="https://127.0.0.1:6443",
    nodes=(NodeState("lab-control-plane", "v1.35.0", ready=True),),
    flux=Flux("v2.7.3", tuple(Component(name, "image", ready=True) for name in REQUIRED)),
    git_serves=True,
    delivery=Delivery("http://git/lab.git", f"main@sha1:{SHA}", f"main@sha1:{SHA}", ready=True, message=""),
    head=Commit(SHA, "local/gitops"),
)


def keys(seen: LabState, cluster: tuple[Step, ...] = ()) -> list[StepKind]:
    return [action.kind for action in plan.up(LAB, seen, cluster)]


def test_a_lab_that_is_well_needs_nothing() -> None:
    assert keys(WELL) == []


def test_a_new_cluster_needs_everything() -> None:
    assert keys(LabState(()), (Step(StepKind.CREATE_CLUSTER, "create it"),)) == [
        StepKind.CREATE_CLUSTER,
        StepKind.CONNECT,
        StepKind.INSTALL_FLUX,
        StepKind.SERVE_GIT,
        StepKind.WAIT_FOR_NODES,
        StepKind.WAIT_FOR_GIT,
        StepKind.DELIVER,
        StepKind.WAIT_FOR_WORKLOADS,
    ]


def test_only_what_is_off_is_done() -> None:
    assert keys(replace(WELL, head=Commit("c" * 40, "local/gitops"))) == [StepKind.DELIVER, StepKind.WAIT_FOR_WORKLOADS]
    assert keys(replace(WELL, git_serves=False)) == [
        StepKind.SERVE_GIT,
        StepKind.WAIT_FOR_GIT,
        StepKind.DELIVER,
        StepKind.WAIT_FOR_WORKLOADS,
    ]
    assert keys(replace(WELL, flux=Flux("", ()))) == [
        StepKind.INSTALL_FLUX,
        StepKind.WAIT_FOR_GIT,
        StepKind.WAIT_FOR_WORKLOADS,
    ]
    assert keys(replace(WELL, waiting=("kube-system/coredns",))) == [StepKind.WAIT_FOR_WORKLOADS]
    assert keys(replace(WELL, nodes=()))[:2] == [StepKind.CONNECT, StepKind.WAIT_FOR_NODES]


def other_flux(version: str) -> LabState:
    return replace(WELL, flux=replace(WELL.flux, version=version))


@pytest.mark.parametrize(("version", "verb"), [("v2.7.1", "upgrade"), ("v2.9.5", "downgrade")])
def test_another_version_of_our_flux_is_changed_and_a_downgrade_asks(version: str, verb: str) -> None:
    install, wait, *_, last = plan.up(LAB, other_flux(version), ())
    assert (install.kind, install.sentence) == (StepKind.INSTALL_FLUX, f"{verb} Flux from {version} to v2.7.3")
    assert install.asks is (verb == "downgrade")
    assert (wait.kind, last.kind) == (StepKind.WAIT_FOR_FLUX, StepKind.WAIT_FOR_WORKLOADS)


def test_the_flux_of_the_settings_is_the_wanted_one(tmp_path: Path) -> None:
    (tmp_path / "invoke.yaml").write_text("threezone: {flux: {version: '2.9'}}\n")
    lab = Lab(tmp_path, Settings(), "lab")
    assert plan.flux_change(lab, WELL) == "upgrade Flux from v2.7.3 to v2.9.5"
    assert plan.flux_change(lab, other_flux("v2.9.5")) == ""
    assert plan.flux_change(LAB, WELL) == ""
    assert plan.flux_change(lab, replace(WELL, flux=Flux("", ()))) == "", "it is installed"


def test_a_flux_of_somebody_else_stays_with_a_notice() -> None:
    seen = replace(other_flux("v2.6.4"), flux_installer="Helm", flux_notices=("the gate",))
    assert keys(seen) == []
    told, gate = plan.flux_notices(LAB, seen)
    assert told.startswith("Flux v2.6.4 was installed by Helm and stays; v2.7.3 is asked for")
    assert gate == "the gate"
    assert plan.flux_notices(LAB, replace(WELL, flux_installer="Helm")) == ()
    assert plan.flux_notices(LAB, other_flux("v2.6.4")) == (), "it is upgraded"


def status_of(monkeypatch: pytest.MonkeyPatch, seen: LabState) -> dict[str, Any]:
    monkeypatch.setattr(install, "find", lambda *_, **__: None)
    monkeypatch.setattr(status, "observe", lambda _: seen)
    monkeypatch.setattr(status, "observe_engine", lambda: Engine("ok", "unix:///docker.sock"))
    monkeypatch.setattr(status, "locate", lambda: Zone("host", ("a test",)))
    return status.collect(LAB)


def test_a_delivery_of_earlier_settings_is_replaced_and_status_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    old = Declared(Target("old"), "http://git/old.git", "main", "local/gitops")
    state = replace(WELL, kubernetes="v1.35.0", declared=(old,))
    assert keys(state) == [StepKind.REPLACE_DELIVERY, StepKind.DELIVER, StepKind.WAIT_FOR_WORKLOADS]
    data = status_of(monkeypatch, state)
    assert data["gitops"]["ready"] is False
    (sentence,) = data["gitops"]["replaces"]
    assert "http://git/old.git" in sentence
    assert any(sentence in row[2] for row in status.rows(data))


def test_a_delivery_that_failed_is_delivered_again_and_status_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    assert WELL.delivery is not None
    failed = replace(WELL.delivery, ready=False, message="Job hello/migrate: BackoffLimitExceeded")
    seen = replace(WELL, kubernetes="v1.35.0", delivery=failed)
    assert keys(seen) == [StepKind.DELIVER, StepKind.WAIT_FOR_WORKLOADS]
    told = status_of(monkeypatch, seen)
    assert (told["gitops"]["ready"], told["gitops"]["why"]) == (False, failed.message)
    row = next(row for row in status.rows(told) if row[0] == "gitops")
    assert row[1] == "no"
    assert "Job hello/migrate" in row[2]


def test_a_commit_that_is_not_delivered_is_not_called_ready(monkeypatch: pytest.MonkeyPatch) -> None:
    ahead = replace(WELL, kubernetes="v1.35.0", head=Commit("c" * 40, "local/gitops"))
    told = status_of(monkeypatch, ahead)
    assert (told["gitops"]["ready"], told["gitops"]["why"]) == (False, None)


def test_what_is_suspended_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    assert WELL.delivery is not None
    name = "Kustomization flux-system/lab"
    seen = replace(WELL, kubernetes="v1.35.0", delivery=replace(WELL.delivery, suspended=(name,)))
    assert keys(seen) == [], "it runs the commit"
    told = status_of(monkeypatch, seen)
    assert told["gitops"]["suspended"] == [name]
    assert any(name in row[2] for row in status.rows(told))


def test_the_revision_is_exactly_head() -> None:
    assert plan.revision(LAB, WELL) == f"main@sha1:{SHA}"


def test_why_a_cluster_is_not_ready() -> None:
    assert status.why(WELL) is None
    assert status.why(LabState(())) == "there is no such cluster"
    stopped = replace(WELL, nodes=(), containers=(replace(WELL.containers[0], state="exited"),))
    assert status.why(stopped) == "not running: lab-control-plane"
    answering = replace(stopped, nodes=WELL.nodes)
    assert not answering.nodes_ready
    assert status.why(answering) == "not running: lab-control-plane; the API server answers"
    foreign = replace(WELL, nodes=(), containers=(replace(WELL.containers[0], ours=False),))
    assert status.why(foreign) == "this cluster was not made by threezone"


def test_a_stopped_control_plane_of_several_is_told_and_the_others_answer() -> None:
    one, two, three = (replace(WELL.containers[0], name=f"lab-{name}") for name in ("one", "two", "three"))
    worker = replace(one, name="lab-worker", role="worker", state="exited")
    nodes = tuple(NodeState(f"lab-{name}", "v1.35.0", ready=True) for name in ("one", "two", "three", "worker"))
    seen = replace(WELL, containers=(one, replace(two, state="exited"), three), nodes=nodes)
    assert not seen.nodes_ready, "the API server calls it Ready for a while yet"
    assert status.why(seen) == "not running: lab-two; the API server answers through lab-one and lab-three"
    assert status.why(replace(seen, containers=(one, two, three, worker))) == (
        "not running: lab-worker; the API server answers"
    )
    assert keys(seen, (Step(StepKind.START_NODES, "start it"),)) == [
        StepKind.START_NODES,
        StepKind.CONNECT,
        StepKind.WAIT_FOR_PODS,
        StepKind.WAIT_FOR_NODES,
        StepKind.WAIT_FOR_WORKLOADS,
    ]


def test_status_shows_what_is_stopped_in_the_clusters_row(monkeypatch: pytest.MonkeyPatch) -> None:
    two = replace(WELL.containers[0], name="lab-two", state="exited")
    seen = replace(
        WELL,
        kubernetes="v1.38.0",
        containers=(WELL.containers[0], two),
        nodes=(*WELL.nodes, NodeState("lab-two", "v1.35.0", ready=True)),
    )
    told = status_of(monkeypatch, seen)
    assert [(node["name"], node["ready"]) for node in told["cluster"]["nodes"]] == [
        ("lab-control-plane", True),
        ("lab-two", False),
    ]
    assert (told["cluster"]["ready"], told["cluster"]["answers"], told["cluster"]["stopped"]) == (
        False,
        True,
        ["lab-two"],
    )
    rows = {row[0]: row for row in status.rows(told)}
    assert rows["cluster"][2] == (
        "lab: lab-control-plane v1.35.0 Ready, lab-two v1.35.0 stopped; "
        "not running: lab-two; the API server answers through lab-control-plane"
    )
    assert "kubectl" in rows["notice"][2] or "kind 0.31.0" in rows["notice"][2]
