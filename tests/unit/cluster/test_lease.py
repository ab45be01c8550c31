"""A cluster that another run is at work on is left alone; one whose run has died is an interrupted one."""

import socket
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.fakes import failed

from threezone.clients import kind
from threezone.clients.docker import containers
from threezone.clients.kind import Node
from threezone.cluster import create, lease, lifecycle, orphans, recover, stop
from threezone.cluster.lab import Lab
from threezone.core import labels, paths
from threezone.core.errors import ClusterError, CommandFailed
from threezone.core.plan import Step, StepKind
from threezone.core.process import Completed
from threezone.core.settings import Settings
from threezone.engine import find, prove
from threezone.engine.find import Engine as Found
from threezone.lab import down, drift_report, steps, up, versions
from threezone.lab.observe import LabState

NODE = Node("id-1", "lab-control-plane", "lab", "control-plane", "running", "threezone/node:v1-lab", ours=True)
IN_USE = 'Conflict. The container name "/threezone-lease-lab" is already in use by container "id-2".'
HOLDER = ("alice", "laptop", "4711", "up", "2025-01-01 00:00:00 UTC")


class Engine:
    """The leases on an engine, and its clock. `ends` is what happens while somebody waits for a holder."""

    def __init__(self) -> None:
        self.leases: dict[str, tuple[str, ...]] = {}  # by the container's name: state, and the holder's facts
        self.has_image = True
        self.ends: Callable[[], object] = lambda: None
        self.now = 0.0
        self.removed: list[str] = []

    def take(self, state: str = "running") -> None:
        self.leases["threezone-lease-lab"] = (state, *HOLDER)

    @contextmanager
    def held(self, _image: str, name: str, facts: Mapping[str, str], *_: Any) -> Iterator[Completed | None]:
        if not self.has_image:
            yield failed("Unable to find image 'threezone/probe:2' locally", 125)
        elif name in self.leases:
            yield failed(IN_USE, 125)
        else:
            self.leases[name] = ("running", *(facts[f"{labels.LEASE}.{fact}"] for fact in lease.FACTS))
            try:
                yield None
            finally:
                self.leases.pop(name, None)

    def ls(self, *filters: str, fields: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
        assert filters == (f"label={labels.LEASE}=lab",)
        return [(f"id of {name}", *facts)[: len(fields)] for name, facts in self.leases.items()]

    def wait(self, _container: str, seconds: float) -> None:
        before = dict(self.leases)
        self.ends()
        self.sleep(seconds if self.leases == before else 1)

    def remove_stopped(self, container: str) -> None:
        name = container.removeprefix("id of ")
        assert self.leases[name][0] != "running"
        self.removed.append(name)
        del self.leases[name]

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> Engine:
    fake = Engine()
    for name in ("held", "ls", "wait", "remove_stopped"):
        monkeypatch.setattr(containers, name, getattr(fake, name))
    monkeypatch.setattr(lease, "time", fake)
    return fake


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Lab:
    """The lab of this run; its cluster is half made: it has a node without a mark."""
    (tmp_path / "kind.yaml").write_text("kind: Cluster\napiVersion: kind.x-k8s.io/v1alpha4\n")
    made = Lab(tmp_path, Settings(), "lab", requested_channel="source")
    made.__dict__.update(kubernetes="v1.35.0", overlays=(), tools={"kind": Path("kind")})
    monkeypatch.setattr(Lab, "cluster_file", tmp_path / "kind.yaml")
    monkeypatch.setattr(kind, "nodes", lambda _=None: (NODE,))
    monkeypatch.setattr(lifecycle, "is_marked", lambda _: False)
    monkeypatch.setattr(create, "supplies", lambda _: ())
    monkeypatch.setattr(down, "find", lambda _: None)
    monkeypatch.setattr(versions, "planned_skew", lambda _: ())
    monkeypatch.setattr(versions, "removed_apis", lambda *_: ())
    return made


def test_a_lease_is_held_for_the_block_and_entered_again(engine: Engine) -> None:
    with lease.hold("lab", 1):
        assert list(engine.leases) == ["threezone-lease-lab"]
        assert lease.read("lab") is None, "its own lease is no obstacle"
        with lease.hold("lab", 1):
            pass
        assert engine.leases
    assert not engine.leases


def test_the_holder_is_waited_for(engine: Engine) -> None:
    engine.take()
    engine.ends = engine.leases.clear
    with lease.hold("lab", 60):
        assert engine.now < 5


def test_the_error_names_the_holder_when_the_time_is_up(engine: Engine) -> None:
    engine.take()
    with pytest.raises(ClusterError) as caught, lease.hold("lab", 60):
        pytest.fail("two runs hold one lease")
    assert engine.now == pytest.approx(60, abs=1)
    assert caught.value.exit_code == 4
    assert all(fact in caught.value.message for fact in HOLDER)
    assert "threezone-lease-lab" in caught.value.fix
    assert engine.leases


def test_a_container_that_never_ran_is_no_lease_for_long(engine: Engine) -> None:
    engine.take("created")
    with lease.hold("lab", lease.BRIEF):
        assert engine.removed == ["threezone-lease-lab"]
        assert engine.now >= lease.ABANDONED


def test_a_container_of_somebody_else_with_the_name_ends_the_run(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine.take()
    monkeypatch.setattr(containers, "ls", lambda *_, **__: [])
    with pytest.raises(ClusterError, match="says not for whom"), lease.hold("lab", 600):
        pytest.fail("two runs hold one lease")


def test_the_image_is_made_once(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[str] = []

    def make(architecture: str) -> None:
        made.append(architecture)
        engine.has_image = len(made) == 1

    engine.has_image = False
    monkeypatch.setattr(find, "observe", lambda: Found("ok", "unix:///docker.sock", architecture="arm64"))
    monkeypatch.setattr(prove, "make_image", make)
    with lease.hold("lab", 1):
        assert made == ["arm64"]
    monkeypatch.setattr(prove, "make_image", made.append)
    engine.has_image = False
    with pytest.raises(CommandFailed), lease.hold("lab", 1):
        pytest.fail("there is no image")


def test_the_labels_name_tasks_and_no_value(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["invoke", "cluster.create", "--name", "Geheim7", "--set=a=b", "/home/me/x"])
    monkeypatch.setattr(socket, "gethostname", lambda: "host\x1b[2J\n")
    facts = lease._labels("lab")
    assert facts[f"{labels.LEASE}.command"] == "cluster.create"
    assert facts[f"{labels.LEASE}.host"] == "host[2J"
    assert labels.OWNER not in facts


def test_a_container_that_held_a_lease_is_shown_without_control_characters(engine: Engine) -> None:
    engine.leases["threezone-lease-lab"] = ("running", "al\x1b]52;ice", *HOLDER[1:])
    assert (found := lease.read("lab"))
    assert found.sentence.isprintable()


@pytest.mark.parametrize(
    "case",
    [
        ("", ("interrupted", "absent"), [StepKind.DELETE_CLUSTER, StepKind.CREATE_CLUSTER]),
        ("running", ("busy", "busy"), [StepKind.WAIT_FOR_LEASE]),
        ("created", ("busy", "busy"), [StepKind.WAIT_FOR_LEASE]),
    ],
)
def test_the_plans_for_a_cluster_that_is_not_complete(
    lab: Lab, engine: Engine, monkeypatch: pytest.MonkeyPatch, case: tuple[str, tuple[str, str], list[StepKind]]
) -> None:
    holder, states, kinds = case
    if holder:
        engine.take(holder)
    half_made = up.cluster_plan(lab)
    assert [each.kind for each in half_made if each.kind is not StepKind.NOTE] == kinds
    report = drift_report.report(lab)
    assert report.data["state"] == states[0]
    plan = up.plan(lab, LabState(kind.nodes("lab")))
    assert [each.kind for each in plan.steps if each.kind in steps.EXPECTED] == kinds
    assert len(plan.steps) == 1 or not holder
    deletion = down.plan(lab)
    assert [each.kind for each in deletion] == kinds[:1]
    assert deletion[0].asks is not bool(holder)
    if holder:
        assert all("alice" in each.sentence for each in (*half_made, *plan.steps, *deletion))
        assert isinstance(report.error, ClusterError)
        assert "alice" in report.error.message
        for refusal in (lambda: stop.plan(lifecycle.observe("lab")), lambda: recover.bring_back(lab, lambda: True)):
            with pytest.raises(ClusterError, match="alice"):
                refusal()
    monkeypatch.setattr(kind, "nodes", lambda _=None: ())
    assert lifecycle.observe("lab").state == states[1]


def test_a_complete_cluster_is_not_asked_for_a_lease(lab: Lab, engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    engine.take()
    monkeypatch.setattr(lifecycle, "is_marked", lambda _: True)
    monkeypatch.setattr(lease, "read", lambda _: pytest.fail("this costs an engine call"))
    assert lifecycle.observe(lab.name).state == "running"


@pytest.fixture
def removed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What was removed or made."""
    log: list[str] = []
    monkeypatch.setattr(lifecycle, "delete", lambda lab: log.append(f"delete {lab.name}"))
    monkeypatch.setattr(orphans, "remove", lambda each: log.append(f"orphans of {each.cluster}"))
    monkeypatch.setattr(orphans, "observe", orphans.Orphans)
    monkeypatch.setattr(create, "create", lambda lab, **_: log.append(f"create {lab.name}"))
    return log


def test_a_deletion_of_a_cluster_that_is_being_made_removes_nothing(
    lab: Lab, engine: Engine, removed: list[str]
) -> None:
    planned = down.plan(lab)
    engine.take()
    for actions in (planned, down.plan(lab)):
        with pytest.raises(ClusterError, match="alice") as caught:
            down.apply(lab, actions)
        assert caught.value.exit_code == 4
    assert removed == []


def test_a_deletion_that_was_planned_while_a_run_was_at_work_is_planned_again(
    lab: Lab, engine: Engine, removed: list[str]
) -> None:
    engine.take()
    actions = down.plan(lab)
    engine.leases.clear()
    with pytest.raises(ClusterError, match="has just changed"):
        down.apply(lab, actions)
    assert removed == []


def test_clusters_that_nobody_changes_are_deleted_before_another_is_refused(
    lab: Lab, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine.take()
    read = lease.read
    monkeypatch.setattr(lease, "read", lambda name: read(name) if name == "lab" else None)
    other = Lab(lab.root, lab.settings, "other")
    assert [each.name for each, _ in down.plan_all([lab, other])] == ["other", "lab"]


def test_a_cluster_that_was_completed_meanwhile_is_not_deleted(
    lab: Lab, engine: Engine, removed: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    planned = up.cluster_plan(lab)
    assert planned[0].kind is StepKind.DELETE_CLUSTER
    engine.take()

    def complete() -> None:
        engine.leases.clear()
        monkeypatch.setattr(lifecycle, "is_marked", lambda _: True)

    engine.ends = complete
    steps.apply(lab, planned, lambda: ())
    with pytest.raises(ClusterError, match="changed since it was planned"):
        steps.apply(lab, planned)
    assert removed == []
    assert not engine.leases


@pytest.mark.parametrize("planned_before", [True, False])
def test_what_a_dead_run_left_is_removed_and_made_anew(
    lab: Lab, engine: Engine, removed: list[str], monkeypatch: pytest.MonkeyPatch, planned_before: bool
) -> None:
    engine.ends = engine.leases.clear  # its holder is killed
    if not planned_before:
        engine.take()
    planned = up.cluster_plan(lab)
    engine.take()

    def delete(_: Lab) -> None:
        assert engine.leases["threezone-lease-lab"][1:] != HOLDER
        removed.append("delete")
        monkeypatch.setattr(kind, "nodes", lambda _=None: ())

    monkeypatch.setattr(lifecycle, "delete", delete)
    steps.apply(lab, planned, lambda: up.cluster_plan(lab))
    assert removed == ["delete", "create lab"]


def test_a_wait_is_announced_and_nothing_else_is_planned() -> None:
    found = lease.Lease("lab", "id", "running", *HOLDER)
    step = lease.wait_step(found)
    assert (step.kind, step.asks, step.reveals) == (StepKind.WAIT_FOR_LEASE, False, True)
    observed = lifecycle.Observed("lab", "busy", (NODE,), found)
    assert lifecycle.plan(observed, None, (), "") == (step,)  # type: ignore[arg-type]
    assert isinstance(step, Step)


def test_private_files_of_another_run_are_kept_and_those_of_a_dead_one_removed() -> None:
    parent = paths.make(paths.cluster_dir("lab") / "kind")
    with kind.private("lab", "create") as mine:
        (mine / "kubeconfig").write_text("a key")
        paths.make(parent / "create-dead")
        with kind.private("lab", "create") as other:
            assert other != mine
            assert {path.name for path in parent.iterdir()} == {mine.name, other.name}
        kind.forget("lab")
        assert (mine / "kubeconfig").is_file()
    kind.forget("lab")
    assert not parent.exists()
