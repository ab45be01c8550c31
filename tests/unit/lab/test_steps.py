"""A plan carried out: what goes on beside what, what a failure there does, and what is planned anew on the way."""

import threading
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from threezone.cluster import create, local_registry, recover
from threezone.cluster.create import Created
from threezone.cluster.lab import Lab
from threezone.cluster.pod_recovery import ALL_PODS
from threezone.core.errors import ClusterError, ThreezoneError
from threezone.core.plan import Step, StepKind
from threezone.core.settings import Settings
from threezone.delivery import git_server, push, serve
from threezone.engine import repair
from threezone.flux import install
from threezone.lab import steps
from threezone.lab.observe import ALL_DEPLOYMENTS

pytestmark = pytest.mark.usefixtures("unleased")

LAB = cast(
    Lab,
    SimpleNamespace(
        tools={"flux": Path("flux")},
        channel="source",
        name="lab",
        settings=Settings(),
        context="kind-lab",
        api=None,
        declared=SimpleNamespace(spots=SimpleNamespace(at=lambda *_: "kind.yaml:4")),
    ),
)
FRESH = (
    StepKind.CREATE_CLUSTER,
    StepKind.INSTALL_FLUX,
    StepKind.SERVE_GIT,
    StepKind.WAIT_FOR_NODES,
    StepKind.WAIT_FOR_GIT,
    StepKind.DELIVER,
)
MADE = Created("kubeconfig", frozenset({"image"}))


def plan(*kinds: StepKind) -> list[Step]:
    return [Step(kind, kind.name) for kind in kinds]


