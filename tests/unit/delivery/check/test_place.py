"""Where in the files something is."""

from __future__ import annotations

from pathlib import Path

import pytest

from threezone.delivery.check import place
from threezone.delivery.check.findings import Finding
from threezone.delivery.check.place import Places

DEPLOYMENT = """\
# a comment
apiVersion: v1
kind: Service
metadata: {name: web}
---
apiVersion: apps/v1
kind: Deployment
metadata:
  name: web
  namespace: app
spec:
  template:
    spec:
      containers:
        - name: one
          image: a
        - name: two
          imag: b
"""


def finding(what: str, file: str = "") -> Finding:
    return Finding("error", "field", what, "wrong", file=file)


@pytest.mark.parametrize(
    ("what", "path", "line"),
    [
        ("Service app/web", "", 2),
        ("Deployment app/web", "", 6),
        ("Deployment app/web", ".spec.template", 12),
        ("Deployment app/web", ".spec.template.spec.containers[1].imag", 18),
        ("Deployment app/web", '.spec.template.spec.containers[name="two"].imag', 18),
        ("Deployment app/web", ".spec.template.spec.containers[9].imag", 14),
        ("Deployment app/web", ".spec.selector", 11),
        ("Deployment other/web", "", 0),
        ("ConfigMap app/web", "", 0),
        ("Deployment app/we", "", 0),
    ],
)
def test_an_object_and_its_fields(tmp_path: Path, what: str, path: str, line: int) -> None:
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "größe.yaml").write_text(DEPLOYMENT)
    (tmp_path / "template.yaml").write_text("name: {{ web }}\n  - web")
    found = Places(tmp_path).located(finding(what), path)
    assert (found.file, found.line) == (("deep/größe.yaml", line) if line else ("", 0))


def test_the_same_name_in_another_namespace(tmp_path: Path) -> None:
    for name in ("a", "b"):
        text = f"kind: ConfigMap\nmetadata: {{name: x, namespace: {name}}}\n"
        (tmp_path / f"{name}.yaml").write_text(text)
    assert Places(tmp_path).located(finding("ConfigMap b/x")).file == "b.yaml"


def test_a_place_that_is_known_stays(tmp_path: Path) -> None:
    assert Places(tmp_path).located(finding("ConfigMap b/x", "some.yaml")).file == "some.yaml"


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("a: b\n c: [\n", 2, "not YAML"),
        ("a:\n\tb: c\n", 2, "not YAML"),
        ("a: 1\nb: 2\na: 3\n", 3, "twice"),
        ("x:\n  - a: 1\n    a: 2\n", 3, "twice"),
    ],
)
def test_files_that_are_no_yaml(tmp_path: Path, text: str, line: int, words: str) -> None:
    (tmp_path / "good.yaml").write_text("a: &x {b: 1}\nc: {<<: *x}\n")
    (tmp_path / "bad.yaml").write_text(text)
    (found,) = place.broken(tmp_path, "", "Kustomization a/b", "flux says so")
    assert (found.rule, found.file, found.line) == ("yaml", "bad.yaml", line)
    assert words in found.message


def test_a_failure_with_another_cause_has_the_words_of_flux(tmp_path: Path) -> None:
    (tmp_path / "app").mkdir()
    (tmp_path / "app" / "a.yaml").write_text("a: b\n")
    (found,) = place.broken(tmp_path, "app", "Kustomization a/b", "missing Resource metadata in\napp/a.yaml")
    assert (found.rule, found.file) == ("build", "app/a.yaml")
    assert found.message == "missing Resource metadata in app/a.yaml"
