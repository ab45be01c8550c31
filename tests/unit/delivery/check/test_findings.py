"""The report of a check, for people and programs."""

from __future__ import annotations

import json
from xml.etree import ElementTree as ET

import pytest

from threezone.core.errors import DeliveryError
from threezone.delivery.check.findings import Finding, Report, ordered
from threezone.extras.report import check_junit

WARNING = Finding("warning", "kind", "Thing a/b", "perhaps")
ERROR = Finding("error", "field", "Pod a/b", "no such field", "correct it", "a.yaml", 3)
OTHER = Finding("error", "path", "Kustomization a/b", "no directory")


def report(*findings: Finding) -> Report:
    return Report("commit 1234567", 2, 1, ordered(findings), ("charts",))


def test_errors_come_first_and_once() -> None:
    assert ordered([WARNING, ERROR, WARNING, ERROR]) == (ERROR, WARNING)


def test_only_errors_fail() -> None:
    report(WARNING).require("")
    with pytest.raises(DeliveryError) as failure:
        report(WARNING, ERROR, OTHER).require("fix")
    assert failure.value.exit_code == 6
    assert "1 more error" in failure.value.message


def test_the_keys_for_programs_are_stable() -> None:
    data = json.loads(json.dumps(report(WARNING, ERROR).data()))
    assert list(data) == ["ok", "source", "kustomizations", "objects", "findings", "unchecked"]
    assert list(data["findings"][0]) == ["severity", "rule", "object", "message", "fix", "file", "line"]
    assert (data["ok"], report(WARNING).data()["ok"]) == (False, True)


def test_the_text_names_places_rules_and_what_was_not_checked() -> None:
    text = report(WARNING, ERROR).text()
    for words in ("a.yaml:3", "[field]", "fix: correct it", "not checked: charts", "1 error, 1 warning"):
        assert words in text
    assert "1 object of 2 Kustomizations" in text


def test_junit() -> None:
    suite = ET.fromstring(check_junit.junit(report(WARNING, ERROR).data())).find("testsuite")  # noqa: S314 - ours
    assert suite is not None
    assert (suite.get("tests"), suite.get("failures")) == ("2", "1")
    (failed,) = [case for case in suite.iter("testcase") if case.find("failure") is not None]
    assert (failed.get("classname"), failed.get("file")) == ("gitops.check.field", "a.yaml")
    good = ET.fromstring(check_junit.junit(report().data())).find("testsuite")  # noqa: S314 - ours
    assert good is not None
    assert (good.get("tests"), good.get("failures")) == ("1", "0")
