"""addon.*, app.*, ci.* and report.*: what a lab works without."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from tests.unit.tasks.conftest import Calls, Invoke, Patch

from threezone.core import events, run_record
from threezone.core.errors import Declined, RouteError, UsageError
from threezone.core.plan import Step, StepKind
from threezone.delivery.release import image as builder
from threezone.delivery.release.places import Place
from threezone.delivery.release.release import Released, Wanted

pytestmark = pytest.mark.usefixtures("api")
APPLY = Step(StepKind.APPLY_OBJECT, "apply it")
PASSED = Path(__file__).parents[1] / "extras/report/passed.json"


def test_a_token_is_written_and_removed(invoke: Invoke, patch: Patch) -> None:
    written = SimpleNamespace(path=Path("token"), account="headlamp/viewer", ends="noon")
    write = patch("extras.addons.token.write", written)
    remove = patch("extras.addons.token.remove", ("token",))
    assert invoke("addon.token", "--hours", "2").out.splitlines()[0] == "token"
    assert write[0][1] == {"role": "", "account": "", "hours": 2, "output": ""}
    assert invoke("addon.token", "--remove").out == "removed token\n"
    assert len(remove) == 1


@pytest.mark.usefixtures("adopted")
def test_a_token_of_a_foreign_cluster_is_asked_about(invoke: Invoke, patch: Patch) -> None:
    write = patch("extras.addons.token.write", SimpleNamespace(path=Path("token"), account="a/b", ends="noon"))
    assert invoke("addon.token").exit_code == Declined.exit_code
    assert invoke("addon.token", "--account", "a/b").exit_code == 0
    assert len(write) == 1


def proxy(*, answers: bool) -> SimpleNamespace:
    data = {"running": True, "answers": answers}
    return SimpleNamespace(
        url="http://127.0.0.1:8001", context="kind-kind", ends="2026-01-01T00:00:00Z", data=lambda: data
    )


@pytest.mark.parametrize(("answers", "code"), [(True, 0), (False, RouteError.exit_code)])
def test_a_proxy_is_started_and_has_to_answer(answers: bool, code: int, invoke: Invoke, patch: Patch) -> None:
    start = patch("extras.addons.proxy.start", proxy(answers=answers))
    done = invoke("addon.proxy", "start", "--port", "9")
    assert (done.exit_code, start[0][1]) == (code, {"port": 9})
    assert "2026-01-01T00:00:00Z" in done.out
    patch("extras.addons.proxy.find", proxy(answers=answers))
    done = invoke("addon.proxy", "status", "--json")
    assert (done.exit_code, done.data["answers"]) == (code, answers)


def test_a_proxy_is_stopped_or_missing(invoke: Invoke, patch: Patch) -> None:
    patch("extras.addons.proxy.find", None)
    patch("extras.addons.proxy.stop", answer=True)
    assert invoke("addon.proxy", "stop", "--json").data == {"running": False, "stopped": True}
    assert "is stopped" in invoke("addon.proxy", "stop").out
    assert invoke("addon.proxy", "status").exit_code == RouteError.exit_code
    assert invoke("addon.proxy", "status", "--json").data == {"running": False}
    assert invoke("addon.proxy", "restart").exit_code == UsageError.exit_code


@pytest.fixture
def declare(patch: Patch, project: Path) -> Any:
    """The directory of an add-on whose manifests are accepted."""
    patch("extras.addons.declare.directory", project / "addon")
    patch("extras.addons.declare.definitions")
    patch("extras.addons.declare.rendered", ({"kind": "Pod"},))
    patch("extras.addons.declare.check", SimpleNamespace(unknown=("Gateway a",), accepted=("Pod b",)))
    patch("extras.addons.declare.unavailable", {})
    patch("extras.addons.declare.require")
    patch("extras.addons.declare.file", project / "local/gitops/addons.yaml")
    return patch("extras.addons.declare.declare", answer=True)


@pytest.mark.parametrize("name", ["dashboard", "ingress"])
def test_an_addon_is_checked_declared_and_removed(name: str, invoke: Invoke, patch: Patch, declare: Any) -> None:
    done = invoke(f"addon.{name}", "--check")
    assert (done.exit_code, declare) == (0, [])
    assert "accepted: Pod b" in done.out
    assert "Gateway a" in done.out
    assert "gitops.push" in invoke(f"addon.{name}").out
    assert len(declare) == 1
    patch("extras.addons.declare.declare", answer=False)
    assert "nothing to do" in invoke(f"addon.{name}").out
    patch("extras.addons.declare.withdraw", answer=True)
    assert "no longer declared" in invoke(f"addon.{name}", "--remove").out
    patch("extras.addons.declare.withdraw", answer=False)
    assert "nothing to do" in invoke(f"addon.{name}", "--remove").out


def test_the_dashboard_can_have_an_administrator(invoke: Invoke, declare: Any) -> None:
    assert "headlamp/admin" in invoke("addon.dashboard", "--admin").out
    assert len(declare[0][0][1]) == 2


def test_the_agent_needs_its_token(invoke: Invoke, patch: Patch, declare: Any) -> None:
    token = patch("extras.addons.declare.agent_token")
    assert invoke("addon.agent").exit_code == UsageError.exit_code
    assert invoke("addon.agent", "--check").exit_code == 0
    assert (token, declare) == ([], [])
    assert invoke("addon.agent", "--token-file", "file").exit_code == 0
    assert (len(token), len(declare)) == (1, 1)
    patch("extras.addons.declare.forget_agent", answer=True)
    patch("extras.addons.declare.withdraw", answer=False)
    assert "no longer declared" in invoke("addon.agent", "--remove").out


def test_the_app_is_deployed_and_opened(invoke: Invoke, patch: Patch, project: Path) -> None:
    deploy = patch("extras.sample_app.deploy")
    patch("extras.sample_app.app_answer", "hello")
    opened = patch("extras.sample_app.open_app")
    assert invoke("app.deploy", "--path", "mine").out == "hello\n"
    assert invoke("app.deploy").exit_code == 0
    assert [arguments[1] for arguments, _ in deploy] == [Path("mine"), project / "local/gitops/apps/hello"]
    assert invoke("app.open", "--once").out == "hello\n"
    assert opened == []
    assert invoke("app.open", "--port", "9").exit_code == 0
    assert opened[0][0][1] == 9


@pytest.mark.parametrize(
    ("name", "file"), [("gitlab", ".gitlab-ci.yml"), ("github", ".github/workflows/threezone.yml")]
)
def test_a_pipeline_is_printed_or_written_once(name: str, file: str, invoke: Invoke, project: Path) -> None:
    done = invoke(f"ci.{name}", "--stdout", "--branch", "release")
    assert done.exit_code == 0
    assert not (project / file).exists()
    assert invoke(f"ci.{name}").exit_code == 0
    assert "release" in done.out
    assert "nothing to do" in invoke(f"ci.{name}").out
    (project / file).write_text("mine")
    assert invoke(f"ci.{name}").exit_code == Declined.exit_code
    assert (project / file).read_text() == "mine"
    assert invoke(f"ci.{name}", "--yes").exit_code == 0
    assert invoke(f"ci.{name}", "--runner", "none").exit_code == UsageError.exit_code


@pytest.fixture
def rights(patch: Patch) -> SimpleNamespace:
    needed = SimpleNamespace(
        job=SimpleNamespace(full_name="prod/job"), steps=(APPLY,), removal=(APPLY,), notice="a notice"
    )
    patch("extras.ci.credential.rights_of", needed)
    return needed


@pytest.mark.usefixtures("rights")
def test_a_job_gets_its_kubeconfig(invoke: Invoke, patch: Patch) -> None:
    grant = patch("extras.ci.credential.grant")
    written = SimpleNamespace(path=Path("job.yaml"), sentences=("proved",), data=lambda: {"file": "job.yaml"})
    write = patch("extras.ci.credential.write", written)
    done = invoke("ci.kubeconfig", "--hours", "2", "--no-proof")
    assert done.out.splitlines()[:3] == ["job.yaml", "proved", "a notice"]
    assert (write[0][0][2].hours, write[0][0][2].proof) == (2, False)
    assert invoke("ci.kubeconfig", "--json").data == {"file": "job.yaml"}
    assert "a notice" in invoke("ci.kubeconfig", "--dry-run").out
    assert len(grant) == 2


def test_the_account_of_a_job_is_removed(invoke: Invoke, patch: Patch, rights: SimpleNamespace) -> None:
    remove = patch("extras.ci.rights.remove")
    assert "is gone" in invoke("ci.kubeconfig", "--remove").out
    rights.removal = ()
    assert "there is no account" in invoke("ci.kubeconfig", "--remove").out
    assert [len(arguments[1]) for arguments, _ in remove] == [1, 0]


def test_a_report_is_shown_and_drawn(invoke: Invoke, patch: Patch, project: Path) -> None:
    shown = patch("extras.report.files.show")
    report = project / "proof.json"
    report.write_bytes(PASSED.read_bytes())
    done = invoke("report.show", str(report))
    assert done.exit_code == 0
    assert "passed in" in done.out
    assert invoke("report.show", str(report), "--html", "a.html", "--junit", "a.xml").exit_code == 0
    assert (project / "a.html").is_file()
    assert (project / "a.xml").is_file()
    assert invoke("report.show", str(report), "--open").exit_code == 0
    assert shown[0][0][0] == report.with_suffix(".html")


def test_a_failed_phase_is_named_with_its_evidence(invoke: Invoke, project: Path) -> None:
    data = json.loads(PASSED.read_text())
    data["ok"] = False
    data["phases"][0] |= {"ok": False, "why": "no image", "evidence": "line one"}
    (project / "proof.json").write_text(json.dumps(data))
    done = invoke("report.show", "proof.json")
    assert "no image" in done.out
    assert "  | line one" in done.out
    assert "failed in" in done.out


def test_runs_are_listed_and_shown(invoke: Invoke, project: Path) -> None:
    step = run_record.StepRecord("create the cluster", 0.5, 2.0, "failed", "no room")
    run = run_record.RunRecord(
        "20260101-000000-1-up", "up", ("./run", "up"), "2026-01-01T00:00:00Z", 3.0, 4, (step,), "no room", "make room"
    )
    assert invoke("report.show", "last").exit_code == UsageError.exit_code
    run_record.keep(run)
    (listed,) = invoke("report.list", "--json").data
    assert (listed["id"], listed["outcome"], listed["steps"]) == (run.id, "failed", 1)
    assert run.id in invoke("report.list").out
    for name in ("last", run.id):
        shown = invoke("report.show", name).out
        assert "create the cluster: no room" in shown
        assert "failed" in shown
    assert invoke("report.show", "last", "--html", "a.html", "--trace", "a.json").exit_code == 0
    assert "create the cluster" in (project / "a.html").read_text()
    assert json.loads((project / "a.json").read_text())["traceEvents"]
    (project / "proof.json").write_bytes(PASSED.read_bytes())
    assert invoke("report.show", "proof.json", "--trace", "a.json").exit_code == UsageError.exit_code


def test_a_task_leaves_a_record_of_its_run(invoke: Invoke, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_: Path) -> None:
        with events.step("find the lab"):
            raise UsageError("it is not here", fix="look elsewhere")

    monkeypatch.setattr("threezone.extras.report.files.load", broken)
    assert invoke("report.show", "nothing.json").exit_code == UsageError.exit_code
    run = run_record.load("last")
    assert (run.task, run.exit_code, run.error) == ("report.show", UsageError.exit_code, "it is not here")
    assert [(step.title, step.outcome) for step in run.steps] == [("find the lab", "failed")]


@pytest.fixture
def release(patch: Patch, project: Path) -> Calls:
    """The calls of a release that does nothing."""
    (project / "Dockerfile").touch()
    place = Place(project / "kustomization.yaml", "team/app", declared=True)
    source = builder.Source(project, project / "Dockerfile")
    patch("delivery.release.release.observe", Wanted(source, place, project, "kustomization.yaml"))
    patch("delivery.release.release._entry_name", "")
    done = Released(
        "team/app:t1", "kustomization.yaml", "abc", "main@sha1:abc", committed=True, delivered=True, seconds=2
    )
    return patch("delivery.release.release.release", done)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ([], {"asks": True, "check": True, "force": False}),
        (["--commit"], {"asks": False, "check": True, "force": False}),
        (["--yes", "--no-check", "--force"], {"asks": False, "check": False, "force": True}),
    ],
)
def test_a_release_is_made_as_the_options_say(
    options: list[str], expected: dict[str, bool], invoke: Invoke, release: Calls
) -> None:
    done = invoke("app.release", *options)
    assert (done.exit_code, release[0][1]) == (0, expected)
    assert "team/app:t1 runs: main@sha1:abc" in done.out
    assert set(invoke("app.release", "--json").data) == {
        *("image", "file", "commit", "revision", "committed", "delivered", "seconds")
    }


def test_the_steps_of_a_release_are_shown_and_nothing_is_done(invoke: Invoke, release: Calls) -> None:
    shown = invoke("app.release", "--dry-run").out.splitlines()
    assert [line[0] for line in shown if not line.startswith(" ")] == ["+", "+", "!", "+", "+"]
    assert release == []


@pytest.mark.usefixtures("adopted")
def test_a_release_to_a_cluster_of_others_asks_first(invoke: Invoke, release: Calls) -> None:
    assert invoke("app.release", "--commit").exit_code == Declined.exit_code
    assert release == []


def test_a_watch_that_may_not_commit_does_not_begin(invoke: Invoke, release: Calls) -> None:
    assert invoke("app.release", "--watch").exit_code == Declined.exit_code
    assert release == []
