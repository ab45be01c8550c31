from datetime import UTC, datetime
from typing import Any

from threezone.clients.kubernetes.api import Json
from threezone.clients.kubernetes.watch import World, key_of
from threezone.cluster.lifecycle import NODES
from threezone.cluster.pod_recovery import ALL_PODS, is_fresh, judge, not_recovered, restarts

START = datetime(2026, 11, 21, 12, 0, 0, 500000, tzinfo=UTC)
BEFORE, AFTER = "2026-11-21T11:00:00Z", "2026-11-21T12:00:09Z"
STARTED = {"plane": START}


def node(heartbeat: str = AFTER, ready: str = "True") -> Json:
    condition = {"type": "Ready", "status": ready, "lastHeartbeatTime": heartbeat}
    return {"metadata": {"name": "plane"}, "status": {"conditions": [condition]}}


def pod(
    name: str = "web", *, began: str = AFTER, ready: str = "True", reason: str = "", restarted: int = 1, **status: Any
) -> Json:
    state = {"waiting": {"reason": reason}} if reason else {"running": {"startedAt": began}}
    return {
        "metadata": {"namespace": "n", "name": name, "creationTimestamp": BEFORE},
        "spec": {"nodeName": "plane"},
        "status": {
            "phase": "Running",
            "conditions": [{"type": "Ready", "status": ready}],
            "containerStatuses": [{"name": "main", "state": state, "restartCount": restarted}],
            **status,
        },
    }


def world(*pods: Json, of: Json | None = None) -> World:
    return {NODES: {"/plane": of or node()}, ALL_PODS: {key_of(one): one for one in pods}}


def test_a_ready_pod_from_after_the_start_is_back() -> None:
    assert judge(world(pod()), STARTED).waiting == ()


def test_status_from_before_the_restart_is_ignored() -> None:
    assert judge(world(pod(began=BEFORE)), STARTED).waiting == ("pod n/web to be started again",)
    assert judge(world(of=node(BEFORE)), STARTED).waiting == ("node plane to report",)


def test_a_time_without_fraction_counts_as_after_the_start() -> None:
    assert is_fresh(pod(began="2026-11-21T12:00:00Z"), START)


def test_a_pod_that_is_not_ready_is_waited_for() -> None:
    assert judge(world(pod(ready="False")), STARTED).waiting == ("pod n/web",)


def test_ended_and_deleted_pods_are_not_waited_for() -> None:
    gone = pod("gone", ready="False")
    gone["metadata"]["deletionTimestamp"] = AFTER
    jobs = [pod("done", ready="False", phase="Succeeded"), pod("failed", ready="False", phase="Failed")]
    seen = judge(world(*jobs, gone), STARTED)
    assert (seen.waiting, seen.back_off, seen.stuck) == ((), (), ())


def test_a_pod_in_back_off_is_retried_once() -> None:
    held = pod(ready="False", reason="CrashLoopBackOff", restarted=2)
    before = judge(world(held), STARTED)
    assert (before.waiting, [key_of(one) for one in before.back_off]) == ((), ["n/web"])
    nudged = {key_of(one): restarts(one) for one in before.back_off}
    assert judge(world(held), STARTED, nudged).back_off, "the kubelet is not there yet"
    again = judge(world(pod(ready="False", reason="CrashLoopBackOff", restarted=3)), STARTED, nudged)
    assert (again.waiting, again.back_off) == ((), ())
    assert again.stuck == ("pod n/web (container main: CrashLoopBackOff)",)


def test_only_a_crash_after_the_start_puts_a_pod_into_back_off() -> None:
    """For most of the back-off the kubelet shows the container as ended, and only then says CrashLoopBackOff."""

    def ended(at: str, code: int = 1) -> Json:
        made = pod(ready="False")
        made["status"]["containerStatuses"][0]["state"] = {"terminated": {"finishedAt": at, "exitCode": code}}
        return made

    assert [key_of(one) for one in judge(world(ended(AFTER)), STARTED).back_off] == ["n/web"]
    about = "pod n/web (container main ended with exit code 255)"
    assert judge(world(ended(BEFORE, 255)), STARTED).waiting == (about,), "it is about to be started"
    assert judge(world(ended(AFTER, 0)), STARTED).waiting == ("pod n/web",)


def test_pods_that_no_restart_repairs_are_stuck() -> None:
    image = pod("image", ready="False", reason="ImagePullBackOff")
    nowhere = pod("nowhere", ready="False")
    nowhere["spec"] = {}
    nowhere["status"] = {
        "phase": "Pending",
        "conditions": [{"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "no room"}],
    }
    seen = judge(world(image, nowhere), STARTED)
    assert seen.waiting == ()
    assert seen.stuck == (
        "pod n/image (container main: ImagePullBackOff)",
        "pod n/nowhere (Unschedulable: no room)",
    )


def test_only_pods_from_before_the_restart_can_be_missing() -> None:
    new = pod("new", ready="False")
    new["metadata"]["creationTimestamp"] = AFTER
    assert not_recovered(world(new), STARTED) == []
    assert not_recovered(world(pod(ready="False"), new), STARTED) == ["pod n/web"]
    assert not_recovered(world(pod(ready="False", reason="CrashLoopBackOff")), STARTED) == [
        "pod n/web (container main: CrashLoopBackOff)"
    ]


def test_without_a_pod_network_a_node_is_back_and_its_pods_are_beyond_waiting() -> None:
    lacking = node(ready="False")
    lacking["status"]["conditions"][0]["message"] = (
        "container runtime network not ready: NetworkReady=false reason:NetworkPluginNotReady"
    )
    dns = pod("dns", ready="False", began=BEFORE)
    assert judge(world(dns, of=lacking), STARTED).waiting != ()
    seen = judge(world(dns, of=lacking), STARTED, pod_network=False)
    assert (seen.waiting, seen.stuck) == ((), ("pod n/dns: its node has no pod network",))
