from collections.abc import Callable
from typing import Any
from xml.etree import ElementTree as ET

import pytest
from tests.unit.extras.report.samples import EVIDENCE, SAMPLES, WHY, failed, passed

from threezone.extras.report.junit import junit

NAMES = ["create", "update", "drift", "broken", "repair", "suspend", "destroy"]


def suite(data: dict[str, Any]) -> ET.Element:
    """The one suite of the document, as a reader of XML sees it."""
    root = ET.fromstring(junit(data).encode())  # noqa: S314  written a moment ago, by us
    assert root.tag == "testsuites"
    (found,) = root
    assert found.tag == "testsuite"
    return found


def properties(of: ET.Element) -> dict[str, str]:
    return {found.attrib["name"]: found.attrib["value"] for found in of.iterfind("properties/property")}


@pytest.mark.parametrize("sample", SAMPLES.values(), ids=SAMPLES)
def test_the_counts_are_those_of_the_cases(sample: Callable[[], dict[str, Any]]) -> None:
    found = suite(sample())
    cases = found.findall("testcase")
    assert [case.attrib["name"] for case in cases] == NAMES
    assert int(found.attrib["tests"]) == 7
    assert int(found.attrib["failures"]) == len(found.findall("testcase/failure"))
    assert int(found.attrib["skipped"]) == len(found.findall("testcase/skipped")) == 7 - len(sample()["phases"])
    assert float(found.attrib["time"]) == sample()["seconds"]
    assert found.attrib["timestamp"] == "2026-11-21T12:50:07Z"


def test_a_case_has_the_phase_s_time_and_figures() -> None:
    data = passed()
    found = suite(data)
    for case, phase in zip(found.findall("testcase"), data["phases"], strict=True):
        assert case.attrib["classname"] == "gitops.prove"
        assert float(case.attrib["time"]) == phase["seconds"]["total"]
        told = properties(case)
        assert told["revision"] == phase["revision"]
        assert {name: float(told[f"seconds.{name}"]) for name in phase["seconds"] if f"seconds.{name}" in told} == {
            name: value for name, value in phase["seconds"].items() if value is not None
        }
        assert case.findtext("system-out") == "\n".join([*phase["commands"], *filter(None, [phase["evidence"]])])


def test_a_failure_has_its_sentence_as_message_and_its_evidence_as_text() -> None:
    cases = {case.attrib["name"]: case for case in suite(failed()).findall("testcase")}
    failure = cases["update"].find("failure")
    assert failure is not None
    assert failure.attrib["message"] == WHY
    assert failure.text == f"{WHY}\n\n{EVIDENCE}", "GitLab shows the text only"
    assert [name for name, case in cases.items() if case.find("skipped") is not None] == NAMES[2:6]


def test_a_phase_that_was_not_run_says_why() -> None:
    data = failed()
    data["phases"].insert(2, {"name": "drift", "ok": None, "why": "not run, because update failed"})
    skipped = suite(data).find("testcase[@name='drift']/skipped")
    assert skipped is not None
    assert skipped.attrib["message"] == "not run, because update failed"


def test_the_properties_tell_where_and_with_which_versions() -> None:
    told = properties(suite(passed() | {"versions": {"kubernetes": "v1.35.0", "kind": None}}))
    assert told["version.kubernetes"] == "v1.35.0"
    assert "version.kind" not in told
    assert (told["context"], told["cluster"], told["branch"]) == ("kind-kind", "kind", "main")


def test_a_proof_that_failed_outside_of_its_phases_is_no_success() -> None:
    found = suite(passed() | {"ok": False})
    assert found.attrib["errors"] == "1"
    assert found.find("testcase/error") is not None


def test_characters_that_xml_cannot_hold_are_replaced() -> None:
    data = failed()
    data["phases"][1]["evidence"] = "\x1b[31mred\x00 \ud800 ]]> \ufffe end"
    failure = suite(data).find("testcase/failure")
    assert failure is not None
    assert (failure.text or "").endswith("\ufffd[31mred\ufffd \ufffd ]]> \ufffd end")
