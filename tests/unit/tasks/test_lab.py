"""up, down and status."""

from types import SimpleNamespace

import pytest
from tests.unit.tasks.conftest import Invoke, Patch

from threezone.core.errors import ClusterError, Declined, EngineError, UsageError
from threezone.core.plan import Plan, Step, StepKind

INSTALL = Step(StepKind.INSTALL_FLUX, "install Flux")
DELETE = Step(StepKind.DELETE_CLUSTER, "delete it", asks=True)


@pytest.fixture
def state(patch: Patch) -> object:
    """The state of a lab; its summary is one line."""
    found = SimpleNamespace()
    patch("lab.observe.observe", found)
    patch("lab.up.summary", "cluster   Ready")
    return found


@pytest.mark.usefixtures("state")
def test_up_carries_the_plan_out_as_it_was_asked_for(invoke: Invoke, patch: Patch) -> None:
    plan = patch("lab.up.plan", Plan((INSTALL,)))
    apply = patch("lab.up.apply")
    done = invoke("up", "--recreate", "--name", "lab", "--workers", "2", "--port", "1:2", "--port", "3:4")
    assert (done.exit_code, done.out) == (0, "cluster   Ready\n")
    lab = plan[0][0][0]
    assert (lab.name, lab.flags.given.workers, lab.flags.given.ports) == ("lab", 2, ("1:2", "3:4"))
    assert plan[0][1] == {"recreate": True}
    assert apply[0][1]["recreate"] is True


@pytest.mark.usefixtures("state")
@pytest.mark.parametrize(
    ("words", "steps", "code", "applied"),
    [
        (["--dry-run"], (DELETE,), 0, 0),
        ([], (DELETE,), Declined.exit_code, 0),
        (["--yes"], (DELETE,), 0, 1),
        ([], (), 0, 0),
    ],
)
def test_up_changes_something_only_when_it_may(
    *, words: list[str], steps: tuple[Step, ...], code: int, applied: int, invoke: Invoke, patch: Patch
) -> None:
    patch("lab.up.plan", Plan(steps, ("a notice",)))
    apply = patch("lab.up.apply")
    done = invoke("up", *words)
    assert (done.exit_code, len(apply)) == (code, applied)
    assert ("a notice" in done.out) is ("--dry-run" in words)


@pytest.mark.usefixtures("state", "adopted")
def test_up_on_an_adopted_cluster_brings_flux_and_git(invoke: Invoke, patch: Patch) -> None:
    patch("lab.external_cluster.lifecycle.plan_up", Plan((INSTALL,)))
    apply = patch("lab.steps.apply")
    assert invoke("up").exit_code == 0
    assert len(apply) == 1


@pytest.mark.usefixtures("state", "adopted")
@pytest.mark.parametrize("words", [["--recreate"], ["--workers", "1"], ["--set", "a=b"]])
def test_up_does_not_declare_an_adopted_cluster(words: list[str], invoke: Invoke) -> None:
    assert invoke("up", *words).exit_code == ClusterError.exit_code


@pytest.mark.usefixtures("state")
def test_a_failure_of_up_has_its_exit_code(invoke: Invoke, patch: Patch) -> None:
    patch("lab.up.plan", EngineError("no engine"))
    done = invoke("up")
    assert done.exit_code == EngineError.exit_code
    assert "error: no engine" in done.err


@pytest.mark.parametrize(
    ("words", "steps", "code", "applied"),
    [
        ([], (DELETE,), Declined.exit_code, 0),
        (["--yes"], (DELETE,), 0, 1),
        (["--dry-run"], (DELETE,), 0, 0),
        (["--yes", "--images"], (DELETE,), 0, 1),
        ([], (), 0, 0),
    ],
)
def test_down_removes_what_there_is_with_consent(
    *, words: list[str], steps: tuple[Step, ...], code: int, applied: int, invoke: Invoke, patch: Patch
) -> None:
    patch("lab.down.plan", steps)
    patch("lab.down.plan_images", (Step(StepKind.REMOVE_IMAGES, "images", asks=True),))
    patch("delivery.git_backup.summary", "kept: a repository")
    apply = patch("lab.down.apply")
    done = invoke("down", *words)
    assert (done.exit_code, len(apply)) == (code, applied)
    if applied:
        assert "kept: a repository" in done.out
        assert len(apply[0][0][1]) == 1 + ("--images" in words)


@pytest.mark.usefixtures("adopted")
@pytest.mark.parametrize(("words", "applied"), [(["--yes"], 1), (["--dry-run"], 0)])
def test_down_releases_an_adopted_cluster(words: list[str], applied: int, invoke: Invoke, patch: Patch) -> None:
    patch("lab.external_cluster.lifecycle.plan_down", (DELETE,))
    apply = patch("lab.external_cluster.lifecycle.apply_down", ("it is released",))
    done = invoke("down", *words)
    assert (done.exit_code, len(apply)) == (0, applied)
    assert ("it is released" in done.out) is bool(applied)


@pytest.mark.usefixtures("adopted")
def test_images_belong_to_no_adopted_cluster(invoke: Invoke) -> None:
    assert invoke("down", "--images").exit_code == ClusterError.exit_code


def test_status_is_a_table_or_data(invoke: Invoke, patch: Patch) -> None:
    patch("lab.status.collect", {"zone": "host"})
    patch("lab.status.rows", [["PART"], ["zone"]])
    assert invoke("status", "--json").data == {"zone": "host"}
    assert invoke("status").out == "PART\nzone\n"


@pytest.mark.parametrize("name", ["..", "Lab", "x" * 64])
def test_a_bad_name_is_refused(name: str, invoke: Invoke) -> None:
    for words in (["status"], ["down", "--yes"], ["up"]):
        assert invoke(*words, "--name", name).exit_code == UsageError.exit_code
