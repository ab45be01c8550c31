import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from threezone.clients.kubernetes.api import Json, refused
from threezone.clients.kubernetes.watch import World
from threezone.cluster.lab import Lab
from threezone.core.errors import DeliveryError
from threezone.core.settings import Settings
from threezone.delivery import final, progress, sync, verdict, wait
from threezone.delivery.repository import History
from threezone.delivery.revision import is_revision, matches
from threezone.delivery.sync import KUSTOMIZATIONS, SOURCES, Target
from threezone.flux import components
from threezone.flux.components import DEPLOYMENTS
from threezone.flux.health import APPS, PODS, REVISION
from threezone.flux.objects import REQUESTED

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
    assert wait.missing(world(source(NEW), kustomization(NEW)), LAB, NEW, "now") == []


def test_ready_for_another_revision_is_not_delivered() -> None:
    assert "fetch main@sha1:bbbbbbb" in wait.missing(world(source(OLD), kustomization(OLD)), LAB, NEW, "now")[0]
    assert "apply main@sha1:bbbbbbb" in wait.missing(world(source(NEW), kustomization(OLD)), LAB, NEW, "now")[0]


def test_a_condition_of_an_older_generation_does_not_count() -> None:
    assert wait.missing(world(source(NEW), kustomization(NEW, seen=1)), LAB, NEW, "now")


def test_nothing_declared_yet() -> None:
    assert wait.missing(world(None, None), LAB, NEW, "now") == ["Flux's GitRepository lab and Kustomization lab"]


@pytest.mark.parametrize("reason", sorted(progress.FINAL))
def test_a_revision_that_failed_ends_the_wait_with_fluxs_words(reason: str) -> None:
    failed = kustomization(
        OLD, attempted=NEW, ready="False", reason=reason, message="kustomize build failed: no such file"
    )
    with pytest.raises(DeliveryError, match=f"could not apply main@sha1:bbbbbbb: {reason}") as caught:
        wait.missing(world(source(NEW), failed), LAB, NEW, "now")
    assert caught.value.evidence == "kustomize build failed: no such file"


@pytest.mark.parametrize("reason", sorted(progress.FINAL))
def test_a_run_that_was_interrupted_is_no_failure(reason: str) -> None:
    """A controller that ends, as after a restart of the API server, says so; the next one tries again."""
    words = "health check failed after 10.073995356s: context canceled"
    ended = kustomization(OLD, attempted=NEW, ready="False", reason=reason, message=words)
    assert wait.missing(world(source(NEW), ended), LAB, NEW, "now")
    root = kustomization(OLD, attempted=NEW, ready="Unknown", reason="Progressing")
    root["status"]["conditions"].append({"type": "Healthy", "status": "False", "reason": reason, "message": words})
    root["status"]["history"] = [{"lastReconciledStatus": reason, "metadata": {"revision": NEW}}]
    assert progress.failure(root, NEW) == ""


def test_the_failure_of_the_last_revision_is_not_blamed_on_this_one() -> None:
    failed = kustomization(OLD, attempted=OLD, ready="False", reason="BuildFailed", message="old trouble")
    assert wait.missing(world(source(NEW), failed), LAB, NEW, "now")


def test_a_failure_from_before_our_request_may_have_healed() -> None:
    failed = kustomization(OLD, attempted=NEW, ready="False", reason="HealthCheckFailed", handled="earlier")
    assert wait.missing(world(source(NEW), failed), LAB, NEW, "now")


def test_a_delivery_is_read_from_fluxs_objects() -> None:
    seen = verdict.read(source(NEW), kustomization(OLD, ready="False", message="busy"), {})
    assert (seen.url, seen.fetched, seen.applied, seen.ready, seen.message) == (
        "http://git/lab.git",
        NEW,
        OLD,
        False,
        "Kustomization flux-system/lab: busy",
    )


