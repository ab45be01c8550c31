import base64
import hashlib
import re
from collections.abc import Callable
from html.parser import HTMLParser
from typing import Any

import pytest
from tests.unit.extras.report.samples import EVIDENCE, SAMPLES, WHY, failed, figures, partial, passed

from threezone.core.errors import UsageError
from threezone.extras.report.page import STYLE, page

VOID = {"meta", "link"}


class Seen(HTMLParser):
    """A page as a browser reads it, as far as these tests ask: elements, figures, text; wrong nesting is refused."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.figures: dict[str, tuple[float, str]] = {}
        self.open: list[tuple[str, dict[str, str]]] = []
        self.text = ""
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = {name: value or "" for name, value in attrs}
        self.elements.append((tag, found))
        if tag not in VOID:
            self.open.append((tag, found))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop()[0] == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1][0] == "data":
            found = self.open[-1][1]
            self.figures[found["id"].removeprefix("figure-")] = (float(found["value"]), data)
        if not any(tag == "style" for tag, _ in self.open):
            self.text += data

    def attributes(self, tag: str, name: str) -> list[str]:
        return [found[name] for seen, found in self.elements if seen == tag and name in found]


@pytest.mark.parametrize("sample", SAMPLES.values(), ids=SAMPLES)
def test_the_page_has_exactly_the_figures_of_the_json(sample: Callable[[], dict[str, Any]]) -> None:
    seen = Seen(page(sample())).figures
    assert {name: value for name, (value, _) in seen.items()} == figures(sample())
    assert all(text == f"{value:.2f}" for value, text in seen.values())


def test_the_bars_match_the_figures() -> None:
    seen = Seen(page(passed()))
    bars = [found for tag, found in seen.elements if tag == "rect"]
    end = passed()["seconds"]
    update = next(phase for phase in passed()["phases"] if phase["name"] == "update")
    first = next(
        number for number, bar in enumerate(bars) if float(bar["x"][:-1]) >= 100 * update["began"] / end - 0.001
    )
    at = update["began"]
    for bar, stage in zip(bars[first : first + 4], ("push", "fetch", "apply", "settle"), strict=True):
        assert bar["class"] == stage
        assert float(bar["x"].rstrip("%")) == pytest.approx(100 * at / end, abs=0.001)
        assert float(bar["width"].rstrip("%")) == pytest.approx(100 * update["seconds"][stage] / end, abs=0.001)
        at += update["seconds"][stage]
    assert len(bars) == 7 * 4 - 1, "drift pushes nothing"


def test_time_that_no_stage_accounts_for_is_shown_as_lost_where_the_phase_failed() -> None:
    classes = [found["class"] for tag, found in Seen(page(failed())).elements if tag == "rect"]
    assert classes == [
        "push",
        "fetch",
        "apply",
        "settle",
        "push",
        "fetch",
        "apply",
        "lost",
        "push",
        "fetch",
        "apply",
        "settle",
    ]


def test_a_failed_phase_has_its_reason_and_evidence() -> None:
    seen = Seen(page(failed()))
    assert "The proof failed in update." in seen.text
    assert WHY in seen.text
    assert EVIDENCE in seen.text


def test_a_failure_of_unknown_length_is_marked_at_its_begin() -> None:
    data = failed()
    data["phases"][1]["seconds"]["total"] = None
    seen = Seen(page(data))
    *_, mark = (found for tag, found in seen.elements if tag == "rect" and found["class"] == "lost")
    end = 6.981 + 0.151 + 0.388 + 0.574
    assert float(mark["x"].rstrip("%")) == pytest.approx(100 * end / data["seconds"], abs=0.001)
    assert mark["width"] == "4"
    assert "update.total" not in seen.figures, "no total is made up"


def test_the_evidence_of_a_passed_phase_is_shown() -> None:
    data = passed()
    data["phases"][3]["evidence"] = 'Deployment/web dry-run failed: spec.replicas: Invalid value: "<many>"'
    assert data["phases"][3]["evidence"] in Seen(page(data)).text


def test_a_phase_without_data_was_not_run() -> None:
    seen = Seen(page(partial()))
    for tag in ("li", "tr"):
        states = [found["class"] for seen_tag, found in seen.elements if seen_tag == tag and "class" in found]
        assert [state for state in states if state in ("passed", "failed", "not-run")] == [
            "passed",
            *["not-run"] * 5,
            "passed",
        ]
    assert [found["id"] for tag, found in seen.elements if tag == "article"] == ["phase-create", "phase-destroy"]
    assert seen.text.count("5.56 s") == 1
    assert "The proof held in create and destroy." in seen.text
    assert "2 of 7 phases passed" in seen.text


def test_a_proof_that_failed_outside_of_its_phases_does_not_look_like_a_success() -> None:
    seen = Seen(page(passed() | {"ok": False}))
    assert "The proof failed outside of its phases." in seen.text
    assert seen.attributes("strong", "class") == ["failed"]


def test_a_proof_without_phases_says_so() -> None:
    seen = Seen(page(passed() | {"phases": [], "seconds": 0}))
    assert "No phase was run." in seen.text
    assert "0 of 7 phases passed" in seen.text


def test_only_flux_is_claimed_only_when_it_is_true() -> None:
    only = "Only Flux's managers own the declared fields:kustomize-controller"
    assert only in Seen(page(passed())).text
    assert (
        "Kubernetes' own entries:kube-controller-managerkube-controller-manager (status)" in Seen(page(passed())).text
    )
    kept = Seen(page(passed() | {"managers": ["kubectl-edit", "kustomize-controller"]})).text
    assert only not in kept
    assert "Others than Flux own declared fields:kubectl-edit" in kept
    assert "fields" not in Seen(page(passed() | {"managers": []})).text


EVIL = "<script>alert(1)</script>\"'&amp;<!--</style></title>\x00\x1b[31m\ud800"


def poisoned(value: Any) -> Any:
    """The same data with something evil before every text in it, but for the start, which has to be a time."""
    if isinstance(value, dict):
        return {key: item if key == "started" else poisoned(item) for key, item in value.items()}
    if isinstance(value, list):
        return [poisoned(item) for item in value]
    return EVIL + value if isinstance(value, str) else value


def test_nothing_in_the_data_becomes_markup() -> None:
    data = poisoned(failed())
    text = page(data)
    seen = Seen(text)
    assert "script" not in {tag for tag, _ in seen.elements}
    assert seen.text.count("<script>alert(1)</script>\"'&amp;<!--</style></title>\ufffd\ufffd[31m\ufffd") > 40
    assert not re.search("[\x00-\x08\x0b-\x1f]", text)
    text.encode()


def test_the_page_loads_nothing_and_allows_only_its_own_style() -> None:
    text = page(passed())
    seen = Seen(text)
    assert {tag for tag, _ in seen.elements}.isdisjoint({"script", "img", "iframe", "object", "embed", "form", "base"})
    assert all(link.startswith("#") for link in seen.attributes("a", "href"))
    assert all(link.startswith("data:image/svg+xml,") for link in seen.attributes("link", "href"))
    assert seen.attributes("div", "style") + seen.attributes("li", "style") == []
    style = STYLE.read_text(encoding="utf-8")
    assert "url(" not in style
    assert "@import" not in style
    policy = seen.attributes("meta", "content")[0]
    digest = base64.b64encode(hashlib.sha256(text.partition("<style>")[2].partition("</style>")[0].encode()).digest())
    assert policy.startswith("default-src 'none'; ")
    assert f"style-src 'sha256-{digest.decode()}'" in policy


def test_links_within_the_page_lead_somewhere() -> None:
    seen = Seen(page(passed()))
    ids = [found["id"] for _, found in seen.elements if "id" in found]
    assert len(ids) == len(set(ids))
    assert {link[1:] for link in seen.attributes("a", "href")} <= set(ids)
    assert set(seen.attributes("section", "aria-labelledby")) <= set(ids)


@pytest.mark.parametrize(
    ("change", "place"),
    [
        ({"phases": 3}, "phases: "),
        ({"seconds": -1}, "seconds: "),
        ({"seconds": float("nan")}, "seconds: "),
        ({"seconds": float("inf")}, "seconds: "),
        ({"started": "yesterday"}, "started: "),
        ({"phases": [{"name": "create", "ok": True, "seconds": {"push": "0.1"}}]}, "phases[0].seconds.push: "),
        ({"phases": [{"name": "create", "ok": True}] * 2}, "a phase occurs twice"),
    ],
)
def test_invalid_data_are_refused_with_the_field(change: dict[str, Any], place: str) -> None:
    with pytest.raises(UsageError, match="not a report of a proof") as refused:
        page(passed() | change)
    assert place in refused.value.message


def test_unknown_fields_are_ignored() -> None:
    assert page(passed() | {"added": {"later": 1}}) == page(passed())
