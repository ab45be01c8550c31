"""gitops.*"""

import io
from pathlib import Path
from types import SimpleNamespace

import pytest
from tests.unit.tasks.conftest import Invoke, Patch

from threezone.core.errors import Declined, DeliveryError, UsageError
from threezone.core.plan import Step, StepKind

pytestmark = pytest.mark.usefixtures("api")
GOOD = SimpleNamespace(findings=(), require=lambda _: None)  # what gitops.check reports
REMOVE = Step(StepKind.REMOVE_GIT, "remove it", asks=True)


def test_serve_names_repositories_and_the_password_file(invoke: Invoke, patch: Patch) -> None:
    serve = patch("delivery.serve.serve", ("lab", "team"))
    patch("delivery.git_server.password_file", Path("password"))
    forward = SimpleNamespace(url=lambda name: f"http://127.0.0.1:8418/{name}.git", helper=lambda _: "git config")
    opened = patch("delivery.git_forward.open_forward", forward)
    done = invoke("gitops.serve", "--repository", "team", "--image", "mine:1")
    assert (done.exit_code, serve[0][0][1:], opened) == (0, ("team", "mine:1"), [])
    assert "password" in done.out
    assert "git clone http://127.0.0.1:8418/team.git" in invoke("gitops.serve", "--port", "8418").out
    assert opened[0][1] == {"port": 8418}


@pytest.mark.parametrize(("closed", "text"), [(True, "is closed"), (False, "no forward")])
def test_the_forward_is_closed(closed: bool, text: str, invoke: Invoke, patch: Patch) -> None:
    patch("delivery.git_forward.close", closed)
    assert text in invoke("gitops.serve", "--stop-forward").out


def test_the_git_server_is_removed_with_consent(invoke: Invoke, patch: Patch) -> None:
    patch("delivery.serve.plan_remove", (REMOVE,))
    remove = patch("delivery.serve.remove", answer=True)
    assert invoke("gitops.serve", "--remove").exit_code == Declined.exit_code
    assert remove == []
    assert invoke("gitops.serve", "--remove", "--yes").exit_code == 0
    assert len(remove) == 1


@pytest.mark.usefixtures("adopted")
@pytest.mark.parametrize("words", [["push"], ["serve"], ["prove"], ["watch", "--branch", "main"]])
def test_an_adopted_cluster_is_changed_with_consent_only(words: list[str], invoke: Invoke, patch: Patch) -> None:
    patch("delivery.check.check.check", GOOD)
    calls = [patch(f"delivery.{name}") for name in ("push.deliver", "serve.serve", "proof.prove.prove", "watch.watch")]
    assert invoke(f"gitops.{words[0]}", *words[1:]).exit_code == Declined.exit_code
    assert calls == [[], [], [], []]


def test_push_and_wait_name_the_revision(invoke: Invoke, patch: Patch) -> None:
    patch("delivery.check.check.check", GOOD)
    push, wait = patch("delivery.push.deliver", "main@sha1:abc"), patch("delivery.wait.wait", "main@sha1:abc")
    assert invoke("gitops.push", "--force").out == "applied main@sha1:abc\n"
    assert invoke("gitops.wait", "HEAD", "--timeout", "7", "--kustomization", "apps").out == "applied main@sha1:abc\n"
    assert (push[0][1], wait[0][0][1:]) == ({"force": True}, ("HEAD", "apps", 7.0))
    patch("delivery.push.deliver", DeliveryError("no"))
    assert invoke("gitops.push").exit_code == DeliveryError.exit_code


def test_a_commit_that_cannot_work_is_not_pushed(invoke: Invoke, patch: Patch) -> None:
    def refuse(_fix: str) -> None:
        raise DeliveryError("the commit cannot be delivered")

    bad = SimpleNamespace(findings=("one",), text=lambda: "error: one", require=refuse)
    checked, pushed = patch("delivery.check.check.check", bad), patch("delivery.push.deliver", "main@sha1:abc")
    refused = invoke("gitops.push")
    assert refused.exit_code == DeliveryError.exit_code
    assert "error: one" in refused.err
    assert pushed == []
    assert checked[0][0][1] == "HEAD", "not the working tree"
    assert invoke("gitops.push", "--no-check").exit_code == 0
    assert (len(pushed), len(checked)) == (1, 1)


