"""A proof as one HTML page without network access and scripts; its only style sheet is allowed by its hash.

Every figure is a `data` element: its `value` is the number from the JSON, its text is for people.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from threezone import __version__
from threezone.extras.report.proof import NO_REASON, STAGES, Phase, Proof, clean, read

STYLE = Path(__file__).with_name("page.css")
TEMPLATE = Path(__file__).with_name("page.html")
# Field managers are called after their controllers (fluxcd/pkg/ssa, ResourceManager's owner).
FLUX = ("kustomize-controller", "helm-controller")
KUBERNETES = ("kube-controller-manager", "kube-apiserver", "kube-scheduler", "kubelet")
MEANING = {
    "push": "commit to pushed",
    "fetch": "pushed to fetched by Flux",
    "apply": "fetched to applied",
    "settle": "applied to healthy, or gone",
    "lost": "waited without a result",
    "rest": "between the stages",
}
NAMES = {"kubernetes": "Kubernetes", "flux": "Flux"}  # kind and threezone are spelled in lower case
ICONS = {"passed": "M3.5 8.5l3 3 6-7", "failed": "M4.5 4.5l7 7m0-7l-7 7", "not run": "M4 8h8", "interrupted": "M4 8h8"}
FAVICON = (
    '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 16 16"><circle cx="8" cy="8" r="8" fill="{}" />'
    '<path d="{}" fill="none" stroke="#fff" stroke-width="2" /></svg>'
)
TICKS = (0.5, 1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1200, 3600, 7200)  # seconds between two lines
MINUTE = 60
ROUNDING = 0.1  # seconds by which the stages may differ from the total
MOST_TICKS = 7  # more do not fit on a phone


def page(data: Mapping[str, Any]) -> str:
    """The page of a proof's data. Raises UsageError for other data."""
    proof = read(data)
    return draw(
        TEMPLATE,
        STYLE.read_text(encoding="utf-8"),
        "passed" if proof.ok else "failed",
        proof=proof,
        headline=_headline(proof),
        passed=sum(phase.ok is True for phase in proof.phases),
        facts={
            "Context": proof.context,
            "Namespace": proof.namespace,
            "Branch": proof.branch,
            **{NAMES.get(name, name): version for name, version in proof.versions.items()},
            "Repository": proof.repository,
        },
        managers=_managers(proof),
        segments=_segments,
        meaning=MEANING,
        no_reason=NO_REASON,
        stages=STAGES,
        **_scale(proof),
    )


def draw(template: Path, style: str, state: str, **values: object) -> str:
    """A page of a template with its style sheet; `state` is `passed`, or another word for the icon in the browser."""
    import jinja2
    import markupsafe

    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    environment = jinja2.Environment(
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        keep_trailing_newline=True,
        finalize=lambda value: clean(value) if type(value) is str else value,  # markup was cleaned when it was made
    )
    text = environment.from_string(re.sub(r"\n\s*", "", template.read_text(encoding="utf-8"))).render(
        policy=f"default-src 'none'; style-src 'sha256-{digest}'; img-src data:; base-uri 'none'; form-action 'none'",
        state=state,
        style=markupsafe.Markup(style),  # noqa: S704 - our own file, not data
        favicon=quote(FAVICON.format("#1a7f4b" if state == "passed" else "#b42318", ICONS[state])),
        version=__version__,
        icons=ICONS,
        **values,
    )
    return text + "\n"


def _headline(proof: Proof) -> str:
    if proof.failed:
        return f"The proof failed in {_and(proof.failed)}."
    if not proof.ok:
        return "The proof failed outside of its phases."
    passed = [phase.name for phase in proof.phases if phase.ok]
    if not passed:
        return "No phase was run."
    if len(passed) < len(proof.all_phases):
        return f"The proof held in {_and(passed)}."
    return "A Git commit alone created, updated and destroyed the workload."


def _and(names: Sequence[str]) -> str:
    return " and ".join(filter(None, (", ".join(names[:-1]), names[-1])))


def _managers(proof: Proof) -> list[tuple[str, str, list[str]]]:
    """The owners of the fields: Flux, Kubernetes (a status, say), and others, which a good proof does not have."""
    flux = [name for name in proof.managers if name in FLUX]
    kubernetes = [name for name in proof.managers if name.endswith("(status)") or name in KUBERNETES]
    others = [name for name in proof.managers if name not in (*flux, *kubernetes)]
    groups = [
        ("passed", "Only Flux's managers own the declared fields:", [] if others else flux),
        ("failed", "Others than Flux own declared fields:", others),
        ("beside", "Kubernetes' own entries:", kubernetes),
    ]
    return groups if proof.managers else []


def _scale(proof: Proof) -> dict[str, Any]:
    """The chart's time scale and the sums in its legend, by their names in the template."""
    end = max([proof.seconds, *((phase.began or 0) + phase.lasted for phase in proof.phases), 0.001])
    sums = dict.fromkeys(STAGES, 0.0)
    for name, _, seconds in (segment for phase in proof.phases for segment in _segments(phase)):
        sums[name] = sums.get(name, 0.0) + seconds
    return {"sums": sums, **scale(end)}


def scale(end: float) -> dict[str, Any]:
    """A time scale that ends at `end` seconds, by its names in the templates."""
    step = next((step for step in TICKS if end / step <= MOST_TICKS), end)
    return {
        "ticks": [number * step for number in range(int(end / step) + 1)],
        "share": lambda seconds: f"{100 * seconds / end:.3f}%",
        "in_words": lambda tick: f"{tick / MINUTE:g} min" if step >= MINUTE else f"{tick:g} s",
    }


def _segments(phase: Phase) -> Iterator[tuple[str, float, float]]:
    """The bars of a phase: class, begin and length in seconds since the proof's start."""
    begin = phase.began or 0.0
    for name, seconds in phase.seconds.stages():
        if seconds is not None:
            yield name, begin, seconds
            begin += seconds
    rest = (phase.began or 0.0) + phase.lasted - begin
    if rest > ROUNDING:
        yield "lost" if phase.ok is False else "rest", begin, rest
