import pytest

from threezone.clients.kubernetes.api import Json
from threezone.clients.kubernetes.watch import World
from threezone.flux import health
from threezone.flux.objects import Entry

DEPLOYMENTS = "/apis/apps/v1/namespaces/shop/deployments"
REPLICASETS = "/apis/apps/v1/namespaces/shop/replicasets"
PODS = "/api/v1/namespaces/shop/pods"
WEB = Entry("Deployment", "apps", "v1", "shop", "web")


def pod(name: str, owner: str, waiting: str = "", **meta: object) -> Json:
    container = {"name": "web", "state": {"waiting": {"reason": waiting, "message": "of web:2"}} if waiting else {}}
    return {
        "metadata": {"namespace": "shop", "name": name, "uid": name, "ownerReferences": [{"uid": owner}], **meta},
        "status": {"phase": "Pending", "containerStatuses": [container]},
    }


def replicaset(name: str, revision: str) -> Json:
    meta = {
        "namespace": "shop",
        "name": name,
        "uid": name,
        "ownerReferences": [{"uid": "web"}],
        "annotations": {health.REVISION: revision},
    }
    return {"metadata": meta}


def deployment(revision: str = "2", *, observed: int = 5, **status: object) -> Json:
    meta = {"namespace": "shop", "name": "web", "uid": "web", "generation": 5}
    meta["annotations"] = {health.REVISION: revision}
    return {"metadata": meta, "status": {"observedGeneration": observed, **status}}


def world(found: Json, *pods: Json) -> World:
    return {
        DEPLOYMENTS: {"shop/web": found},
        REPLICASETS: {"shop/web-1": replicaset("web-1", "1"), "shop/web-2": replicaset("web-2", "2")},
        PODS: {f"shop/{each['metadata']['name']}": each for each in pods},
    }


def test_only_workloads_and_their_pods_are_watched() -> None:
    config = Entry("ConfigMap", "", "v1", "other", "page")
    assert health.collections([WEB, config]) == sorted([DEPLOYMENTS, REPLICASETS, PODS])


def test_a_pod_that_can_never_start_holds_its_deployment_back() -> None:
    stuck = health.stuck(world(deployment(), pod("web-2-a", "web-2", "ImagePullBackOff")), [WEB])
    assert stuck is not None
    assert (stuck.item, stuck.pod) == (WEB, "shop/web-2-a")
    assert "ImagePullBackOff: of web:2" in stuck.words


@pytest.mark.parametrize(
    "seen",
    [
        world(deployment(), pod("web-1-a", "web-1", "ImagePullBackOff")),
        world(deployment(), pod("web-2-a", "web-2", "ErrImagePull")),
        world(deployment(), pod("else", "somebody", "ImagePullBackOff")),
        world(deployment(), pod("web-2-a", "web-2", "ImagePullBackOff", deletionTimestamp="now")),
        world(deployment(observed=4), pod("web-2-a", "web-2", "ImagePullBackOff")),
    ],
    ids=["of the last revision", "may heal", "of somebody else", "on its way out", "change not yet seen"],
)
def test_pods_of_other_revisions_or_owners_do_not_count(seen: World) -> None:
    assert health.stuck(seen, [WEB]) is None


def test_a_deployment_past_its_progress_deadline_is_stuck() -> None:
    late = {"type": "Progressing", "status": "False", "reason": "ProgressDeadlineExceeded", "message": "timed out"}
    stuck = health.stuck(world(deployment(conditions=[late])), [WEB])
    assert stuck is not None
    assert stuck.words == "timed out"


def test_only_pods_of_the_newest_stateful_set_revision_count() -> None:
    item = Entry("StatefulSet", "apps", "v1", "shop", "web")
    found = deployment(updateRevision="web-new")
    old = pod("web-0", "web", "ImagePullBackOff", labels={"controller-revision-hash": "web-old"})
    new = pod("web-0", "web", "ImagePullBackOff", labels={"controller-revision-hash": "web-new"})
    sets = "/apis/apps/v1/namespaces/shop/statefulsets"
    assert health.stuck({sets: {"shop/web": found}, PODS: {"shop/web-0": old}}, [item]) is None
    assert health.stuck({sets: {"shop/web": found}, PODS: {"shop/web-0": new}}, [item]) is not None


def test_each_pod_that_is_not_ready_has_a_line() -> None:
    lines = health.troubles(world(deployment(), pod("web-2-a", "web-2", "CrashLoopBackOff")), [WEB])
    assert lines == ["pod shop/web-2-a: container web: CrashLoopBackOff: of web:2"]


def rolled(**counts: object) -> Json:
    found = deployment(replicas=2, updatedReplicas=2, availableReplicas=2)
    found["spec"] = {"replicas": 2}
    found["status"].update(counts)
    return found


CONFIG = Entry("ConfigMap", "", "v1", "shop", "page")


def test_a_rolled_out_workload_and_objects_without_state_are_healthy() -> None:
    assert health.are_healthy(world(rolled()), [WEB, CONFIG])
    assert health.are_healthy(world(rolled()), [])


@pytest.mark.parametrize(
    "found",
    [
        rolled(replicas=3),
        rolled(updatedReplicas=1),
        rolled(availableReplicas=1),
        rolled(observedGeneration=4),
    ],
    ids=["an old pod is left", "not all are new", "not all serve", "the controller has not seen it"],
)
def test_an_incomplete_rollout_is_not_healthy(found: Json) -> None:
    assert not health.are_healthy(world(found), [WEB, CONFIG])


