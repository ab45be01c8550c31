"""preview.*"""

from datetime import UTC, datetime

import pytest
from tests.unit.tasks.conftest import Invoke, Patch

from threezone.core.errors import Declined, UsageError
from threezone.core.plan import Step, StepKind
from threezone.delivery.preview.model import Preview
from threezone.delivery.preview.start import Started

pytestmark = pytest.mark.usefixtures("api")
X = Preview("x", "deploy", "a" * 40, {"hello": "preview-x"}, expires=datetime(2026, 1, 1, tzinfo=UTC), ready=True)
STEP = Step(StepKind.START_PREVIEW, "deliver it")


def test_a_start_prints_the_revision_or_all_of_it(invoke: Invoke, patch: Patch) -> None:
    observe = patch("delivery.preview.start.observe", "wanted")
    patch("delivery.preview.start.plan", (STEP,))
    start = patch("delivery.preview.start.start", Started(X, "x@sha1:abc", 1.5))
    assert "x runs in preview-x: x@sha1:abc applied" in invoke("preview.start", "--branch", "x", "--ttl", "8h").out
    assert observe[0][0][1:] == ("x", "", "8h")
    data = invoke("preview.start", "--branch", "x", "--path", "deploy", "--force", "--json").data
    assert (data["revision"], data["namespaces"], data["seconds"]) == ("x@sha1:abc", {"hello": "preview-x"}, 1.5)
    assert (observe[1][0][2], start[1][1]) == ("deploy", {"force": True})
    assert invoke("preview.start", "--branch", "x", "--dry-run").out == "+ deliver it\n"
    assert len(start) == 2


@pytest.mark.usefixtures("adopted")
def test_a_cluster_of_others_is_changed_with_consent_only(invoke: Invoke, patch: Patch) -> None:
    patch("delivery.preview.start.observe", "wanted")
    patch("delivery.preview.start.plan", (STEP,))
    start = patch("delivery.preview.start.start")
    assert invoke("preview.start", "--branch", "x").exit_code == Declined.exit_code
    assert start == []


def test_the_list_is_a_table_or_data(invoke: Invoke, patch: Patch) -> None:
    patch("flux.status.wait_for_verdicts", False)
    patch("delivery.preview.cluster.observe", (X,))
    assert invoke("preview.list").out.splitlines()[1].split() == ["x", "preview-x", "-", "yes", "ended"]
    (data,) = invoke("preview.list", "--json").data
    assert (data["name"], data["expired"], data["applied"]) == ("preview-x", True, None)
    patch("delivery.preview.cluster.observe", ())
    assert invoke("preview.list").out == "there is no preview\n"
    assert invoke("preview.list", "--json").data == []


def test_open_shows_the_app_of_the_preview(invoke: Invoke, patch: Patch) -> None:
    patch("delivery.preview.cluster.find", X)
    answered = patch("extras.sample_app.app_answer", "hello from x")
    assert invoke("preview.open", "--branch", "x", "--once", "--service", "web").out == "hello from x\n"
    app = answered[0][0][1]
    assert (app.namespace, app.service, app.port) == ("preview-x", "web", 80)
    patch("delivery.preview.cluster.find", None)
    assert invoke("preview.open", "--branch", "x").exit_code == UsageError.exit_code


def test_stop_and_prune_remove_previews(invoke: Invoke, patch: Patch) -> None:
    patch("delivery.preview.cluster.find", X)
    patch("delivery.preview.stop.ended", ((X, "its branch is deleted"),))
    stop = patch("delivery.preview.stop.stop")
    planned = invoke("preview.prune", "--dry-run").out
    assert "its branch is deleted" in planned
    assert "preview-x" in invoke("preview.stop", "--branch", "x", "--dry-run").out
    assert stop == []
    assert invoke("preview.stop", "--branch", "x").out == "the preview of x is gone\n"
    assert invoke("preview.prune").out == "the preview of x is gone\n"
    assert [call[0][1] for call in stop] == [X, X]
    patch("delivery.preview.cluster.find", None)
    patch("delivery.preview.stop.ended", ())
    assert invoke("preview.stop", "--branch", "x").out == "there is no preview of x\n"
    assert invoke("preview.prune").out == "nothing to do\n"
