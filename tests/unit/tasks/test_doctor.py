"""doctor: what it prints, its exit code, and what --fix asks and does."""

from dataclasses import replace

import pytest
from tests.unit.doctor.faults import broken_facts as broken
from tests.unit.doctor.recording import load
from tests.unit.tasks.conftest import Invoke, Patch

from threezone.core.errors import ClusterError, Declined, UsageError
from threezone.tasks import runtime


def test_a_healthy_lab_is_one_line_and_exit_code_0(invoke: Invoke, patch: Patch) -> None:
    patch("doctor.observe.observe", load("healthy"))
    done = invoke("doctor")
    assert (done.exit_code, done.out) == (0, "kind-doctor-lab is healthy (0.7 s)\n")


def test_a_broken_lab_ends_with_the_exit_code_of_its_cause(invoke: Invoke, patch: Patch) -> None:
    patch("doctor.observe.observe", broken("dns-down"))
    done = invoke("doctor", "--json")
    assert done.exit_code == done.data["exitCode"] == 4
    assert [cause["id"] for cause in done.data["causes"]] == ["dns-down"]


def test_nothing_is_changed_without_fix(invoke: Invoke, patch: Patch) -> None:
    patch("doctor.observe.observe", broken("dns-down"))
    applied = patch("doctor.fix.apply", ())
    invoke("doctor")
    assert applied == []


def test_what_is_safe_is_repaired_without_a_question(invoke: Invoke, patch: Patch) -> None:
    patch("doctor.observe.observe", broken("dns-down"))
    patch("doctor.observe.settled", load("healthy"))
    applied = patch("doctor.fix.apply", ())
    done = invoke("doctor", "--fix")
    assert done.exit_code == 0
    (step,) = applied[0][0][1]
    assert step.command == "kubectl -n kube-system scale deployment coredns --replicas=2"


@pytest.mark.parametrize(("words", "code", "count"), [((), Declined.exit_code, 0), (("--yes",), 0, 1)])
def test_what_is_not_safe_asks(invoke: Invoke, patch: Patch, words: tuple[str, ...], code: int, count: int) -> None:
    patch("doctor.observe.observe", broken("kube-proxy-down"))
    patch("doctor.observe.settled", load("healthy"))
    applied = patch("doctor.fix.apply", ())
    assert invoke("doctor", "--fix", *words).exit_code == code
    assert len(applied) == count


def test_on_a_cluster_that_is_not_ours_everything_asks(invoke: Invoke, patch: Patch) -> None:
    facts = broken("dns-down")
    patch("doctor.observe.observe", replace(facts, subject=replace(facts.subject, foreign=True, context="prod")))
    applied = patch("doctor.fix.apply", ())
    assert invoke("doctor", "--fix", "--context", "prod").exit_code == Declined.exit_code
    assert applied == []


def test_a_step_is_tried_once(invoke: Invoke, patch: Patch) -> None:
    facts = broken("dns-down")
    patch("doctor.observe.observe", facts)
    patch("doctor.observe.settled", facts)
    applied = patch("doctor.fix.apply", ("scale: refused",))
    assert invoke("doctor", "--fix").exit_code == 4
    assert len(applied) == 1


def test_explain_takes_an_id_or_a_message(invoke: Invoke) -> None:
    assert invoke("doctor", "--explain", "dns-down").out.startswith("dns-down (")
    assert invoke("doctor", "--explain", "failed to create fsnotify watcher").out.startswith("inotify-limits (")
    assert invoke("doctor", "--explain", "dns-dwn").exit_code == UsageError.exit_code


@pytest.mark.parametrize(
    ("error", "id_"),
    [
        (ClusterError("it failed", evidence="Failed to create inotify object: Too many open files"), "inotify-limits"),
        (ClusterError("nothing that anybody knows"), ""),
        (Declined("too many open files"), ""),
    ],
)
def test_an_error_carries_the_id_of_its_row(error: ClusterError, id_: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert runtime.known_fault(error) == id_
    with pytest.raises(SystemExit):
        runtime.fail(error)
    assert ("doctor --explain inotify-limits" in capsys.readouterr().err) is bool(id_)