@pytest.mark.parametrize("wanted", [NEW, "b" * 40, "bbbbbbb", "main@sha1:bbbb"])
def test_a_revision_is_known_by_its_spellings(wanted: str) -> None:
    assert is_revision(wanted)
    assert matches(NEW, wanted)
    assert wait.missing(world(source(NEW), kustomization(NEW)), LAB, wanted, "now") == []


@pytest.mark.parametrize("other", ["aaaaaaa", "other@sha1:bbbb", "", "main@sha1:"])
def test_another_revision_does_not_match(other: str) -> None:
    assert not matches(NEW, other)


@pytest.mark.parametrize("name", ["HEAD", "main", "HEAD~1", "v1.0", "bbb"])
def test_a_name_is_no_revision(name: str) -> None:
    assert not is_revision(name)


def test_a_source_that_holds_something_else_after_our_request_cannot_deliver() -> None:
    asked = source(OLD)
    asked["status"]["lastHandledReconcileAt"] = "now"
    with pytest.raises(DeliveryError, match="does not hold main@sha1:bbbbbbb: it holds main@sha1:aaaaaaa"):
        wait.missing(world(asked, kustomization(OLD)), LAB, NEW, "now")
    assert wait.missing(world(asked, kustomization(OLD)), LAB, NEW, "later"), "not asked yet"


@pytest.mark.parametrize(
    "condition",
    [
        {"type": "Ready", "status": "True", "message": f"stored artifact for revision '{NEW}'"},
        {"type": "Reconciling", "status": "True", "message": "building artifact"},
    ],
)
def test_conditions_that_are_ahead_of_the_artifact_are_waited_for(condition: Json) -> None:
    early = source(OLD)
    early["status"]["lastHandledReconcileAt"] = "now"
    early["status"]["conditions"].insert(0, condition)
    if condition["type"] == "Ready":
        del early["status"]["conditions"][1]
    assert wait.missing(world(early, kustomization(OLD)), LAB, NEW, "now")


def test_a_suspended_object_fails_at_once_with_the_command_that_resumes_it() -> None:
    for suspended, kind in ((source(OLD), "GitRepository"), (kustomization(OLD), "Kustomization")):
        suspended["spec"]["suspend"] = True
        pair = (suspended, kustomization(OLD)) if kind == "GitRepository" else (source(NEW), suspended)
        with pytest.raises(DeliveryError, match=f"the {kind} lab is suspended") as caught:
            wait.missing(world(*pair), LAB, NEW, "now")
        assert caught.value.fix == (
            f'kubectl -n flux-system patch {kind.lower()} lab --type=merge -p \'{{"spec":{{"suspend":false}}}}\''
        )


def test_an_applied_revision_is_delivered_although_suspended() -> None:
    held = kustomization(NEW)
    held["spec"]["suspend"] = True
    assert wait.missing(world(source(NEW), held), LAB, NEW, "now") == []


def test_a_stalled_object_fails_at_once() -> None:
    stalled = kustomization(OLD)
    stalled["status"]["conditions"].append({"type": "Stalled", "status": "True", "reason": "AccessDenied"})
    with pytest.raises(DeliveryError, match="the Kustomization lab is stalled: AccessDenied"):
        wait.missing(world(source(NEW), stalled), LAB, NEW, "now")


@pytest.mark.parametrize(("name", "work"), [("source-controller", "fetches"), ("kustomize-controller", "applies")])
def test_a_controller_at_zero_replicas_fails_at_once(name: str, work: str) -> None:
    seen = world(source(OLD), kustomization(OLD))
    seen[DEPLOYMENTS] = {f"flux-system/{name}": {"spec": {"replicas": 0}}}
    with pytest.raises(DeliveryError, match=f"{name} is scaled to zero: nobody {work} commits") as caught:
        wait.missing(seen, LAB, NEW, "now")
    assert caught.value.fix == f"kubectl -n flux-system scale deployment {name} --replicas=1"


