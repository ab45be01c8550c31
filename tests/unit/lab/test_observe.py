"""What is read of a lab in one look."""

from threezone.clients.kubernetes.api import Json
from threezone.delivery.sync import Delivery
from threezone.lab.observe import read

NEW = "main@sha1:" + "b" * 40


def deployment(available: str) -> Json:
    return {
        "metadata": {"namespace": "hello", "name": "hello", "labels": {}},
        "status": {"conditions": [{"type": "Available", "status": available}]},
    }


def test_a_revision_whose_health_flux_has_yet_to_see_is_delivered_when_every_workload_is_available() -> None:
    checking = Delivery("http://git/lab.git", NEW, "old", ready=False, message="Running health checks", checking=NEW)
    well = read([], [deployment("True")], checking)["delivery"]
    assert isinstance(well, Delivery)
    assert (well.ready, well.applied) == (True, NEW)
    assert read([], [deployment("False")], checking)["delivery"] == checking
