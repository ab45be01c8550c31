"""A check as JUnit XML: each finding is a test case, as report/junit.py writes them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from xml.etree import ElementTree as ET

from threezone.extras.report.junit import element

SUITE = "gitops.check"


def junit(data: Mapping[str, Any]) -> str:
    """The JUnit document of a check's data. Without findings it has one case, which has passed."""
    findings = data["findings"]
    cases = [_case(finding) for finding in findings] or [element("testcase", classname=SUITE, name=data["source"])]
    failures = sum(finding["severity"] == "error" for finding in findings)
    counts = {"tests": str(len(cases)), "failures": str(failures), "errors": "0", "skipped": "0"}
    out = element("system-out", "\n".join(data["unchecked"]))
    root = element("testsuites", element("testsuite", *cases, out, name=SUITE, **counts), name=SUITE, **counts)
    ET.indent(root)
    document: bytes = ET.tostring(root, encoding="utf-8", xml_declaration=True)
    return f"{document.decode()}\n"


def _case(finding: Mapping[str, Any]) -> ET.Element:
    place = f"{finding['file']}:{finding['line']}" if finding["line"] else finding["file"]
    text = "\n".join(filter(None, (f"{finding['severity']}: {finding['message']}", place, finding["fix"])))
    case = element("testcase", classname=f"{SUITE}.{finding['rule']}", name=finding["object"] or place)
    if finding["file"]:
        case.set("file", finding["file"])
    failed = finding["severity"] == "error"
    case.append(
        element("failure", text, message=finding["message"], type=finding["rule"])
        if failed
        else element("system-out", text)
    )
    return case
