"""cluster.*"""

from pathlib import Path
from types import SimpleNamespace

import pytest
from tests.unit.tasks.conftest import Invoke, Patch

from threezone.clients.kind import Node
from threezone.core.errors import ClusterError, Declined, UsageError
from threezone.core.plan import Step, StepKind

CREATE = Step(StepKind.CREATE_CLUSTER, "create it")
RECREATE = Step(StepKind.RECREATE_CLUSTER, "create it again", asks=True)
NODE = Node("0", "lab-control-plane", "lab", "control-plane", "running", "image", ours=True)
THEIRS = Node("1", "other-control-plane", "other", "control-plane", "exited", "image", ours=False)


@pytest.fixture(autouse=True)
def nodes(patch: Patch) -> None:
    """One running node of a cluster of ours."""
    patch("clients.kind.nodes", (NODE, THEIRS))
    patch("cluster.drift.detect.notice", "")
    patch("lab.up.notice", "a notice")
    patch("delivery.git_backup.summary", "")


@pytest.mark.usefixtures("unleased")
@pytest.mark.parametrize(
    ("words", "steps", "code", "applied"),
    [
        ([], (CREATE,), 0, 1),
        ([], (), 0, 1),
        (["--dry-run"], (CREATE,), 0, 0),
        (["--dry-run", "--recreate"], (RECREATE,), 0, 0),
        (["--recreate"], (RECREATE,), Declined.exit_code, 0),
        (["--recreate", "--yes", "--retain"], (RECREATE,), 0, 1),
    ],
)
def test_create_follows_its_plan(
    *, words: list[str], steps: tuple[Step, ...], code: int, applied: int, invoke: Invoke, patch: Patch
) -> None:
    patch("lab.up.cluster_plan", steps)
    apply = patch("lab.steps.apply", SimpleNamespace(created=SimpleNamespace(kubeconfig="text") if steps else None))
    connect = patch("cluster.create.connect")
    patch("cluster.create.ready", answer=True)
    done = invoke("cluster.create", *words)
    assert (done.exit_code, len(apply), len(connect)) == (code, applied, applied)
    assert ("nothing to do" in done.out) is (not steps)
    assert ("a notice" in done.out) is (code == 0)
    if applied:
        assert apply[0][1] == {"retain": "--retain" in words}


@pytest.mark.parametrize("trouble", [None, ClusterError("it differs")])
def test_plan_prints_the_drift_and_fails_for_it(trouble: ClusterError | None, invoke: Invoke, patch: Patch) -> None:
    drift = SimpleNamespace(rows=(("field", "1", "2", "", ""),), text="words", data={"same": False}, error=trouble)
    patch("lab.drift_report.report", drift)
    code = ClusterError.exit_code if trouble else 0
    done = invoke("cluster.plan")
    assert done.exit_code == code
    assert "FIELD" in done.out
    assert "words" in done.out
    done = invoke("cluster.plan", "--json", "--workers", "1")
    assert (done.exit_code, done.data) == (code, {"same": False})


@pytest.mark.parametrize(
    ("words", "names"),
    [([], ["kind"]), (["--name", "a", "--name", "b", "--name", "a"], ["a", "b"]), (["--all"], ["c"])],
)
def test_delete_deletes_the_named_clusters_or_all(
    words: list[str], names: list[str], invoke: Invoke, patch: Patch, monkeypatch: pytest.MonkeyPatch
) -> None:
    patch("cluster.orphans.owners", ("c",))
    step = Step(StepKind.DELETE_CLUSTER, "delete it", asks=True)
    monkeypatch.setattr("threezone.lab.down.plan_all", lambda labs: [(lab, (step,)) for lab in labs])
    apply = patch("lab.down.apply")
    assert invoke("cluster.delete", *words).exit_code == Declined.exit_code
    assert apply == []
    assert invoke("cluster.delete", *words, "--yes").exit_code == 0
    assert [arguments[0].name for arguments, _ in apply] == names


def test_delete_without_clusters_has_nothing_to_do(invoke: Invoke, patch: Patch) -> None:
    patch("cluster.orphans.owners", ())
    patch("lab.down.plan_all", [])
    assert "nothing to do" in invoke("cluster.delete", "--all").out
    assert invoke("cluster.delete", "--all", "--name", "a").exit_code == UsageError.exit_code


def test_list_marks_ours(invoke: Invoke, patch: Patch) -> None:
    data = invoke("cluster.list", "--json").data
    assert [(each["name"], each["ours"]) for each in data] == [("lab", True), ("other", False)]
    assert set(data[0]["nodes"][0]) == {"name", "role", "state", "image"}
    assert "other-control-plane (exited)" in invoke("cluster.list").out
    patch("clients.kind.nodes", ())
    assert invoke("cluster.list").out == "no clusters\n"


