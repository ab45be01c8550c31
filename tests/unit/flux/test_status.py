from datetime import UTC, datetime

import pytest
from tests.unit.flux.flux_objects import GIT, KINDS, KUSTOMIZATION, RELEASE, flux_object, status

from threezone.clients.kubernetes.api import Json
from threezone.core.errors import DeliveryError
from threezone.core.labels import PREVIEW
from threezone.flux import status as flux_status
from threezone.flux.status import State, is_at_work, state


def test_a_state_has_the_revision_and_the_message() -> None:
    seen = state(flux_object(KUSTOMIZATION, status=status(message="Applied") | {"lastAppliedRevision": "main@sha1:1"}))
    assert (seen.ready, seen.revision, seen.message, seen.failing) == (True, "main@sha1:1", "Applied", False)
    assert (
        state(flux_object(GIT, status=status() | {"artifact": {"revision": "main@sha1:2"}})).revision == "main@sha1:2"
    )
    released = flux_object(
        RELEASE, status=status() | {"history": [{"chartVersion": "0.2.0"}, {"chartVersion": "0.1.0"}]}
    )
    assert state(released).revision == "0.2.0"


@pytest.mark.parametrize(
    "unready",
    [status("False"), status("Unknown"), status(observed=1), {}],
    ids=["failed", "under way", "said of an older spec", "never looked at"],
)
def test_an_unready_object_fails_unless_it_is_suspended(unready: Json) -> None:
    seen = state(flux_object(KUSTOMIZATION, status=unready))
    assert (seen.ready, seen.failing) == (False, True)
    assert not state(flux_object(KUSTOMIZATION, spec={"suspend": True}, status=unready)).failing


def test_a_broken_preview_is_shown_and_is_no_failure_of_the_lab() -> None:
    seen = state(flux_object(KUSTOMIZATION, metadata={"labels": {PREVIEW: "x"}}, status=status("False")))
    assert (seen.ready, seen.preview, seen.failing) == (False, True, False)
    flux_status.require([seen])


def test_static_objects_have_no_readiness() -> None:
    assert state(flux_object(KINDS["Alert"])).ready is None
    assert state(flux_object(KINDS["HelmRepository"], spec={"type": "oci"})).ready is None
    assert state(flux_object(KINDS["HelmRepository"])).ready is False


def test_the_first_failing_object_ends_with_fluxs_reason_and_every_message() -> None:
    states = [
        state(flux_object(GIT, status=status())),
        state(flux_object(KUSTOMIZATION, status=status("False", "BuildFailed", "no such file"))),
        state(flux_object(RELEASE, status=status("False", "InstallFailed", "timed out"))),
    ]
    with pytest.raises(
        DeliveryError, match=r"Kustomization flux-system/lab is not ready: BuildFailed, and 1 more"
    ) as caught:
        flux_status.require(states)
    assert "no such file" in caught.value.evidence
    assert "timed out" in caught.value.evidence
    assert "--object kustomization/lab" in caught.value.fix


def test_ready_and_suspended_objects_pass() -> None:
    flux_status.require([state(flux_object(GIT, status=status())), state(flux_object(RELEASE, spec={"suspend": True}))])


@pytest.mark.parametrize(
    ("since", "shown"),
    [
        ("2026-01-02T00:00:00Z", "0s"),
        ("2026-01-01T23:59:15Z", "45s"),
        ("2026-01-01T23:45:01Z", "14m"),
        ("2026-01-01T23:00:00Z", "1h"),
        ("2025-12-30T23:00:00Z", "2d"),
        ("2026-01-02T00:00:09Z", "0s"),
        ("", ""),
    ],
)
def test_an_age_is_spelled_as_by_kubectl(since: str, shown: str) -> None:
    assert flux_status.age(since, datetime(2026, 1, 2, tzinfo=UTC)) == shown


def test_a_table_row_is_one_line_with_a_short_hash() -> None:
    one = State("Kustomization", "a", "b", False, False, "main@sha1:0123456789", "", "first\nsecond", "")
    assert flux_status.rows([one])[1] == ["Kustomization", "a/b", "no", "main@sha1:0123456", "", "first second"]


@pytest.mark.parametrize(
    ("ready", "status", "suspended", "expected"),
    [
        (("Unknown", "Progressing"), {}, False, True),
        (("Unknown", "Progressing"), {"history": [{"lastReconciledStatus": "ReconciliationSucceeded"}]}, False, True),
        (("Unknown", "Progressing"), {"history": [{"lastReconciledStatus": "HealthCheckFailed"}]}, False, False),
        (("Unknown", "Progressing"), {}, True, False),
        (("False", "BuildFailed"), {}, False, False),
        (("True", "ReconciliationSucceeded"), {}, False, False),
    ],
)
def test_a_run_that_has_just_begun_is_waited_for(
    ready: tuple[str, str], status: Json, *, suspended: bool, expected: bool
) -> None:
    conditions = [{"type": "Ready", "status": ready[0], "reason": ready[1]}]
    item = {"metadata": {}, "spec": {"suspend": suspended}, "status": {**status, "conditions": conditions}}
    assert is_at_work(item) is expected
