"""up: what was asked for holds to the end, whatever becomes visible on the way."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from threezone.cluster import create, lifecycle, local_registry
from threezone.cluster.lab import Lab
from threezone.cluster.spec.declared import parse
from threezone.core.errors import Declined, EngineError
from threezone.core.plan import Step, StepKind
from threezone.core.settings import Settings
from threezone.delivery.repository import Commit
from threezone.engine import repair
from threezone.engine.find import Engine
from threezone.lab import drift_report, steps, up, versions
from threezone.lab.observe import LabState

pytestmark = pytest.mark.usefixtures("unleased")

STOPPED = LabState((), engine_error=EngineError("stopped"), head=Commit("a" * 40, "local/gitops"))
RUNNING = replace(STOPPED, engine_error=None)
REPAIRS = (Step(StepKind.INSTALL_ENGINE, "install", asks=True), Step(StepKind.START_ENGINE, "start", asks=True))
RECREATE = Step(StepKind.RECREATE_CLUSTER, "delete the cluster", asks=True)


@pytest.fixture
def lab(monkeypatch: pytest.MonkeyPatch) -> Lab:
    """A lab whose engine is stopped, with a cluster that is not as it is declared."""
    made = Lab(Path("/project"), Settings(), "lab", requested_channel="source")
    made.__dict__.update(declared=parse("kind: Cluster\napiVersion: kind.x-k8s.io/v1alpha4\n", Path("kind.yaml")))
    monkeypatch.setattr(repair, "diagnose", lambda: (Engine("stopped", "unix:///docker.sock"), REPAIRS))
    monkeypatch.setattr(repair, "apply", lambda _steps: None)
    monkeypatch.setattr(versions, "planned_skew", lambda _lab: ())
    monkeypatch.setattr(versions, "removed_apis", lambda *_: ())
    monkeypatch.setattr(up, "observe", lambda _lab: RUNNING)
    monkeypatch.setattr(lifecycle, "observe", lambda name: lifecycle.Observed(name, "running"))
    return made


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Whether each plan of the cluster was asked to make it anew."""
    log: list[bool] = []

    def cluster_plan(_lab: Lab, *, recreate: bool = False) -> tuple[Step, ...]:
        log.append(recreate)
        return (RECREATE,) if recreate else ()

    monkeypatch.setattr(up, "cluster_plan", cluster_plan)
    return log


def carried_out(monkeypatch: pytest.MonkeyPatch) -> list[StepKind]:
    log: list[StepKind] = []
    monkeypatch.setattr(steps, "_step", lambda _lab, each, _results, **_: log.append(each.kind))
    monkeypatch.setattr(create, "nodes_ready", lambda _lab: True)
    monkeypatch.setattr(create, "mark", lambda _lab, **_: None)
    monkeypatch.setattr(local_registry, "connect", lambda _lab: None)
    return log


def test_recreate_is_carried_out_although_the_engine_was_stopped(
    lab: Lab, asked: list[bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    done = carried_out(monkeypatch)
    plan = up.plan(lab, STOPPED, recreate=True)
    questions: list[Sequence[Step]] = []
    up.apply(lab, plan, recreate=True, agree=questions.append)
    assert asked == [True]
    assert StepKind.RECREATE_CLUSTER in done
    assert RECREATE in questions[0], "nobody could see it before, so it is asked about now"


def test_a_no_to_what_became_visible_ends_the_run(lab: Lab, asked: list[bool], monkeypatch: pytest.MonkeyPatch) -> None:
    done = carried_out(monkeypatch)

    def refuse(_steps: Sequence[Step]) -> Any:
        raise Declined("no")

    plan = up.plan(lab, STOPPED, recreate=True)
    with pytest.raises(Declined):
        up.apply(lab, plan, recreate=True, agree=refuse)
    assert done == []
    assert asked == [True]


def test_what_the_versions_do_to_the_declared_cluster_is_said_before_an_engine_is_there(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    head = "kind: Cluster\napiVersion: kind.x-k8s.io/v1alpha4\nnetworking: {kubeProxyMode: ipvs}\n"
    lab.__dict__.update(declared=parse(head, Path("kind.yaml")))
    planned = up.plan(lab, STOPPED)
    (note,) = [each for each in planned.steps if each.kind is StepKind.NOTE and "ipvs" in each.sentence]
    assert note.sentence.startswith("networking.kubeProxyMode (kind.yaml:3")
    monkeypatch.setattr(lifecycle, "observe", lambda name: lifecycle.Observed(name, "absent"))
    monkeypatch.setattr(create, "supplies", lambda _: ())
    lab.__dict__.update(engine=Engine("ok", "unix:///docker.sock", cgroup="1"))
    notes = [each.sentence for each in up.cluster_plan(lab) if each.kind is StepKind.NOTE]
    assert note.sentence in notes
    assert any("cgroup v1" in sentence and "failCgroupV1" in sentence for sentence in notes)
    report = drift_report.report(lab)
    assert note.sentence in report.text
    assert note.sentence in report.data["notices"]
    assert report.text.count(note.sentence) == 1