def seen(*, ready: bool) -> dict[str, object]:
    node = {"name": NODE.name, "version": "v1.35.0", "ready": ready}
    return {"cluster": {"nodes": [node], "ready": ready, "why": None if ready else "not Ready"}}


@pytest.mark.parametrize(("ready", "code"), [(True, 0), (False, ClusterError.exit_code)])
def test_status_fails_for_a_cluster_that_is_not_ready(ready: bool, code: int, invoke: Invoke, patch: Patch) -> None:
    patch("lab.status.collect", seen(ready=ready))
    done = invoke("cluster.status")
    assert done.exit_code == code
    row = next(line for line in done.out.splitlines() if line.startswith(NODE.name))
    assert row.split() == [NODE.name, "control-plane", "running", "v1.35.0", "yes" if ready else "no"]
    assert invoke("cluster.status", "--json").data["ready"] is ready


@pytest.mark.usefixtures("adopted")
def test_status_of_an_adopted_cluster_asks_no_engine(invoke: Invoke, patch: Patch) -> None:
    patch("lab.status.collect", seen(ready=False))
    asked = patch("clients.kind.nodes", ClusterError("no engine"))
    done = invoke("cluster.status")
    assert (done.exit_code, asked) == (ClusterError.exit_code, [])
    assert "kubeconfig.connect" in done.err


@pytest.mark.parametrize(("steps", "stopped"), [((), 0), ((CREATE,), 1)])
def test_stop_stops_what_runs(steps: tuple[Step, ...], stopped: int, invoke: Invoke, patch: Patch) -> None:
    patch("cluster.lifecycle.observe")
    patch("cluster.stop.plan", steps)
    stop = patch("cluster.stop.stop", ("killed: a pod",))
    done = invoke("cluster.stop", "--grace", "7")
    assert (done.exit_code, len(stop)) == (0, stopped)
    assert ("killed: a pod" in done.out) is bool(stopped)
    assert all(options == {"grace": 7} for _, options in stop)


@pytest.mark.parametrize(("stuck", "text"), [(None, "nothing to do"), (("a pod",), "still not ready: a pod")])
def test_start_names_the_pods_that_stay_down(
    stuck: tuple[str, ...] | None, text: str, invoke: Invoke, patch: Patch
) -> None:
    patch("cluster.recover.bring_back", stuck)
    assert text in invoke("cluster.start").out


@pytest.mark.parametrize("name", ["inspect", "logs"])
def test_an_absent_cluster_has_nothing_to_show(name: str, invoke: Invoke, patch: Patch) -> None:
    patch("clients.kind.nodes", ())
    assert invoke(f"cluster.{name}").exit_code == ClusterError.exit_code


def test_inspect_is_a_page_or_data(invoke: Invoke, patch: Patch) -> None:
    patch("cluster.inspect.inspect", SimpleNamespace(data=lambda: {"nodes": []}))
    patch("cluster.inspect.page", "page")
    assert invoke("cluster.inspect").out == "page\n"
    assert invoke("cluster.inspect", "--json").data == {"nodes": []}


def test_logs_names_the_archive_and_what_is_missing(invoke: Invoke, patch: Patch) -> None:
    archive = SimpleNamespace(path=Path("logs.tar.gz"), missing=("kubelet",))
    patch("doctor.support_bundle.bundle.collect", archive)
    assert invoke("cluster.logs").out.splitlines() == ["logs.tar.gz", "not available: kubelet"]


@pytest.mark.parametrize(
    ("words", "code", "applied"),
    [
        (["--context", "theirs"], Declined.exit_code, 0),
        (["--context", "theirs", "--dry-run"], 0, 0),
        (["--context", "theirs", "--yes"], 0, 1),
        (["--server", "https://a:1"], UsageError.exit_code, 0),
        (["--context", "theirs", "--server", "http://a:1"], UsageError.exit_code, 0),
        ([], 0, 0),
    ],
)
def test_adopt_asks_before_it_writes(words: list[str], code: int, applied: int, invoke: Invoke, patch: Patch) -> None:
    route = SimpleNamespace(sentence="https://a:1 proved")
    patch("lab.external_cluster.adopt.entry_of")
    patch("lab.external_cluster.adopt.require_foreign")
    patch("lab.external_cluster.adopt.observe", route)
    patch("lab.external_cluster.adopt.plan", (Step(StepKind.CONNECT, "write it", asks=True),))
    apply = patch("lab.external_cluster.adopt.apply", route)
    done = invoke("cluster.adopt", *words)
    assert (done.exit_code, len(apply)) == (code, applied)


def test_adopt_releases_the_cluster(invoke: Invoke, patch: Patch) -> None:
    patch("lab.external_cluster.adopt.release", ("released",))
    assert invoke("cluster.adopt", "--remove").out == "released\n"