@pytest.mark.parametrize(
    "item",
    [
        Entry("HelmRelease", "helm.toolkit.fluxcd.io", "v2", "shop", "web"),
        Entry("PersistentVolumeClaim", "", "v1", "shop", "data"),
        Entry("Deployment", "apps", "v1", "shop", "unseen"),
        Entry("Service", "serving.knative.dev", "v1", "shop", "web"),
    ],
    ids=str,
)
def test_kinds_that_only_flux_can_judge_are_never_healthy_here(item: Entry) -> None:
    assert not health.are_healthy(world(rolled()), [WEB, item])


@pytest.mark.parametrize(
    ("kind", "status", "runs"),
    [
        ("DaemonSet", {"desiredNumberScheduled": 2, "updatedNumberScheduled": 2, "numberAvailable": 2}, True),
        ("DaemonSet", {"desiredNumberScheduled": 2, "updatedNumberScheduled": 1, "numberAvailable": 2}, False),
        ("StatefulSet", {"replicas": 1, "updatedReplicas": 1, "availableReplicas": 1}, True),
        (
            "StatefulSet",
            {
                "replicas": 1,
                "updatedReplicas": 1,
                "availableReplicas": 1,
                "currentRevision": "a",
                "updateRevision": "b",
            },
            False,
        ),
    ],
)
def test_every_kind_has_counts_of_its_own(kind: str, status: Json, *, runs: bool) -> None:
    assert (health.rollout_gaps(kind, {"metadata": {}, "spec": {}, "status": status}) == []) is runs


NO_ACCOUNT = 'pods "web-" is forbidden: serviceaccount "absent" not found'
REFUSED = {"type": "ReplicaFailure", "status": "True", "reason": "FailedCreate", "message": NO_ACCOUNT}
JOB, SET = Entry("Job", "batch", "v1", "shop", "web"), Entry("StatefulSet", "apps", "v1", "shop", "web")
EVENTS = "/api/v1/namespaces/shop/events"


def event(reason: str, when: str) -> Json:
    return {"reason": reason, "message": NO_ACCOUNT, "lastTimestamp": when, "involvedObject": {"uid": "web"}}


def in_world(entry: Entry, item: Json, *pods: Json, events: tuple[Json, ...] = ()) -> World:
    listed = {str(number): each for number, each in enumerate(events)}
    return world(item, *pods) | {entry.collection: {"shop/web": item}, EVENTS: listed}


@pytest.mark.parametrize(
    ("entry", "seen", "words"),
    [
        (WEB, world(deployment(conditions=[REFUSED])), NO_ACCOUNT),
        (WEB, world(deployment(conditions=[REFUSED]), pod("web-2-a", "web-2")), ""),
        (WEB, world(deployment(conditions=[{**REFUSED, "message": "exceeded quota: small"}])), ""),
        (SET, in_world(SET, deployment(), events=(event("FailedCreate", "1"),)), NO_ACCOUNT),
        (SET, in_world(SET, deployment(), events=(event("FailedCreate", "1"), event("SuccessfulCreate", "2"))), ""),
        (JOB, in_world(JOB, deployment(), events=(event("FailedCreate", "1"),)), NO_ACCOUNT),
        (JOB, in_world(JOB, deployment(conditions=[{"type": "Complete"}]), events=(event("FailedCreate", "1"),)), ""),
    ],
    ids=["account", "a pod is there", "quota", "stateful set", "made since", "job", "the job has ended"],
)
def test_a_workload_whose_pods_cannot_be_made_is_stuck_after_a_while(entry: Entry, seen: World, words: str) -> None:
    stuck = health.stuck(seen, [entry])
    assert (stuck.words if stuck else "") == words
    assert stuck is None or stuck.seconds == health.NO_POD
    assert "exceeded quota" in str(seen) or bool(health.troubles(seen, [entry])) is bool(
        words or "web-2-a" in str(seen)
    )


def test_the_image_of_a_job_and_of_a_bare_pod_that_cannot_be_had() -> None:
    bad = pod("web", "web", "ImagePullBackOff")
    by_job = health.stuck(in_world(JOB, deployment(), bad), [JOB])
    assert by_job is not None
    assert (by_job.item, by_job.pod) == (JOB, "shop/web")
    bare = health.stuck({PODS: {"shop/web": bad}}, [Entry("Pod", "", "v1", "shop", "web")])
    assert bare is not None
    assert "ImagePullBackOff" in bare.words


def test_a_job_runs_well_when_it_is_complete() -> None:
    complete = {"type": "Complete", "status": "True"}
    assert health.are_healthy(in_world(JOB, deployment(conditions=[complete])), [JOB])
    assert not health.are_healthy(in_world(JOB, deployment()), [JOB])


@pytest.mark.parametrize(
    ("kind", "plural"),
    [("Gateway", "gateways"), ("NetworkPolicy", "networkpolicies"), ("Ingress", "ingresses"), ("Job", "jobs")],
)
def test_the_collection_of_any_kind(kind: str, plural: str) -> None:
    assert Entry(kind, "g", "v1", "shop", "x").collection == f"/apis/g/v1/namespaces/shop/{plural}"
    assert Entry(kind, "", "v1", "", "x").collection == f"/api/v1/{plural}"
