"""A proof as one HTML page that needs nothing but itself: no network, no script, one style sheet, allowed by its hash.

Every figure stands in a `data` element, whose `value` is the number of the JSON as it was and whose text is for people.
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
from threezone.extras.report.markup import clean
from threezone.extras.report.proof import NO_REASON, STAGES, Phase, Proof, read

STYLE = Path(__file__).with_name("page.css")
TEMPLATE = Path(__file__).with_name("page.html")
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
FAVICON = (
    '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 16 16"><circle cx="8" cy="8" r="8" fill="{}" />'
    '<path d="{}" fill="none" stroke="#fff" stroke-width="2" /></svg>'
)
TICKS = (0.5, 1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1200, 3600, 7200)  # seconds between two lines
MINUTE = 60
ROUNDING = 0.1  # seconds by which the stages may differ from the total
MOST_TICKS = 7  # a phone has no room for more


def page(data: Mapping[str, Any]) -> str:
    """The page of a proof's data. Raises UsageError when these are no proof's data."""
    import jinja2
    import markupsafe

    proof = read(data)
    style = STYLE.read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    policy = f"default-src 'none'; style-src 'sha256-{digest}'; img-src data:; base-uri 'none'; form-action 'none'"
    environment = jinja2.Environment(
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        keep_trailing_newline=True,
        finalize=lambda value: clean(value) if type(value) is str else value,  # markup was cleaned when it was made
    )
    template = environment.from_string(re.sub(r"\n\s*", "", TEMPLATE.read_text(encoding="utf-8")))
    return (
        template.render(
            proof=proof,
            state="passed" if proof.ok else "failed",
            policy=policy,
            style=markupsafe.Markup(style),  # noqa: S704 - our own file, not data
            favicon=quote(
                FAVICON.format("#1a7f4b", ICONS["passed"]) if proof.ok else FAVICON.format("#b42318", ICONS["failed"])
            ),
            version=__version__,
            headline=_headline(proof),
            held=sum(phase.ok is True for phase in proof.phases),
            facts=_facts(proof),
            managers=_managers(proof),
            segments=_segments,
            short=_short,
            icons=ICONS,
            meaning=MEANING,
            no_reason=NO_REASON,
            stages=STAGES,
            **_scale(proof),
        )
        + "\n"
    )


def _facts(proof: Proof) -> dict[str, str | None]:
    return {
        "Context": proof.context,
        "Namespace": proof.namespace,
        "Branch": proof.branch,
        **{NAMES.get(name, name): version for name, version in proof.versions.items()},
        "Repository": proof.repository,
    }


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


def _managers(proof: Proof) -> list[tuple[str, str, list[str]]]:
    """Who owns the fields: Flux, Kubernetes beside it (a status, say), and nobody else if all is well."""
    flux = [name for name in proof.managers if name in FLUX]
    beside = [name for name in proof.managers if name.endswith("(status)") or name in KUBERNETES]
    foreign = [name for name in proof.managers if name not in (*flux, *beside)]
    groups = [
        ("passed", "Only Flux's managers own the declared fields:", [] if foreign else flux),
        ("failed", "Others than Flux own declared fields:", foreign),
        ("beside", "Kubernetes' own entries:", beside),
    ]
    return groups if proof.managers else []


def _scale(proof: Proof) -> dict[str, Any]:
    """The time scale of the chart and the sums of its legend, by their names in the template."""
    end = max([proof.seconds, *((phase.began or 0) + phase.lasted for phase in proof.phases), 0.001])
    step = next((step for step in TICKS if end / step <= MOST_TICKS), end)
    sums = dict.fromkeys(STAGES, 0.0)
    for name, _, seconds in (segment for phase in proof.phases for segment in _segments(phase)):
        sums[name] = sums.get(name, 0.0) + seconds
    return {
        "sums": sums,
        "ticks": [number * step for number in range(int(end / step) + 1)],
        "share": lambda seconds: f"{100 * seconds / end:.3f}%",
        "in_words": lambda tick: f"{tick / MINUTE:g} min" if step >= MINUTE else f"{tick:g} s",
    }


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


def _short(revision: str | None) -> str:
    """A commit as people read it, from Flux's spelling: `main@sha1:0123456789…` is 0123456."""
    return (revision or "").rpartition(":")[2][:7]
