"""Drift of a lab's cluster: the digest, the plan, the notice, the report."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import pytest
from tests.unit.cluster.drift.samples import KUBERNETES, made

from threezone.clients.kind import Node
from threezone.cluster import create
from threezone.cluster.drift import detect
from threezone.cluster.drift.detect import Drift, _with_labels
from threezone.cluster.drift.fields import compare
from threezone.cluster.drift.live import LiveCluster
from threezone.cluster.drift.nodes import label_changes
from threezone.cluster.lab import Lab
from threezone.cluster.spec.declared import Declared
from threezone.core.errors import ClusterError
from threezone.core.plan import Step, StepKind
from threezone.core.settings import Settings
from threezone.engine.find import Engine
from threezone.lab import data_loss, drift_report, up
from threezone.lab import plan as lab_plan
from threezone.lab.data_loss import DataLoss
from threezone.lab.observe import LabState, NodeState

CONFIG: dict[str, Any] = {"kind": "Cluster", "networking": {"apiServerPort": 6443}}
FRONT: dict[str, Any] = {**CONFIG, "nodes": [{"role": "control-plane", "labels": {"tier": "front"}}]}
OTHER: dict[str, Any] = {**CONFIG, "networking": {"apiServerPort": 6444}}
NODE = Node("0", "lab-control-plane", "lab", "control-plane", "running", "image", ours=True,
            ports="127.0.0.1:6443->6443/tcp")  # fmt: skip


def lab_of(content: dict[str, Any]) -> Lab:
    at = Lab(Path("/project"), Settings(), "lab", requested_channel="release")
    at.__dict__.update(
        engine=Engine("ok", "unix:///run/docker.sock", version="28.0.0", cgroup="2"),
        declared=Declared(Path("kind.yaml"), content),
        kubernetes=KUBERNETES,
    )
    return at


def drift_of(content: dict[str, Any], running: LiveCluster | None = None) -> Drift:
    running = running or made(CONFIG)
    return Drift(compare(content, KUBERNETES, running), label_changes(content, running), running)


def seen(content: dict[str, Any], **labels: str) -> LabState:
    return LabState(
        (NODE,),
        nodes=(NodeState("lab-control-plane", KUBERNETES, ready=True),),
        labels={"lab-control-plane": labels},
        made_from=detect.digest(lab_of(content)),
    )


def facts(seen: LabState) -> tuple[str, Mapping[str, Mapping[str, str]]]:
    return seen.made_from, seen.labels


def keys(actions: Sequence[Step]) -> list[StepKind]:
    return [action.kind for action in actions]


def test_the_digest_and_labels_show_whether_anything_can_differ() -> None:
    assert detect.is_as_declared(lab_of(CONFIG), *facts(seen(CONFIG)))
    assert not detect.is_as_declared(lab_of(OTHER), *facts(seen(CONFIG)))
    assert not detect.is_as_declared(lab_of(CONFIG), "", seen(CONFIG).labels), "an older cluster"
    assert detect.is_as_declared(lab_of(FRONT), *facts(seen(FRONT, tier="front")))
    assert not detect.is_as_declared(lab_of(FRONT), *facts(seen(FRONT, tier="back"))), "somebody changed it by hand"
    newer = lab_of(CONFIG)
    newer.__dict__["kubernetes"] = "v1.36.0"
    assert not detect.is_as_declared(newer, *facts(seen(CONFIG)))


def test_a_healthy_cluster_as_declared_costs_no_comparison(monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*_: Any) -> Drift:
        raise AssertionError("compared field by field")

    monkeypatch.setattr(detect, "drift_of", never)
    assert up._drift(lab_of(CONFIG), seen(CONFIG)) is None
    with pytest.raises(AssertionError, match="field by field"):
        up._drift(lab_of(OTHER), seen(CONFIG))
    assert up._drift(lab_of(OTHER), replace(seen(CONFIG), nodes=())) is None, "first it has to be well"


def test_changes_in_place_are_planned() -> None:
    (action,) = up.changes(lab_of(FRONT), drift_of(FRONT), recreate=False)
    assert (action.kind, action.asks) == (StepKind.LABEL_NODES, False)
    assert action.command == "kubectl label node lab-control-plane --overwrite tier=front"
    assert up.changes(lab_of(CONFIG), drift_of(CONFIG), recreate=True) == (), "nothing needs a new cluster"


def test_declared_labels_that_a_patch_replaced_are_set_in_a_new_cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    class Server:
        merged: ClassVar[list[Any]] = []

        def get(self, _path: str) -> Any:
            return {"items": [{"metadata": {"name": "lab-control-plane", "labels": {"ingress-ready": "true"}}}]}

        def merge(self, path: str, change: Any) -> None:
            self.merged.append((path, change))

    monkeypatch.setattr(Lab, "api", Server())
    detect.complete_labels(lab_of(FRONT))
    assert Server.merged == [("/api/v1/nodes/lab-control-plane", {"metadata": {"labels": {"tier": "front"}}})]


def test_a_running_cluster_without_a_mark_gets_one() -> None:
    (node,) = made(CONFIG).nodes
    assert node.files is not None
    unmarked = LiveCluster("lab", (replace(node, files=replace(node.files, marked=False, last_applied=None)),))
    assert keys(up.changes(lab_of(CONFIG), drift_of(CONFIG, unmarked), recreate=False)) == [StepKind.WAIT_FOR_NODES]


def test_without_recreate_a_new_cluster_is_a_notice_and_no_action() -> None:
    found = drift_of(OTHER)
    assert up.changes(lab_of(OTHER), found, recreate=False) == ()
    assert "networking.apiServerPort is 6443, declared is 6444 (a published port cannot be moved" in found.notice
    assert "up --recreate" in found.notice
    assert drift_of(CONFIG).notice == ""


def test_a_recreate_lists_the_losses_then_asks_then_makes_it_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    lost = DataLoss(volumes=("default/data (1Gi)",), repositories=("lab",))
    monkeypatch.setattr(data_loss, "observe", lambda _: lost)
    monkeypatch.setattr(create, "supplies", lambda _: ())
    actions = up.changes(lab_of(OTHER), drift_of(OTHER), recreate=True)
    assert keys(actions) == [
        StepKind.BACK_UP_GIT,
        StepKind.NOTE,
        StepKind.RECREATE_CLUSTER,
        StepKind.NOTE,
        StepKind.CREATE_CLUSTER,
    ]
    assert [action.kind for action in actions if action.asks] == [StepKind.NOTE, StepKind.RECREATE_CLUSTER]
    assert "networking.apiServerPort" in actions[2].sentence
    assert actions[2].command == "kind delete cluster --name lab"
    whole = keys(lab_plan.up(lab_of(OTHER), seen(CONFIG), actions))
    assert whole[5:] == [
        StepKind.CONNECT,
        StepKind.INSTALL_FLUX,
        StepKind.SERVE_GIT,
        StepKind.WAIT_FOR_NODES,
        StepKind.WAIT_FOR_GIT,
        StepKind.RESTORE_GIT,
        StepKind.DELIVER,
        StepKind.WAIT_FOR_WORKLOADS,
    ]


def test_nothing_is_recreated_when_the_losses_are_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    def silent(_: Lab) -> DataLoss:
        raise ClusterError("what would be lost cannot be seen")

    monkeypatch.setattr(data_loss, "observe", silent)
    with pytest.raises(ClusterError, match="cannot be seen"):
        up.changes(lab_of(OTHER), drift_of(OTHER), recreate=True)


def test_a_waiting_backup_is_restored_into_a_healthy_lab() -> None:
    well = replace(seen(CONFIG), git_serves=True)
    found = keys(lab_plan.up(lab_of(CONFIG), well, (), ["lab", "team"]))
    assert [key for key in found if key is not StepKind.INSTALL_FLUX][:4] == [
        StepKind.SERVE_GIT,
        StepKind.WAIT_FOR_GIT,
        StepKind.RESTORE_GIT,
        StepKind.DELIVER,
    ]
    assert StepKind.RESTORE_GIT not in keys(lab_plan.up(lab_of(CONFIG), well, ()))


def test_with_labels_changes_only_the_labels() -> None:
    old = {"nodes": [{"role": "control-plane", "labels": {"a": "b"}, "image": "x"}, {"role": "worker"}], "name": "lab"}
    new = {"nodes": [{"labels": {"c": "d"}, "image": "y"}, {"role": "worker", "labels": {"e": "f"}}]}
    assert _with_labels(old, new) == {
        "name": "lab",
        "nodes": [
            {"role": "control-plane", "image": "x", "labels": {"c": "d"}},
            {"role": "worker", "labels": {"e": "f"}},
        ],
    }
    assert _with_labels({}, {"nodes": [{"labels": {"c": "d"}}]})["nodes"] == [
        {"role": "control-plane", "labels": {"c": "d"}}
    ]


def report(content: dict[str, Any], running: LiveCluster | None = None, **more: Any) -> drift_report.Report:
    found = drift_of(content, running)
    return drift_report.describe_drift("lab", found, found.actions, **more)


def test_the_report_on_what_is_the_same() -> None:
    told = report(CONFIG)
    assert told.error is None
    assert told.text == "the cluster lab is as it is declared"
    assert (told.data["same"], told.data["recorded"], told.data["losses"]) == (True, True, None)
    assert {row[3] for row in told.rows} == {"same"}


def test_the_report_on_what_differs_ends_with_the_clusters_code() -> None:
    in_place = report(FRONT)
    assert in_place.error is not None
    assert (in_place.error.exit_code, in_place.error.fix) == (4, "./run invoke up")
    assert "kubectl label node" in in_place.text
    lost = DataLoss(volumes=("default/data (1Gi)",), objects=(("Pod", 1),))
    anew = report(OTHER, lost=lost, notices=("what the Git server held is kept",))
    assert anew.error is not None
    assert anew.error.fix == "./run invoke up --recreate"
    assert "! lose 1 volume: default/data (1Gi)" in anew.text
    assert anew.text.endswith("is kept")
    assert anew.data["notices"] == ["what the Git server held is kept"]
    assert anew.data["losses"]["objects"] == {"Pod": 1}
    assert "nothing would be lost" in report(OTHER).text
    unseen = report(OTHER, unreadable="the API server is away")
    assert "the API server is away" in unseen.text
    assert unseen.data["losses"] is None


def test_the_report_on_an_older_cluster_says_what_is_not_known() -> None:
    told = report(CONFIG, made(CONFIG, recorded=False))
    assert told.error is None
    assert "fields are not known: an older threezone" in told.text
    assert told.data["recorded"] is False


def test_a_long_cell_is_cut_in_the_table_and_whole_in_the_data() -> None:
    gates: Mapping[str, bool] = {f"Gate{number}": True for number in range(10)}
    content = {**CONFIG, "featureGates": gates}
    told = report(content)
    cells = next(row for row in told.rows if row[0] == "featureGates")
    assert len(cells[1]) == drift_report.CELL_WIDTH
    assert any("Gate9=true" in field["declared"] for field in told.data["fields"])
