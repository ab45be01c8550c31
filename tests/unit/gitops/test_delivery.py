import pytest

from threezone.errors import DeliveryError
from threezone.gitops import delivery
from threezone.gitops.delivery import KUSTOMIZATIONS, SOURCES, Target
from threezone.kube.client import Json
from threezone.kube.waiting import World

OLD = "main@sha1:" + "a" * 40
NEW = "main@sha1:" + "b" * 40
LAB = Target("lab")


def source(revision: str, ready: str = "True") -> Json:
    return {
        "metadata": {"name": "lab", "namespace": "flux-system", "generation": 1},
        "spec": {"url": "http://git/lab.git"},
        "status": {
            "observedGeneration": 1,
            "artifact": {"revision": revision},
            "conditions": [{"type": "Ready", "status": ready, "message": "stored artifact"}],
        },
    }


def kustomization(
    applied: str,
    *,
    attempted: str = "",
    ready: str = "True",
    reason: str = "",
    message: str = "",
    seen: int = 2,
    handled: str = "now",
) -> Json:
    return {
        "metadata": {"name": "lab", "namespace": "flux-system", "generation": 2},
        "spec": {},
        "status": {
            "observedGeneration": seen,
            "lastAppliedRevision": applied,
            "lastAttemptedRevision": attempted or applied,
            "lastHandledReconcileAt": handled,
            "conditions": [{"type": "Ready", "status": ready, "reason": reason, "message": message}],
        },
    }


def world(a: Json | None, b: Json | None) -> World:
    key = "flux-system/lab"
    return {SOURCES: {key: a} if a else {}, KUSTOMIZATIONS: {key: b} if b else {}}


def test_exactly_the_revision_is_delivered() -> None:
    assert delivery.missing(world(source(NEW), kustomization(NEW)), LAB, NEW, "now") == []


def test_ready_for_another_revision_is_not_delivered() -> None:
    assert "fetch main@sha1:bbbbbbb" in delivery.missing(world(source(OLD), kustomization(OLD)), LAB, NEW, "now")[0]
    assert "apply main@sha1:bbbbbbb" in delivery.missing(world(source(NEW), kustomization(OLD)), LAB, NEW, "now")[0]


def test_a_condition_of_an_older_generation_does_not_count() -> None:
    assert delivery.missing(world(source(NEW), kustomization(NEW, seen=1)), LAB, NEW, "now")


def test_nothing_declared_yet() -> None:
    assert delivery.missing(world(None, None), LAB, NEW, "now") == ["Flux's GitRepository lab and Kustomization lab"]


@pytest.mark.parametrize("reason", sorted(delivery.FINAL))
def test_a_revision_that_failed_ends_the_wait_with_fluxs_words(reason: str) -> None:
    failed = kustomization(
        OLD, attempted=NEW, ready="False", reason=reason, message="kustomize build failed: no such file"
    )
    with pytest.raises(DeliveryError, match=f"could not apply main@sha1:bbbbbbb: {reason}") as caught:
        delivery.missing(world(source(NEW), failed), LAB, NEW, "now")
    assert caught.value.evidence == "kustomize build failed: no such file"


def test_the_failure_of_the_last_revision_is_not_blamed_on_this_one() -> None:
    failed = kustomization(OLD, attempted=OLD, ready="False", reason="BuildFailed", message="old trouble")
    assert delivery.missing(world(source(NEW), failed), LAB, NEW, "now")


def test_a_failure_from_before_our_request_may_have_healed() -> None:
    failed = kustomization(OLD, attempted=NEW, ready="False", reason="HealthCheckFailed", handled="earlier")
    assert delivery.missing(world(source(NEW), failed), LAB, NEW, "now")


def test_what_is_observed() -> None:
    seen = delivery.read(source(NEW), kustomization(OLD, ready="False", message="busy"))
    assert (seen.url, seen.fetched, seen.applied, seen.ready, seen.message) == (
        "http://git/lab.git",
        NEW,
        OLD,
        False,
        "busy",
    )
