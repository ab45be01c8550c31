import pytest

from threezone.clients.kubernetes import pods
from threezone.clients.kubernetes.api import Json
from threezone.core.errors import ClusterError


def pod(waiting: str = "", message: str = "", *, ready: str = "False", phase: str = "Pending") -> Json:
    return {
        "metadata": {"namespace": "flux-system", "name": "source-controller-1"},
        "status": {
            "phase": phase,
            "conditions": [{"type": "Ready", "status": ready}],
            "containerStatuses": [
                {"name": "manager", "state": {"waiting": {"reason": waiting, "message": message}} if waiting else {}}
            ],
        },
    }


def test_a_ready_pod_is_not_missing_nor_one_that_has_ended_well() -> None:
    assert pods.missing([pod(ready="True"), pod(phase="Succeeded")]) == []


@pytest.mark.parametrize("reason", ["ContainerCreating", "ErrImagePull", "CrashLoopBackOff"])
def test_what_may_heal_is_waited_for(reason: str) -> None:
    (line,) = pods.missing([pod(reason, "words")])
    assert line.startswith("pod flux-system/source-controller-1")


@pytest.mark.parametrize("reason", sorted(pods.PERMANENT))
def test_what_cannot_heal_fails_at_once_with_the_pods_own_words(reason: str) -> None:
    with pytest.raises(ClusterError, match="flux-system/source-controller-1 cannot start") as caught:
        pods.missing([pod(reason, "container has runAsNonRoot and image will run as root")])
    assert reason in caught.value.evidence
    assert "runAsNonRoot" in caught.value.evidence
    assert caught.value.fix == "kubectl -n flux-system describe pod source-controller-1"


def test_an_unschedulable_pod_says_why() -> None:
    waiting: Json = {
        "metadata": {"namespace": "a", "name": "b"},
        "status": {
            "conditions": [
                {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/1 nodes"}
            ]
        },
    }
    assert pods.missing([waiting]) == ["pod a/b (Unschedulable: 0/1 nodes)"]
