"""The proof's page in a real browser without a network: it renders, requests nothing and logs nothing."""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.e2e.places import build_image
from tests.e2e.project import Project
from tests.unit.extras.report.samples import SAMPLES, figures, passed

from threezone.core import process
from threezone.delivery.proof.phases import NAMES

IMAGE = "threezone/e2e-browser:1"
RECIPE = Path(__file__).with_name("containers") / "browser"
VIEWS = [{"width": width, "height": 900, "scheme": scheme} for width in (380, 1200) for scheme in ("light", "dark")]

# The figures of the page, its width, its background, and every text that is hard to read (contrast below 4.5, by
# https://www.w3.org/TR/WCAG22/#contrast-minimum).
SCRIPT = """(() => {
  const rgb = (color) => color.match(/[\\d.]+/g).map(Number);
  const light = (color) => {
    const [r, g, b] = rgb(color).map((c) => (c /= 255) <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const ground = (at) => {
    const color = getComputedStyle(at).backgroundColor;
    return (rgb(color)[3] ?? 1) || !at.parentElement ? color : ground(at.parentElement);
  };
  const contrast = (at) => {
    const fore = getComputedStyle(at)[at.tagName === "text" ? "fill" : "color"];
    const [less, more] = [light(fore), light(ground(at))].sort((a, b) => a - b);
    return (more + 0.05) / (less + 0.05);
  };
  const all = [...document.querySelectorAll("body, body *")];
  const spoken = all.filter((at) => !["title", "SCRIPT"].includes(at.tagName)
    && [...at.childNodes].some((child) => child.nodeType === Node.TEXT_NODE && child.data.trim()));
  return {
    figures: [...document.querySelectorAll("data")].map((at) => [at.id, at.value, at.textContent]),
    scrolls: document.documentElement.scrollWidth,
    ground: light(getComputedStyle(document.body).backgroundColor),
    texts: spoken.length,
    faint: spoken.filter((at) => contrast(at) < 4.5).map((at) => `${at.tagName} ${at.textContent.slice(0, 40)}`),
    bars: [...document.querySelectorAll("rect")].map((at) => at.getBoundingClientRect().width),
  };
})()"""

Look = Callable[[str], list[dict[str, Any]]]


@pytest.fixture(scope="module")
def look(project: Project) -> Look:  # noqa: ARG001  its engine works
    """A function that opens a page in all views, with the script's result, console output, requests and a picture."""
    build_image(IMAGE, RECIPE)

    def look(html: str) -> list[dict[str, Any]]:
        wanted = json.dumps({"html": html, "script": SCRIPT, "views": VIEWS})
        alone = ["--network", "none", "--read-only", "--tmpfs", "/tmp", "--tmpfs", "/root"]  # noqa: S108
        argv = ["docker", "run", "--rm", "--init", "--interactive", *alone, IMAGE]
        actual: list[dict[str, Any]] = json.loads(process.run(argv, stdin=wanted, timeout=300).stdout)
        assert len(actual) == len(VIEWS)
        return actual

    return look


def colours(picture: str) -> int:
    """The number of different bytes in the pixels of a PNG; a blank picture has very few."""
    png = base64.b64decode(picture)
    assert png.startswith(b"\x89PNG\r\n\x1a\n")
    at, pixels = 8, b""
    while at < len(png):
        length = int.from_bytes(png[at : at + 4], "big")
        if png[at + 4 : at + 8] == b"IDAT":
            pixels += png[at + 8 : at + 8 + length]
        at += length + 12
    return len(set(zlib.decompress(pixels)))


def draw(project: Project, data: dict[str, Any], folder: Path) -> str:
    """The page that `report.show` makes of a proof's data."""
    source, page = folder / "proof.json", folder / "proof.html"
    source.write_text(json.dumps(data))
    project.invoke("report.show", str(source), "--html", str(page))
    return page.read_text()


