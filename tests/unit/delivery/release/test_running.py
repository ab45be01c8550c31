"""Whether what Flux has applied runs the image that was released."""

from typing import Any

import pytest

from threezone.core.errors import DeliveryError
from threezone.delivery.release.release import require_running

NAME, REFERENCE = "team/shop", "localhost:5001/team/shop:t2"


def workload(kind: str, *images: str) -> dict[str, Any]:
    pod = {"spec": {"containers": [{"name": "it", "image": image} for image in images]}}
    group = "batch/v1" if kind == "Job" else "apps/v1"
    return {"apiVersion": group, "kind": kind, "metadata": {"name": "x", "namespace": "y"}, "spec": {"template": pod}}


@pytest.mark.parametrize(
    "applied",
    [
        [workload("Deployment", REFERENCE)],
        [workload("Deployment", "team/shop:t1"), workload("Job", "other:1", REFERENCE)],
        [workload("Deployment", "other:1")],
        [],
    ],
    ids=["it runs", "one of two runs it", "others only", "nothing that runs pods"],
)
def test_what_is_applied_runs_the_image_or_says_nothing_of_it(applied: list[dict[str, Any]]) -> None:
    require_running(NAME, REFERENCE, applied)


@pytest.mark.parametrize("old", ["team/shop:t1", "team/shop", "docker.io/team/shop:t1", "localhost:5001/team/shop:t1"])
def test_an_image_that_is_set_elsewhere_is_no_success(old: str) -> None:
    with pytest.raises(DeliveryError) as failed:
        require_running(NAME, REFERENCE, [workload("Deployment", old), workload("Deployment", "other:1")])
    assert "Deployment y/x" in failed.value.evidence
    assert "spec.images" in failed.value.fix
