"""A proof as one HTML page that needs nothing but itself: no network, no script, one style sheet, allowed by its hash.

Every figure stands in a `data` element, whose `value` is the number of the JSON as it was and whose text is for people.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote
from xml.etree import ElementTree as ET

from threezone import __version__
from threezone.extras.report.markup import element
from threezone.extras.report.proof import NO_REASON, STAGES, Phase, Proof, read

STYLE = Path(__file__).with_name("page.css")
# Flux's controllers write under their own names (fluxcd/pkg/ssa, ResourceManager's owner), Kubernetes' own do too.
FLUX = ("kustomize-controller", "helm-controller")
KUBERNETES = ("kube-controller-manager", "kube-apiserver", "kube-scheduler", "kubelet")
MEANING = {
    "push": "commit to pushed",
    "fetch": "pushed to fetched by Flux",
    "apply": "fetched to applied",
    "settle": "applied to healthy, or gone",
    "lost": "waited for what did not come",
    "rest": "between the stages",
}
NAMES = {"kubernetes": "Kubernetes", "flux": "Flux"}  # as their makers spell them; kind and threezone are small
ICONS = {"passed": "M3.5 8.5l3 3 6-7", "failed": "M4.5 4.5l7 7m0-7l-7 7", "not run": "M4 8h8"}
TICKS = (0.5, 1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1200, 3600, 7200)  # seconds between two lines
BAR = {"y": "7", "height": "20"}
MINUTE = 60
ROUNDING = 0.1  # seconds by which the stages may differ from the total
MOST_TICKS = 7  # a phone has no room for more


def page(data: Mapping[str, Any]) -> str:
    """The page of a proof's data. Raises UsageError when these are no proof's data."""
    proof = read(data)
    body = element(
        "body",
        element("main", _top(proof), _timeline(proof), _figures(proof), _phases(proof)),
        element("footer", element("p", f"Written by threezone {__version__}. This page is whole: it loads nothing.")),
    )
    root = element("html", _head(proof), body, lang="en")
    return "<!doctype html>\n" + ET.tostring(root, encoding="unicode", method="html") + "\n"


def _head(proof: Proof) -> ET.Element:
    style = STYLE.read_text(encoding="utf-8")
    allowed = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    policy = f"default-src 'none'; style-src 'sha256-{allowed}'; img-src data:; base-uri 'none'; form-action 'none'"
    return element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", http_equiv="Content-Security-Policy", content=policy),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", name="color-scheme", content="light dark"),
        element("meta", name="referrer", content="no-referrer"),
        element("title", f"{'Passed' if proof.ok else 'Failed'}: proof {proof.id} on {proof.cluster}"),
        element("link", rel="icon", href=_favicon(proof.ok)),
        element("style", style),
    )


def _favicon(ok: bool) -> str:
    stroke = {"fill": "none", "stroke": "#fff", "stroke_width": "2"}
    drawing = element(
        "svg",
        element("circle", cx="8", cy="8", r="8", fill="#1a7f4b" if ok else "#b42318"),
        element("path", d=ICONS["passed" if ok else "failed"], **stroke),
        xmlns="http://www.w3.org/2000/svg",
        viewBox="0 0 16 16",
    )
    return "data:image/svg+xml," + quote(ET.tostring(drawing, encoding="unicode"))


def _top(proof: Proof) -> ET.Element:
    held = sum(phase.ok is True for phase in proof.phases)
    state = "passed" if proof.ok else "failed"
    lead = element(
        "p",
        f"{held} of {len(proof.all_phases)} phases passed in ",
        _figure(proof.seconds, "seconds"),
        " s on the cluster ",
        element("strong", proof.cluster),
        ", ",
        element("time", f"{proof.when:%Y-%m-%d %H:%M:%S} UTC", datetime=f"{proof.when:%Y-%m-%dT%H:%M:%SZ}"),
        ".",
        class_="lead",
    )
    facts = {
        "Context": proof.context,
        "Namespace": proof.namespace,
        "Branch": proof.branch,
        **{NAMES.get(name, name): version for name, version in proof.versions.items()},
        "Repository": proof.repository,
    }
    told = [element("div", element("dt", name), element("dd", value)) for name, value in facts.items() if value]
    return element(
        "header",
        element(
            "p",
            element("strong", _icon(state), state.capitalize(), class_=state),
            f"proof {proof.id}",
            class_="verdict",
        ),
        element("h1", _headline(proof)),
        lead,
        *(_reason(phase) for phase in proof.phases if phase.ok is False),
        element("dl", *told, class_="facts"),
        _managers(proof),
    )


def _headline(proof: Proof) -> str:
    if proof.failed:
        return f"The proof failed in {_and(proof.failed)}."
    if not proof.ok:
        return "The proof failed outside of its phases."
    held = [phase.name for phase in proof.phases if phase.ok]
    if not held:
        return "No phase was run."
    if len(held) < len(proof.all_phases):
        return f"The proof held in {_and(held)}."
    return "A Git commit alone created, updated and destroyed the workload."


def _and(names: Sequence[str]) -> str:
    return " and ".join(filter(None, (", ".join(names[:-1]), names[-1])))


def _reason(phase: Phase) -> ET.Element:
    return element(
        "p", element("a", phase.name, href=f"#phase-{phase.name}"), f": {phase.why or NO_REASON}", class_="reason"
    )


def _managers(proof: Proof) -> ET.Element | None:
    """Who owns the fields: Flux, Kubernetes beside it (a status, say), and nobody else if all is well."""
    if not proof.managers:
        return None
    flux = [name for name in proof.managers if name in FLUX]
    beside = [name for name in proof.managers if name.endswith("(status)") or name in KUBERNETES]
    foreign = [name for name in proof.managers if name not in (*flux, *beside)]
    groups = {
        "passed": ("Only Flux's managers own the declared fields:", [] if foreign else flux),
        "failed": ("Others than Flux own declared fields:", foreign),
        "beside": ("Kubernetes' own entries:", beside),
    }
    told = [
        element(
            "div",
            element("p", _icon(state) if state in ICONS else None, words),
            element("ul", *(element("li", element("code", name)) for name in names)),
            class_=f"managers {state}",
        )
        for state, (words, names) in groups.items()
        if names
    ]
    return element("div", *told)


def _timeline(proof: Proof) -> ET.Element:
    end = max([proof.seconds, *((phase.began or 0) + phase.lasted for phase in proof.phases), 0.001])
    step = next((step for step in TICKS if end / step <= MOST_TICKS), end)
    ticks = [number * step for number in range(int(end / step) + 1)]
    sums = dict.fromkeys(STAGES, 0.0)
    for name, _, seconds in (segment for phase in proof.phases for segment in _segments(phase)):
        sums[name] = sums.get(name, 0.0) + seconds
    legend = [
        element("li", element("b", f"{name} {seconds:.2f} s"), element("span", MEANING[name]), class_=name)
        for name, seconds in sums.items()
    ]
    rows = [_row(phase, end, ticks) for phase in proof.all_phases]
    return element(
        "section",
        element("h2", "Timeline", id="timeline"),
        element("ul", *legend, class_="legend"),
        element("div", element("ol", *rows), _axis(end, ticks), class_="chart"),
        aria_labelledby="timeline",
    )


def _segments(phase: Phase) -> Iterator[tuple[str, float, float]]:
    """The bars of a phase: class, begin and length in seconds of the proof."""
    at = phase.began or 0.0
    for name, seconds in phase.seconds.stages():
        if seconds is not None:
            yield name, at, seconds
            at += seconds
    rest = (phase.began or 0.0) + phase.lasted - at
    if rest > ROUNDING:
        yield "lost" if phase.ok is False else "rest", at, rest


def _row(phase: Phase, end: float, ticks: list[float]) -> ET.Element:
    lines = [element("line", x1=_share(tick, end), x2=_share(tick, end), y1="0", y2="100%") for tick in ticks]
    bars = [
        element(
            "rect",
            element("title", f"{phase.name}, {name}: {length:.2f} s, from {begin:.2f} s on"),
            class_=name,
            x=_share(begin, end),
            width=_share(length, end),
            **BAR,
        )
        for name, begin, length in _segments(phase)
    ]
    if phase.ok is False and phase.seconds.total is None:  # nobody knows how long; the eye has to find it all the same
        bars.append(
            element("rect", class_="lost", x=_share((phase.began or 0.0) + phase.lasted, end), **BAR, width="4")
        )
    chart = element(
        "svg",
        element("g", *lines, class_="lines"),
        element("g", *bars, class_="bar"),
        width="100%",
        height="34",
        aria_hidden="true",  # the figures stand in the table that follows, as text
    )
    total = phase.state if phase.seconds.total is None else f"{phase.seconds.total:.2f} s"
    label = element("span", phase.name) if phase.ok is None else element("a", phase.name, href=f"#phase-{phase.name}")
    return element("li", _icon(phase.state), label, chart, element("span", total, class_="total"), class_=_class(phase))


def _axis(end: float, ticks: list[float]) -> ET.Element:
    in_minutes = ticks[1:2] >= [MINUTE]
    labels = [
        element("text", f"{tick / 60:g} min" if in_minutes else f"{tick:g} s", x=_share(tick, end), y="14")
        for tick in ticks
    ]
    return element("div", element("svg", *labels, width="100%", height="20"), class_="axis", aria_hidden="true")


def _figures(proof: Proof) -> ET.Element:
    heads = [element("th", name, scope="col") for name in ("Phase", "Commit", *STAGES, "total", "Objects")]
    rows = []
    for phase in proof.all_phases:
        name = element(
            "th", _icon(phase.state), phase.name, element("span", f", {phase.state}", class_="off"), scope="row"
        )
        commit = element("td", element("code", _short(phase.revision)), class_="commit")
        figures = [*phase.seconds.stages(), ("total", phase.seconds.total)]
        cells = [element("td", _figure(seconds, f"{phase.name}.{stage}")) for stage, seconds in figures]
        if phase.ok is None:
            cells = [element("td", phase.state, colspan=f"{len(figures)}")]
        objects = element("td", "" if phase.ok is None else f"{len(phase.objects)}", class_="objects")
        rows.append(element("tr", name, commit, *cells, objects, class_=_class(phase)))
    caption = element("caption", "Seconds of each stage, from the commit to the end of the phase")
    table = element("table", caption, element("thead", element("tr", *heads)), element("tbody", *rows))
    return element("section", element("h2", "Figures", id="figures"), table, aria_labelledby="figures")


def _phases(proof: Proof) -> ET.Element:
    told = [_phase(phase) for phase in proof.all_phases if phase.ok is not None]
    return element("section", element("h2", "Phases", id="phases"), *told, aria_labelledby="phases")


def _phase(phase: Phase) -> ET.Element:
    """What a phase shows, on which commit and objects, why it failed, and how to do it by hand."""
    heading = element("h3", _icon(phase.state), phase.name, element("span", phase.state, class_="state"))
    made = element("article", heading, id=f"phase-{phase.name}", class_=_class(phase))
    if phase.title:
        made.append(element("p", phase.title))
    evidence = element("pre", phase.evidence) if phase.evidence else None
    if phase.ok is False:
        made.append(element("div", element("p", phase.why or NO_REASON), evidence, class_="why"))
    elif evidence is not None:  # what a phase was to see: Flux's words about a broken commit
        made.append(evidence)
    facts = element("dl")
    if phase.revision:
        facts.append(element("dt", "Revision"))
        facts.append(element("dd", element("code", phase.revision)))
    if phase.objects:
        listed = element("ul", *(element("li", element("code", name)) for name in phase.objects))
        facts.append(element("dt", "Objects"))
        facts.append(element("dd", listed))
    if len(facts):
        made.append(facts)
    if phase.commands:
        summary = element("summary", "Repeat it by hand")
        made.append(element("details", summary, element("pre", element("code", "\n".join(phase.commands)))))
    return made


def _figure(seconds: float | None, name: str) -> ET.Element:
    """A number of the JSON: the very value for programs, two decimals for people."""
    if seconds is None:
        return element("span", "\N{EN DASH}", element("span", "not reached", class_="off"))
    return element("data", f"{seconds:.2f}", value=repr(seconds), id=f"figure-{name}")


def _icon(state: str) -> ET.Element:
    path = element("path", d=ICONS[state])
    return element("svg", path, viewBox="0 0 16 16", class_=f"icon {state.replace(' ', '-')}", aria_hidden="true")


def _class(phase: Phase) -> str:
    return phase.state.replace(" ", "-")


def _share(seconds: float, end: float) -> str:
    return f"{100 * seconds / end:.3f}%"


def _short(revision: str | None) -> str:
    """A commit as people read it, from Flux's spelling: `main@sha1:0123456789…` is 0123456."""
    return (revision or "").rpartition(":")[2][:7]
