"""What every task has: errors as messages, questions, results."""

import io
import json
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from tests.unit.tasks.conftest import Invoke, Patch

from threezone.core import settings
from threezone.core.errors import ClusterError, Declined, UsageError
from threezone.core.events import note, step
from threezone.core.plan import Plan, Step, StepKind
from threezone.tasks import display, runtime

ASKS = Step(StepKind.DELETE_CLUSTER, "delete it", "kind delete cluster", asks=True)
QUIET = Step(StepKind.CONNECT, "connect")


class Terminal(io.StringIO):
    """Input that is typed at a terminal."""

    def isatty(self) -> bool:
        return True


def test_a_failure_is_a_message_with_evidence_fix_and_exit_code(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (project / "run").unlink()
    with pytest.raises(SystemExit) as ended:
        runtime.fail(ClusterError("it failed", evidence="line\n\n", fix="./run invoke up"))
    assert ended.value.code == ClusterError.exit_code
    assert capsys.readouterr().err == "error: it failed\n  | line\nfix: threezone up\n"


@pytest.mark.parametrize("script", [False, True])
def test_no_text_names_the_launcher_where_there_is_none(
    project: Path, script: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    """Neither without ./run, nor where somebody else has a script of that name."""
    (project / "scripts" / "threezone").rmdir()
    if not script:
        (project / "run").unlink()
    hint = f"{settings.RUN} up"
    runtime.say(hint)
    runtime.emit({"fix": hint})
    with pytest.raises(Declined):
        runtime.consent([replace(ASKS, command=hint)], yes=False)
    with display.display(), step(hint):
        note(hint)
    with pytest.raises(SystemExit):
        runtime.fail(ClusterError(hint, evidence=hint, fix=hint))
    output = "".join(capsys.readouterr())
    assert output.count("threezone up") == 9
    assert "./run" not in output


def test_texts_name_the_launcher_where_it_is(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert (project / "run").is_file()
    runtime.say(f"{settings.RUN} up")
    assert capsys.readouterr().out == f"{settings.RUN} up\n"


def test_nothing_is_asked_where_nothing_needs_consent() -> None:
    runtime.consent([QUIET], yes=False)
    runtime.consent([ASKS], yes=True)


@pytest.mark.usefixtures("project")
def test_without_a_terminal_consent_needs_yes(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("y\n"))
    with pytest.raises(Declined) as refused:
        runtime.consent([QUIET, ASKS], yes=False)
    assert "--yes" in refused.value.fix
    assert "delete it" in capsys.readouterr().err


@pytest.mark.usefixtures("project")
@pytest.mark.parametrize(("answer", "agrees"), [("y", True), ("YES", True), ("n", False), ("", False)])
def test_at_a_terminal_only_yes_is_yes(answer: str, agrees: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", Terminal(f"{answer}\n"))
    if agrees:
        runtime.consent([ASKS], yes=False)
    else:
        with pytest.raises(Declined):
            runtime.consent([ASKS], yes=False)


@pytest.mark.usefixtures("project")
def test_a_dry_run_prints_the_plan_and_its_notices_and_asks_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    assert not runtime.agreed(Plan((ASKS,), ("a notice",)), yes=False, dry_run=True)
    assert capsys.readouterr().out == "! delete it\n    $ kind delete cluster\na notice\n"


@pytest.mark.parametrize(
    ("foreign", "here", "asks"), [("", False, False), ("theirs", True, False), ("theirs", False, True)]
)
@pytest.mark.usefixtures("project")
def test_only_the_first_change_of_a_foreign_cluster_is_asked_about(
    foreign: str, here: bool, asks: bool, patch: Patch, monkeypatch: pytest.MonkeyPatch
) -> None:
    patch("delivery.git_server.is_installed", here)
    monkeypatch.setattr("sys.stdin", io.StringIO())
    lab = SimpleNamespace(foreign=foreign, api=None)
    if asks:
        with pytest.raises(Declined):
            runtime.ask(lab, "a change", yes=False)  # type: ignore[arg-type]  # a stand-in
    else:
        runtime.ask(lab, "a change", yes=False)  # type: ignore[arg-type]  # a stand-in


def test_an_interrupted_task_has_the_exit_code_of_shells(invoke: Invoke, patch: Patch) -> None:
    def interrupt() -> None:
        raise KeyboardInterrupt

    patch("engine.repair.stop", answer=True)
    monkey = pytest.MonkeyPatch()
    with monkey.context() as context:
        context.setattr("threezone.engine.repair.stop", interrupt)
        done = invoke("engine.stop")
    assert done.exit_code == runtime.INTERRUPTED


def test_the_help_of_a_task_with_a_required_argument_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[list[str]] = []
    monkeypatch.setattr("sys.argv", ["invoke", "gitops.wait", "--help"])
    monkeypatch.setattr("invoke.Program.run", lambda _, argv, **__: shown.append(argv))
    with pytest.raises(SystemExit) as ended:
        runtime._help()
    assert (ended.value.code, shown) == (0, [["invoke", "--help", "gitops.wait"]])


def test_errors_outside_of_tasks_are_told_by_the_settings(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (project / "invoke.yaml").write_text("threezone: {chanel: x}\n")
    with pytest.raises(SystemExit) as ended:
        runtime.uncaught(ValueError, ValueError("x"), None)
    assert ended.value.code == UsageError.exit_code
    assert "chanel" in capsys.readouterr().err


@pytest.mark.usefixtures("project")
def test_an_option_with_a_wrong_value_is_named(invoke: Invoke, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ValueError, match="invalid literal") as caught:
        invoke("up", "--workers", "x")
    with pytest.raises(SystemExit) as ended:
        runtime.uncaught(ValueError, caught.value, caught.value.__traceback__)
    assert ended.value.code == UsageError.exit_code
    said = capsys.readouterr().err
    assert "--workers" in said
    assert "'x'" in said


@pytest.mark.usefixtures("project")
def test_other_errors_outside_of_tasks_go_to_python(monkeypatch: pytest.MonkeyPatch) -> None:
    passed: list[object] = []
    monkeypatch.setattr(sys, "__excepthook__", lambda *args: passed.append(args[0]))
    runtime.uncaught(ValueError, ValueError("x"), None)
    assert passed == [ValueError]


@pytest.mark.parametrize(
    "text",
    [
        "\x1b]52;c;cm0gLXJm\x07",  # writes to the clipboard
        "\x1b[2J\x1b[H",  # clears the screen
        "\x9b2J",  # the same in one character
        "done\rerror",  # overwrites its own line
        "\u202egpj.exe",  # is read from right to left
        "\x7f\x00\x08",
    ],
)
def test_what_others_say_cannot_steer_the_terminal(capsys: pytest.CaptureFixture[str], text: str) -> None:
    runtime.say(text)
    with pytest.raises(SystemExit):
        runtime.fail(ClusterError(text, evidence=text, fix=text))
    with display.display(), step(text):
        note(text)
    runtime.emit({"said": text})
    out, err = capsys.readouterr()
    assert all(character.isprintable() or character in "\n\t" for character in out + err)
    assert json.loads(out[out.index("{") :]) == {"said": text}, "programs get it unchanged"


def test_a_result_is_json_or_text(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert project.is_dir()
    runtime.present({"a": "ä"}, "text", as_json=True)
    runtime.present({}, "text", as_json=False)
    runtime.present({}, "", as_json=False)
    assert capsys.readouterr().out == '{\n  "a": "ä"\n}\ntext\n'


def test_columns_of_a_table_are_aligned() -> None:
    assert display.table([["A", "LONG"], ["abc", "x"]]) == "A    LONG\nabc  x"
    assert (runtime.yes_no(1), runtime.yes_no("")) == ("yes", "no")


def test_passwords_in_addresses_are_not_shown() -> None:
    shown = display.as_shown("engine at tcp://me:hunter2@h:1, git@github.com:a/b, https://h:6443/x@y, ssh://me@h")
    assert shown == "engine at tcp://me:***@h:1, git@github.com:a/b, https://h:6443/x@y, ssh://me@h"