def unhealthy() -> World:
    """The revision is applied, and the pod of its deployment cannot get its image."""
    checking = kustomization(OLD, attempted=NEW, ready="Unknown")
    checking["status"]["conditions"].append(
        {"type": "Reconciling", "message": f"Running health checks for revision {NEW} with a timeout of 2m0s"}
    )
    checking["status"]["inventory"] = {"entries": [{"id": "shop_web_apps_Deployment", "v": "v1"}]}
    own = {"namespace": "shop", "uid": "web", "name": "web", "generation": 1, "annotations": {REVISION: "1"}}
    of = {"ownerReferences": [{"uid": "web"}], "annotations": {REVISION: "1"}, "uid": "set", "name": "set"}
    state = {"waiting": {"reason": "ImagePullBackOff", "message": "no such image"}}
    pod = {"namespace": "shop", "name": "web-1", "ownerReferences": [{"uid": "set"}]}
    return {
        **world(source(NEW), checking),
        APPS.format(namespace="shop", plural="deployments"): {
            "shop/web": {"metadata": own, "status": {"observedGeneration": 1}}
        },
        APPS.format(namespace="shop", plural="replicasets"): {"shop/set": {"metadata": of}},
        PODS.format(namespace="shop"): {
            "shop/web-1": {"metadata": pod, "status": {"containerStatuses": [{"name": "web", "state": state}]}}
        },
    }


def test_a_pod_that_can_never_start_ends_the_wait() -> None:
    with pytest.raises(final.Unhealthy, match="Deployment shop/web of main@sha1:bbbbbbb cannot become") as caught:
        wait.missing(unhealthy(), LAB, NEW, "now")
    assert caught.value.evidence == "container web: ImagePullBackOff: no such image"
    assert caught.value.pod == "shop/web-1"
    assert caught.value.fix == "kubectl -n shop describe deployment web"


def test_pods_count_only_after_the_revision_is_applied() -> None:
    seen = unhealthy()
    seen[KUSTOMIZATIONS]["flux-system/lab"]["status"]["conditions"].pop()
    assert any("ImagePullBackOff" in line for line in wait.missing(seen, LAB, NEW, "now"))


def test_the_pods_behind_the_inventory_are_followed() -> None:
    assert PODS.format(namespace="shop") in wait.followed(unhealthy(), LAB)
    assert wait.followed(world(None, None), LAB) == ()


def test_a_warning_tells_more_than_a_later_event() -> None:
    pulled = {"type": "Normal", "reason": "Pulling", "message": "image", "lastTimestamp": "2026-01-01T00:00:09Z"}
    failed = {"type": "Warning", "reason": "Failed", "message": "not found", "lastTimestamp": "2026-01-01T00:00:01Z"}
    assert final.last_event([failed, pulled]) == "event Failed: not found"
    assert final.last_event([pulled]) == "event Pulling: image"
    assert final.last_event([]) == ""


def test_a_healthy_workload_is_delivered_before_fluxs_next_check() -> None:
    checking = kustomization(OLD, attempted=NEW, ready="Unknown", reason="Progressing", message="reconciling")
    checking["status"]["conditions"].append(
        {"type": "Reconciling", "status": "True", "message": f"Running health checks for revision {NEW} with a timeout"}
    )
    assert wait.missing(world(source(NEW), checking), LAB, NEW), "the inventory is not written yet"
    checking["status"]["inventory"] = {"entries": [{"id": "_shop__Namespace", "v": "v1"}]}
    assert wait.missing(world(source(NEW), checking), LAB, NEW) == [], "nothing in the inventory has a state"
    entry = {"id": "shop_web_apps_Deployment", "v": "v1"}
    checking["status"]["inventory"] = {"entries": [entry]}
    assert wait.missing(world(source(NEW), checking), LAB, NEW), "the Deployment is not seen"
    checking["status"]["inventory"] = {"entries": [{"id": "_shop__Namespace", "v": "v1"}]}
    checking["status"]["conditions"][-1]["observedGeneration"] = 1
    assert wait.missing(world(source(NEW), checking), LAB, NEW), "that was said of an older spec"


