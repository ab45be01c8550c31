"""What is read of a lab in one look."""

import pytest

from threezone.clients.kubernetes.api import Json
from threezone.core.labels import PREVIEW
from threezone.delivery.sync import Delivery
from threezone.lab.observe import read

NEW = "main@sha1:" + "b" * 40


def deployment(available: str) -> Json:
    return {
        "metadata": {"namespace": "hello", "name": "hello", "labels": {}},
        "status": {"conditions": [{"type": "Available", "status": available}]},
    }


def test_available_deployments_do_not_make_a_failed_delivery_well() -> None:
    """A Job, a release or a child may have failed: the Deployments alone know nothing of it."""
    failed = Delivery("http://git/lab.git", NEW, "old", ready=False, message="Job hello/migrate: BackoffLimitExceeded")
    assert read([], [deployment("True")], failed)["delivery"] == failed


def test_a_broken_preview_is_not_waited_for() -> None:
    broken = deployment("False")
    assert read([], [broken], None)["waiting"] == ("hello/hello",)
    broken["metadata"]["labels"] = {PREVIEW: "x"}
    assert read([], [broken], None)["waiting"] == ()


@pytest.mark.parametrize(("repository", "serves"), [("lab", True), ("team", False), ("", True)])
def test_a_git_server_that_lacks_the_repository_does_not_serve(repository: str, serves: bool) -> None:
    pod = {"containers": [{"args": ["lab"], "image": "git"}]}
    git = deployment("True") | {"spec": {"template": {"spec": pod}}}
    git["metadata"] |= {"namespace": "threezone", "name": "git"}
    assert read([], [git], None, repository)["git_serves"] is serves