def proved(*, ok: bool | None) -> SimpleNamespace:
    seconds = dict.fromkeys(("push", "fetch", "apply", "settle", "total"), 1.0) | {"push": None}
    outcome = SimpleNamespace(
        phase=SimpleNamespace(name="create"), ok=ok, seconds=lambda: seconds, revision="main@sha1:abcdefgh"
    )
    proof = SimpleNamespace(outcomes=[outcome], managers={"flux"}, names=SimpleNamespace(name="proof-1"), context="c")

    def require() -> None:
        if ok is False:
            raise DeliveryError("failed")

    return SimpleNamespace(proof=proof, seconds=2.0, data=lambda: {"ok": ok}, require=require)


@pytest.mark.parametrize(("ok", "cell", "code"), [(True, "yes", 0), (False, "NO", 6), (None, "not run", 0)])
def test_prove_prints_its_figures_and_fails_for_a_failed_phase(
    *, ok: bool | None, cell: str, code: int, invoke: Invoke, patch: Patch
) -> None:
    prove = patch("delivery.proof.prove.prove", proved(ok=ok))
    done = invoke("gitops.prove", "--phases", "create,update", "--keep")
    assert done.exit_code == code
    assert f"create  {cell}" in done.out
    assert "1.0 s" in done.out
    assert (prove[0][0][1], prove[0][1]["keep"]) == (["create", "update"], True)
    assert invoke("gitops.prove", "--json").data == {"ok": ok}


def test_prove_writes_its_reports(invoke: Invoke, patch: Patch, project: Path) -> None:
    patch("delivery.proof.prove.prove", proved(ok=True))
    patch("extras.report.junit.junit", "<xml/>")
    patch("extras.report.page.page", "<html/>")
    assert invoke("gitops.prove", "--junit", "a.xml", "--report", "a.html").exit_code == 0
    assert ((project / "a.xml").read_text(), (project / "a.html").read_text()) == ("<xml/>", "<html/>")
    assert invoke("gitops.prove", "--report", "no/where.html").exit_code == UsageError.exit_code


def test_a_kept_proof_is_removed(invoke: Invoke, patch: Patch) -> None:
    remove = patch("delivery.proof.prove.remove")
    assert invoke("gitops.prove", "--remove", "abc123").exit_code == 0
    assert remove[0][0][1] == "abc123"


def test_the_hook_is_installed_and_removed(invoke: Invoke, patch: Patch, project: Path) -> None:
    install, uninstall = patch("delivery.hook.install", Path("hook")), patch("delivery.hook.uninstall", answer=True)
    assert invoke("gitops.watch", "--branch", "main", "--install-hook", "--force", "--name", "lab").exit_code == 0
    assert install[0][0][1:] == ("main", ["--name", "lab", "--force"], "./run invoke")
    (project / "run").unlink()
    patch("delivery.git_server.is_installed", answer=True)
    assert invoke("gitops.watch", "--branch", "main", "--install-hook", "--context", "theirs").exit_code == 0
    assert install[1][0][2] == ["--context", "theirs"]
    assert install[1][0][3].endswith(" -m threezone")
    assert invoke("gitops.watch", "--uninstall-hook").exit_code == 0
    assert len(uninstall) == 1


@pytest.mark.parametrize(
    ("attempt", "code", "text"),
    [
        (None, 0, "another run"),
        (SimpleNamespace(failure=None, line="applied"), 0, "threezone: applied"),
        (SimpleNamespace(failure=DeliveryError("no"), line=""), DeliveryError.exit_code, ""),
    ],
)
def test_once_delivers_and_ends(*, attempt: object, code: int, text: str, invoke: Invoke, patch: Patch) -> None:
    patch("delivery.watch.once", attempt)
    done = invoke("gitops.watch", "--branch", "main", "--once")
    assert done.exit_code == code
    assert text in done.out


def test_watch_follows_the_branch(invoke: Invoke, patch: Patch, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO())
    patch("delivery.branch.branch_of", "feature")
    watch = patch("delivery.watch.watch")
    assert "following feature" in invoke("gitops.watch").out
    assert watch[0][0][1] == "feature"