def test_an_old_message_after_a_failed_check_does_not_count() -> None:
    failed = kustomization(OLD, attempted=NEW, ready="False", reason="HealthCheckFailed", handled="earlier")
    failed["status"]["conditions"].append(
        {
            "type": "Reconciling",
            "status": "True",
            "reason": "ProgressingWithRetry",
            "message": f"Running health checks for revision {NEW} with a timeout of 2m0s",
        }
    )
    failed["status"]["inventory"] = {"entries": [{"id": "_shop__Namespace", "v": "v1"}]}
    assert wait.missing(world(source(NEW), failed), LAB, NEW, "now"), "Flux has said that it is not healthy"
    assert progress.is_applied(failed, NEW), "the objects are there all the same"


def test_ready_of_a_revision_in_between_does_not_count() -> None:
    between = kustomization(OLD, attempted=NEW, message=f"Applied revision: {NEW}")
    assert wait.missing(world(source(OLD), between), LAB, OLD, "now")


NO = 'x is forbidden: User "jane" cannot patch resource "gitrepositories" in API group "g" in the namespace "n"'


def test_a_login_without_rights_to_request_waits_for_fluxs_interval(monkeypatch: pytest.MonkeyPatch) -> None:
    def request(*_: Any) -> str:
        raise refused(403, NO)

    stamps = []

    def wait_delivered(_api: Any, _at: Target, revision: str, stamp: str, _seconds: float, **_: object) -> str:
        stamps.append(stamp)
        return f"main@sha1:{revision}"

    monkeypatch.setattr(components, "observe", lambda _: None)
    monkeypatch.setattr(components, "require", lambda seen: seen)
    monkeypatch.setattr(sync, "target", lambda _api, name, namespace: Target(name, namespace))
    monkeypatch.setattr(sync, "request", request)
    monkeypatch.setattr(wait, "wait_delivered", wait_delivered)
    made: Any = SimpleNamespace(api=None, root=Path(), settings=Settings(), foreign="")
    assert wait.wait(cast("Lab", made), "0123456") == "main@sha1:0123456"
    assert stamps == [""], "what Flux said of this revision before counts: nothing was asked of it"


def checking(inventory: str, revision: str = NEW) -> Json:
    """The Kustomization while it checks what it has applied."""
    item = kustomization(OLD, attempted=revision, ready="Unknown", reason="Progressing", message="reconciling")
    words = f"Running health checks for revision {revision} with a timeout of 2m0s"
    item["status"]["conditions"].append({"type": "Reconciling", "status": "True", "message": words})
    item["status"]["inventory"] = {"entries": [{"id": inventory, "v": "v1"}]}
    return item


JOBS = "/apis/batch/v1/namespaces/shop/jobs"
FAILED_JOB = {"type": "Failed", "status": "True", "reason": "BackoffLimitExceeded", "message": "no database"}


def test_a_new_condition_beside_the_inventory_of_the_last_revision_does_not_count() -> None:
    beside = world(source(NEW), checking("_shop__Namespace"))
    assert wait.missing(beside, LAB, NEW, settled=False), "the Namespace is not all that is applied"
    assert wait.missing(beside, LAB, NEW) == []
    job = {"shop/migrate": {"metadata": {}, "status": {"conditions": [FAILED_JOB]}}}
    old = world(source(NEW), checking("shop_migrate_batch_Job")) | {JOBS: job}
    assert any("no database" in line for line in wait.missing(old, LAB, NEW, settled=False)), "the commit may remove it"
    with pytest.raises(final.NotHealing, match="Job shop/migrate"):
        wait.missing(old, LAB, NEW)


def test_words_are_settled_after_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    settled = wait._settling(LAB)
    first, second = world(source(NEW), checking("_shop__Namespace")), world(source(NEW), checking("_other__Namespace"))
    assert not settled(first)
    now += 2
    assert settled(first)
    assert not settled(second), "the inventory has been written now"
    now += 2
    assert settled(second)


