"""Each step that a row offers has an action, and each action does what its sentence says."""

from types import SimpleNamespace
from typing import Any

import pytest
from tests.fakes import fake_docker
from tests.unit.doctor.faults import FAULTS
from tests.unit.doctor.recording import load

from threezone.core.errors import ClusterError
from threezone.core.plan import Step, StepKind
from threezone.doctor import fix
from threezone.doctor.catalogue import BY_ID
from threezone.doctor.diagnose import diagnose


class Server:
    """An API server that remembers what it was sent."""

    def __init__(self, **objects: Any) -> None:
        self.objects = objects
        self.sent: list[tuple[Any, ...]] = []

    def get(self, path: str) -> Any:
        return self.objects.get(path.rpartition("/")[2])

    def merge(self, path: str, change: Any) -> None:
        self.sent.append((path, change))

    def send(self, method: str, path: str) -> None:
        self.sent.append((method, path))


def lab(server: Server | None = None) -> Any:
    return SimpleNamespace(api=server or Server(), name="doctor-lab", context="kind-doctor-lab")


def steps_of(id_: str) -> tuple[Step, ...]:
    fault = FAULTS[id_]
    facts = load(fault.recorded or "healthy")
    return diagnose(fault.broken(facts) if fault.broken else facts).causes[0].evidence.steps


OFFERED = [id_ for id_, row in BY_ID.items() if row.safety != "by hand"]


@pytest.mark.parametrize("id_", OFFERED)
def test_a_row_that_is_no_work_of_hand_offers_steps_with_actions(id_: str) -> None:
    steps = steps_of(id_)
    assert steps
    for step in steps:
        assert step.kind in fix.ACTIONS
        assert step.sentence
        assert step.command
        assert step.asks is (BY_ID[id_].safety == "asks")


def test_rows_by_hand_offer_no_steps() -> None:
    for id_, fault in FAULTS.items():
        if BY_ID[id_].safety == "by hand" and fault.broken and fault.first:
            diagnosis = diagnose(fault.broken(load("healthy")))
            first = (*diagnosis.causes, *diagnosis.risks)[0]
            assert not first.evidence.steps, id_


def test_a_deployment_is_scaled_up() -> None:
    server = Server()
    assert fix.apply(lab(server), steps_of("dns-down")) == ()
    assert server.sent == [("/apis/apps/v1/namespaces/kube-system/deployments/coredns", {"spec": {"replicas": 2}})]


def test_only_pods_that_have_ended_are_deleted() -> None:
    server = Server(a={"status": {"phase": "Failed"}}, b={"status": {"phase": "Running"}})
    step = Step(StepKind.DELETE_PODS, "delete", "kubectl", asks=True, target="default/a default/b default/c")
    fix.apply(lab(server), [step])
    assert server.sent == [("DELETE", "/api/v1/namespaces/default/pods/a")]


def test_kubeadm_applies_its_add_on_in_the_node(monkeypatch: pytest.MonkeyPatch) -> None:
    commands = fake_docker(monkeypatch, lambda _: "")
    assert fix.apply(lab(), steps_of("kube-proxy-down")) == ()
    node = "doctor-lab-control-plane"
    config = ["--config", "/kind/kubeadm.conf"]
    assert commands == [["exec", node, "kubeadm", "init", "phase", "addon", "kube-proxy", *config]]


def test_a_step_that_fails_does_not_stop_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object) -> None:
        raise ClusterError("refused")

    monkeypatch.setitem(fix.ACTIONS, StepKind.CONNECT, refused)
    server = Server()
    failed = fix.apply(lab(server), [Step(StepKind.CONNECT, "connect"), *steps_of("dns-down")])
    assert failed == ("connect: refused",)
    assert len(server.sent) == 1
