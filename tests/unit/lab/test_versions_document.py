"""docs/versions.md is what the pins say, and what it calls tested is run by an e2e test."""

import re

from tests.documents import ROOT

from threezone.images.versions import images, node_for
from threezone.lab import versions_document
from threezone.lab.versions_document import DOCUMENT, TESTED_FLUX, TESTED_KUBERNETES, document


def test_the_document_is_what_the_pins_say() -> None:
    assert (ROOT / DOCUMENT).read_text(encoding="utf-8") == document(), (
        f"./run python -m {versions_document.__name__} > {DOCUMENT}"
    )


def test_a_tested_kubernetes_is_that_of_an_e2e_test() -> None:
    text = (ROOT / "tests/e2e/test_versions.py").read_text(encoding="utf-8")
    (asked,) = re.findall(r"params=\[([^]]*)\]", text)
    run = {node_for(minor).version for minor in re.findall(r"[\d.]+", asked)}
    assert {version for version, test in TESTED_KUBERNETES.items() if test == "versions"} == run
    assert {version for version, test in TESTED_KUBERNETES.items() if test == "lab"} == {images().node.version}


def test_a_tested_flux_is_that_of_an_e2e_test() -> None:
    text = (ROOT / "tests/e2e/test_flux_versions.py").read_text(encoding="utf-8")
    assert re.findall(r'^OWN, NEWER = "([\d.]+)", "([\d.]+)"$', text, re.MULTILINE) == [tuple(TESTED_FLUX)]


def test_every_version_has_a_row() -> None:
    text = document()
    for version in (*images().kubernetes, *images().other_flux, images().node.version, *TESTED_FLUX):
        assert re.search(rf"^\| (\*\*)?{re.escape(version)}\b", text, re.MULTILINE), version