NEWER = "c" * 40


@pytest.mark.parametrize(("follows", "words"), [(True, "overtaken"), (False, "does not hold"), (None, "does not hold")])
def test_a_newer_commit_that_flux_holds(follows: bool | None, words: str) -> None:
    held = source(f"main@sha1:{NEWER}")
    held["status"]["lastHandledReconcileAt"] = "theirs"
    held["metadata"]["annotations"] = {REQUESTED: "theirs"}  # their request replaced ours
    history = History(NEW, lambda sha: follows if sha == NEWER else None)
    with pytest.raises(DeliveryError, match=words) as caught:
        wait.missing(world(held, kustomization(OLD)), LAB, NEW, "ours", history)
    assert isinstance(caught.value, final.Overtaken) is bool(follows)
    assert ("gitops.push" in caught.value.fix) is (follows is False), "pushing again would roll theirs back"
    held["metadata"]["annotations"][REQUESTED] = "ours"
    assert wait.missing(world(held, kustomization(OLD)), LAB, NEW, "ours", history), "a rollback has not arrived yet"


def test_a_request_of_others_that_is_not_answered_is_no_answer_to_ours() -> None:
    held = source(OLD)
    held["status"]["lastHandledReconcileAt"] = "earlier"
    held["metadata"]["annotations"] = {REQUESTED: "theirs"}
    assert wait.missing(world(held, kustomization(OLD)), LAB, NEW, "ours")


def test_a_path_that_is_not_among_the_files_ends_the_wait() -> None:
    message = "kustomization path not found: stat /tmp/k/apps: no such file or directory"
    root = kustomization(OLD, ready="False", reason="ArtifactFailed", message=message)
    progress = f"Fetching manifests for revision {NEW} with a timeout of 2m0s"
    root["status"]["conditions"].append({"type": "Reconciling", "status": "True", "message": progress})
    with pytest.raises(DeliveryError, match="ArtifactFailed") as caught:
        wait.missing(world(source(NEW), root), LAB, NEW, "now")
    assert "symbolic links" in caught.value.fix
    root["status"]["conditions"][-1]["message"] = progress.replace(NEW, OLD)
    assert wait.missing(world(source(NEW), root), LAB, NEW, "now"), "that was said of the last revision"


@pytest.mark.parametrize(
    ("revision", "ended", "when", "stands"),
    [
        (NEW, "HealthCheckFailed", "2026-01-01T00:00:09Z", True),
        (NEW, "HealthCheckFailed", "2026-01-01T00:00:01Z", False),
        (NEW, "ReconciliationSucceeded", "2026-01-01T00:00:09Z", False),
        (OLD, "HealthCheckFailed", "2026-01-01T00:00:09Z", False),
    ],
)
def test_a_failure_stands_while_flux_tries_again(revision: str, ended: str, when: str, stands: bool) -> None:
    stamp = "2026-01-01T00:00:05+00:00"
    root = kustomization(OLD, attempted=NEW, ready="Unknown", reason="Progressing", handled=stamp)
    past = {"lastReconciledStatus": ended, "lastReconciled": when, "metadata": {"revision": revision}}
    root["status"]["history"] = [past]
    assert (progress.failure(root, NEW, stamp) == ended) is stands
    assert progress.failure(root, NEW, "later") == ""


def test_a_commit_that_nobody_wants_any_more_ends_the_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = world(source(OLD), kustomization(OLD))
    monkeypatch.setattr(wait, "_entries_before", lambda *_: [])
    monkeypatch.setattr(wait, "wait_for", lambda _api, _paths, judge, **_: judge(seen))
    api: Any = None
    with pytest.raises(final.Overtaken) as caught:
        wait.wait_delivered(api, LAB, NEW, "now", 1, history=History(NEW, newest=lambda: NEWER))
    assert NEWER in caught.value.fix
