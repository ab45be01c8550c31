"""Commands in messages: `./run` is written in one form only, which is replaced where a project has no launcher."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from threezone.core import settings
from threezone.tasks import display

PACKAGE = Path(settings.__file__).parents[1]
# They run only where there is a launcher, write its completion or our docs, or replace the name themselves.
ABOUT_IT = {"toolchain/shell.py", "core/settings.py", "doctor/document.py", "tasks/program.py",
            "extras/init/contents.py", "lab/versions_document.py"}  # fmt: skip
OTHER_FORM = re.compile(r"\./run(?! invoke\b)")


def test_every_command_in_the_package_can_be_replaced() -> None:
    other = [
        f"{path.relative_to(PACKAGE)}:{number}"
        for path in sorted(PACKAGE.rglob("*"))
        if path.is_file() and path.suffix != ".pyc" and str(path.relative_to(PACKAGE)) not in ABOUT_IT
        for number, line in enumerate(path.read_text(encoding="utf-8", errors="replace").splitlines(), start=1)
        if OTHER_FORM.search(line)
    ]
    assert other == []
    assert OTHER_FORM.search("./run up"), "the pattern finds what it looks for"


def test_all_that_is_printed_is_replaced_where_there_is_no_launcher(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "tasks.py").touch()
    (tmp_path / "run").touch()  # somebody else's
    monkeypatch.chdir(tmp_path)
    for show in (display.as_typed, display.as_shown):
        assert show("fix: ./run invoke up, or ./run invoke down") == "fix: threezone up, or threezone down"
    assert display.table([("fix",), ("./run invoke up",)]).splitlines()[1] == "threezone up"


def test_only_these_modules_write_to_the_terminal_past_the_replacement() -> None:
    direct = re.compile(r"(?<![.\w])print\(|sys\.std(out|err)\.write")
    found = {
        str(path.relative_to(PACKAGE))
        for path in PACKAGE.rglob("*.py")
        if direct.search(path.read_text(encoding="utf-8"))
    }
    assert found == {
        "delivery/port_forward.py",  # a daemon's output: addresses
        "zones/forwarder.py",  # the same
        "doctor/document.py",  # docs/doctor.md of this repository
        "lab/versions_document.py",  # docs/versions.md of this repository
        "tasks/outputs/__main__.py",  # JSON Schemas
        "tasks/ci.py",  # the pipeline's file, which is given its launcher
        "tasks/program.py",  # the list of tasks, whose lines have been rewritten
        "tasks/runtime.py",  # "interrupted"
    }