@pytest.fixture
def done(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What was done, in order; each step only says so."""
    log: list[str] = []

    def say(module: Any, name: str, words: str, result: object = None) -> None:
        def act(*_: Any, **__: Any) -> object:
            log.append(words)
            return result

        monkeypatch.setattr(module, name, act)

    say(create, "create", "create", MADE)
    say(create, "connect", "connect")
    say(create, "nodes_ready", "ready", result=True)
    say(create, "mark", "mark")
    monkeypatch.setattr(local_registry, "connect", lambda _: None)
    say(install, "install", "flux")
    say(serve, "start", "git")
    say(git_server, "wait_ready", "serve")
    say(push, "deliver_to_new", "deliver")
    say(recover, "start", "start", {"lab-control-plane": 1})
    say(recover, "revive", "revive")
    say(repair, "apply", "engine")
    monkeypatch.setattr(install, "objects", lambda *_: [])
    return log


def call(monkeypatch: pytest.MonkeyPatch, module: Any, name: str, body: Callable[..., object]) -> None:
    monkeypatch.setattr(module, name, body)


def test_a_new_cluster_gets_git_while_it_gets_flux(done: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    served = threading.Event()
    call(monkeypatch, serve, "start", lambda *_, **__: served.set())
    call(monkeypatch, install, "install", lambda *_, **__: done.append(f"flux, git beside it: {served.wait(10)}"))
    steps.apply(LAB, plan(*FRESH))
    assert done[:3] == ["create", "flux, git beside it: True", "ready"]


def test_a_cluster_that_was_there_is_given_one_after_the_other(done: list[str]) -> None:
    steps.apply(LAB, plan(StepKind.INSTALL_FLUX, StepKind.SERVE_GIT, StepKind.WAIT_FOR_GIT))
    assert done == ["flux", "git", "serve"]


def test_the_mark_is_written_beside_the_rest_and_waited_for(done: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    delivered = threading.Event()
    call(monkeypatch, push, "deliver_to_new", lambda *_, **__: delivered.set())
    call(monkeypatch, create, "mark", lambda *_, **__: done.append(f"mark, after delivery: {delivered.wait(10)}"))
    steps.apply(LAB, plan(*FRESH))
    assert done[-1] == "mark, after delivery: True"


@pytest.mark.parametrize(("module", "name"), [(serve, "start"), (create, "mark")])
def test_what_fails_beside_the_rest_fails_it(
    module: Any, name: str, done: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise ClusterError("no")

    call(monkeypatch, module, name, fail)
    with pytest.raises(ClusterError, match="no"):
        steps.apply(LAB, plan(*FRESH))
    assert ("deliver" in done) is (name == "mark")


def test_a_cluster_that_only_lacks_its_pod_network_is_marked_and_named(
    done: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    call(monkeypatch, create, "nodes_ready", lambda _: False)
    with pytest.raises(ClusterError, match=r"its pod network is yours to install.*kind\.yaml:4"):
        steps.apply(LAB, plan(*FRESH))
    assert done[-1] == "mark"
    assert "deliver" not in done


def test_each_step_gets_what_the_steps_before_it_returned(done: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[object] = []
    call(monkeypatch, create, "connect", lambda _, kubeconfig: given.append(kubeconfig))
    call(monkeypatch, install, "install", lambda _, images, *, agreed: given.append((images, agreed)))
    call(monkeypatch, create, "mark", lambda _, *, new: given.append(new))
    call(monkeypatch, push, "deliver_to_new", lambda _, *, reach: given.append(reach))
    kinds = (StepKind.CREATE_CLUSTER, StepKind.CONNECT, StepKind.INSTALL_FLUX, StepKind.WAIT_FOR_NODES)
    results = steps.apply(LAB, plan(*kinds))
    assert given == ["kubeconfig", (frozenset({"image"}), ""), True]
    assert results.created == MADE
    steps.apply(LAB, plan(StepKind.DELIVER))
    steps.apply(LAB, plan(StepKind.WAIT_FOR_GIT, StepKind.DELIVER))
    assert given[3:] == [False, True]
    assert "create" in done


def test_after_a_step_that_reveals_the_world_the_rest_is_planned_anew(done: list[str]) -> None:
    first = [*plan(StepKind.INSTALL_ENGINE), Step(StepKind.START_ENGINE, "", reveals=True), *plan(*FRESH)]
    second = [*plan(StepKind.START_NODES), Step(StepKind.WAIT_FOR_PODS, "", reveals=True), *plan(*FRESH)]
    later = iter([second, plan(StepKind.DELIVER)])
    steps.apply(LAB, first, lambda: next(later))
    assert done == ["engine", "start", "revive", "deliver"]


def test_a_world_that_is_never_visible_ends_the_run(done: list[str]) -> None:
    again = [Step(StepKind.START_ENGINE, "", reveals=True)]
    with pytest.raises(ThreezoneError, match="changes while it is planned"):
        steps.apply(LAB, again, lambda: again)
    assert done == ["engine"] * steps.REPLANS


def test_a_downgrade_is_carried_out_as_it_was_agreed_to(done: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[str] = []
    monkeypatch.setattr(install, "install", lambda _lab, _images, *, agreed: given.append(agreed))
    for asks in (True, False):
        steps.apply(LAB, [Step(StepKind.INSTALL_FLUX, "downgrade Flux from v2 to v1", asks=asks)])
    assert given == ["downgrade Flux from v2 to v1", ""]
    assert done == []


def deployment(name: str, *, available: bool, preview: bool) -> dict[str, Any]:
    labels = {"threezone.io/preview": "x"} if preview else {}
    conditions = [{"type": "Available", "status": str(available)}]
    return {"metadata": {"namespace": "n", "name": name, "labels": labels}, "status": {"conditions": conditions}}


def test_up_waits_for_the_lab_and_not_for_a_broken_preview() -> None:
    items = [
        deployment("fine", available=True, preview=False),
        deployment("late", available=False, preview=False),
        deployment("of-a-preview", available=False, preview=True),
    ]
    world = {ALL_PODS: {}, ALL_DEPLOYMENTS: {f"n/{each['metadata']['name']}": each for each in items}}
    assert steps.unsettled(world) == ["deployment n/late"]
