import json
import sys
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from tests.unit.extras.report.samples import EVIDENCE, WHY, failed, passed

from threezone.core.process import Completed, run

ROOT = Path(__file__).parents[4]

pytestmark = pytest.mark.real_program  # the task is asked as a user asks: through invoke


def show(*options: str | Path, check: bool = True, **env: str) -> Completed:
    return run([sys.executable, "-m", "invoke", "report.show", *options], cwd=ROOT, env=env, timeout=60, check=check)


def test_the_figures_are_printed_and_both_files_written(tmp_path: Path) -> None:
    source, html, junit = (tmp_path / name for name in ("proof.json", "proof.html", "proof.xml"))
    source.write_text(json.dumps(failed()))
    told = show(source, "--html", html, "--junit", junit).stdout
    lines = [line.split() for line in told.splitlines()]
    assert ["create", "passed", "0.18", "0.41", "1.11", "3.84", "5.56", failed()["phases"][0]["revision"]] in lines
    assert ["drift", "not", "run", *"------"] in lines
    assert f"update: {WHY}\n" + "\n".join(f"  | {line}" for line in EVIDENCE.splitlines()) in told
    assert html.read_text().startswith("<!doctype html>")
    assert ET.parse(junit).getroot().tag == "testsuites"  # noqa: S314  written by us


def test_open_draws_the_page_beside_its_data_and_hands_it_to_the_browser(tmp_path: Path) -> None:
    source = tmp_path / "proof.json"
    source.write_text(json.dumps(passed()))
    browser = tmp_path / "browser"
    browser.write_text('#!/bin/sh\nprintf %s "$1" >"$0.seen"\n')
    browser.chmod(0o755)
    show(source, "--open", BROWSER=str(browser))
    drawn = tmp_path / "proof.html"
    assert (tmp_path / "browser.seen").read_text() == drawn.as_uri()
    assert drawn.is_file()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "cannot be read: No such file or directory"),
        ("{", "is not JSON"),
        ("[]", "Expected `object`, got `array`"),
        ("{}", "Object missing required field `id`"),
    ],
)
def test_a_file_that_is_no_report_is_refused_in_one_sentence(tmp_path: Path, content: str | None, words: str) -> None:
    source = tmp_path / "proof.json"
    if content is not None:
        source.write_text(content)
    done = show(source, "--html", tmp_path / "page.html", check=False)
    assert done.exit_code == 2
    assert words in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "page.html").exists()


def test_an_unwritable_path_is_named(tmp_path: Path) -> None:
    source = tmp_path / "proof.json"
    source.write_text(json.dumps(passed()))
    done = show(source, "--junit", source / "proof.xml", check=False)
    assert done.exit_code == 2
    assert "proof.json/proof.xml cannot be written: Not a directory" in done.stderr


@pytest.mark.parametrize("option", ["--html", "--junit"])
def test_stdout_as_the_file_holds_the_file_alone(tmp_path: Path, option: str) -> None:
    source, file = tmp_path / "proof.json", tmp_path / "file"
    source.write_text(json.dumps(passed()))
    show(source, option, file)
    piped = show(source, option, "/dev/stdout")
    assert piped.stdout == file.read_text()
    assert "passed in" in piped.stderr


def test_a_report_is_read_from_a_pipe_and_written_to_a_redirected_stdout(tmp_path: Path) -> None:
    source, file = tmp_path / "proof.json", tmp_path / "file"
    source.write_text(json.dumps(passed()))
    line = f"cat {source} | {sys.executable} -m invoke report.show /dev/stdin --html /dev/stdout >{file}"
    run(["sh", "-c", line], cwd=ROOT, timeout=60)
    text = file.read_text()
    assert text.startswith("<!doctype html>")
    assert text.rstrip().endswith("</html>")
    refused = run(
        ["sh", "-c", f"cat {source} | {sys.executable} -m invoke report.show /dev/stdin --open"],
        cwd=ROOT,
        timeout=60,
        check=False,
    )
    assert refused.exit_code == 2
    assert not Path("/dev/stdin.html").exists()
