"""A proof as JUnit XML: each phase is a test case.

There is no standard. These are the elements that Jenkins (junit plugin: SuiteResult, CaseResult) and GitLab (its page
"Unit test reports") read. GitLab shows the text of a failure and not its message, so both have the sentence.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from xml.etree import ElementTree as ET

from threezone.extras.report.proof import NO_REASON, Phase, Proof, clean, read

SUITE = "gitops.prove"
COUNTED = {"failures": "failure", "errors": "error", "skipped": "skipped"}  # attribute and the element it counts


def junit(data: Mapping[str, Any]) -> str:
    """The JUnit document of a proof's data. Raises UsageError when these are no proof's data."""
    proof = read(data)
    cases = [_case(phase) for phase in proof.all_phases]
    if not proof.ok and not proof.failed:
        error = element("error", message="the proof failed outside of its phases", type="DeliveryError")
        cases.append(element("testcase", error, classname=SUITE, name="proof", time="0.000"))
    counts = {
        "tests": f"{len(cases)}",
        **{name: f"{sum(case.find(tag) is not None for case in cases)}" for name, tag in COUNTED.items()},
        "time": f"{proof.seconds:.3f}",
    }
    time = f"{proof.when:%Y-%m-%dT%H:%M:%SZ}"
    suite = element("testsuite", _properties(_facts(proof)), *cases, name=SUITE, id=proof.id, timestamp=time, **counts)
    root = element("testsuites", suite, name=SUITE, **counts)
    ET.indent(root)
    document: bytes = ET.tostring(root, encoding="utf-8", xml_declaration=True)
    return f"{document.decode()}\n"


def _case(phase: Phase) -> ET.Element:
    case = element("testcase", classname=SUITE, name=phase.name, time=f"{phase.lasted:.3f}")
    if phase.ok is None:
        case.append(element("skipped", message=phase.why or "this phase was not run"))
        return case
    case.append(_properties(_figures(phase)))
    if not phase.ok:
        why = phase.why or NO_REASON
        text = "\n\n".join(filter(None, (why, phase.evidence)))
        case.append(element("failure", text, message=why, type="DeliveryError"))
    if out := "\n".join(filter(None, (*phase.commands, phase.evidence if phase.ok else None))):
        case.append(element("system-out", out))
    return case


def _facts(proof: Proof) -> dict[str, str]:
    facts = {
        "context": proof.context,
        "cluster": proof.cluster,
        "namespace": proof.namespace,
        "repository": proof.repository,
        "branch": proof.branch,
        "managers": " ".join(proof.managers),
    }
    return facts | {f"version.{name}": version for name, version in proof.versions.items() if version}


def _figures(phase: Phase) -> dict[str, str]:
    texts = {"title": phase.title, "revision": phase.revision, "objects": "\n".join(phase.objects)}
    seconds = {**dict(phase.seconds.stages()), "total": phase.seconds.total}
    figures = {f"seconds.{name}": f"{value:.3f}" for name, value in seconds.items() if value is not None}
    return {name: value for name, value in texts.items() if value} | figures


def _properties(values: Mapping[str, str]) -> ET.Element:
    return element("properties", *(element("property", name=name, value=value) for name, value in values.items()))


def element(tag: str, *children: ET.Element | str, **attributes: str) -> ET.Element:
    """An element with its children; texts come before elements."""
    parent = ET.Element(tag, {name: clean(value) for name, value in attributes.items()})
    for child in children:
        if isinstance(child, ET.Element):
            parent.append(child)
        else:
            parent.text = clean(child)
    return parent