def holds(html: str, expected: dict[str, float], look: Look) -> None:
    """In every view, the page renders, logs nothing, requests nothing, and has the expected figures."""
    for view, actual in zip(VIEWS, look(html), strict=True):
        assert actual["log"] == [], view
        assert len(actual["requests"]) == 1, "the page itself, and nothing else"
        value = actual["value"]
        assert {name.removeprefix("figure-"): float(number) for name, number, _ in value["figures"]} == expected
        assert all(text == f"{float(number):.2f}" for _, number, text in value["figures"])
        assert value["scrolls"] == view["width"], "nothing is wider than the window"
        assert (value["ground"] > 0.5) == (view["scheme"] == "light")
        assert value["texts"] > 50
        assert value["faint"] == [], view
        assert sum(value["bars"]) > 100, "the bars have a width on the screen"
        assert colours(actual["picture"]) > 100


@pytest.mark.parametrize("sample", SAMPLES.values(), ids=SAMPLES)
def test_the_page_renders_in_every_view_without_errors(
    project: Project, look: Look, sample: Callable[[], dict[str, Any]], tmp_path: Path
) -> None:
    holds(draw(project, sample(), tmp_path), figures(sample()), look)


def test_the_page_of_a_real_proof_renders_in_every_view(lab: Project, look: Look, tmp_path: Path) -> None:
    data = json.loads(lab.invoke("gitops.prove", "--json", "--phases", "create,destroy").stdout)
    assert data["ok"] is True
    holds(draw(lab, data, tmp_path), figures(data), look)


def test_the_command_of_readme_writes_the_page(lab: Project) -> None:
    lab.invoke("gitops.prove", "--report", "proof.html")
    page = lab.root / "proof.html"
    try:
        text = page.read_text()
        assert [phase for phase in NAMES if f">{phase}<" not in text] == []
    finally:
        page.unlink()


def test_errors_requests_and_faint_text_are_detected(look: Look) -> None:
    """The checks above can fail: a script that logs, a picture from another host, wide and faint text."""
    bad = '<script>console.error("complaint")</script><img src="http://127.0.0.1:9/picture.png">'
    bad += '<p style="width: 2000px; color: #eee; background: #fff">faint</p>'
    for actual in look(f"<!doctype html><body>{bad}"):
        assert any("complaint" in line for line in actual["log"])
        assert "http://127.0.0.1:9/picture.png" in actual["requests"]
        assert actual["value"]["scrolls"] > 1900
        assert actual["value"]["faint"] == ["P faint"]


def test_the_policy_of_the_page_blocks_injected_content(project: Project, look: Look, tmp_path: Path) -> None:
    bad = '<script>document.body.textContent = ""</script><img src="http://127.0.0.1:9/picture.png">'
    for actual in look(draw(project, passed(), tmp_path).replace("</body>", f"{bad}</body>")):
        assert sum("Content Security Policy" in line for line in actual["log"]) == 2
        assert len(actual["value"]["figures"]) == len(figures(passed()))
        assert "http://127.0.0.1:9/picture.png" not in actual["requests"]


def test_the_page_of_a_run_renders_in_every_view(lab: Project, look: Look, tmp_path: Path) -> None:
    runs = json.loads(lab.invoke("report.list", "--json").stdout)
    longest = max(runs, key=lambda run: int(run["steps"]))
    page, trace = tmp_path / "run.html", tmp_path / "trace.json"
    lab.invoke("report.show", longest["id"], "--html", str(page), "--trace", str(trace))
    steps = [each for each in json.loads(trace.read_text())["traceEvents"] if each["ph"] == "X"]
    assert len(steps) == longest["steps"] > 5
    record = json.loads((lab.state / "runs" / f"{longest['id']}.json").read_text())
    seconds = {str(number): step["seconds"] for number, step in enumerate(record["steps"], start=1)}
    holds(page.read_text(), {"seconds": record["seconds"], **seconds}, look)
