"""YAML is read the same with PyYAML 6.0.3, which has no limit to nesting, and with 6.0.4, which has one of its own."""

from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from threezone.cluster.drift import merge_patch
from threezone.cluster.spec import declared
from threezone.core import safe_yaml
from threezone.core.errors import UsageError
from threezone.core.settings import load

DEEPEST = safe_yaml.MAX_DEPTH
CLUSTER = "kind: Cluster\napiVersion: kind.x-k8s.io/v1alpha4\n"
FORMS: dict[str, Callable[[int], str]] = {
    "flow": lambda depth: "[" * depth + "]" * depth,
    "block": lambda depth: "\n".join(f"{' ' * level}a:" for level in range(depth)),
    "compact": lambda depth: "- " * depth,
    "open": lambda depth: "[" * depth,
}


@pytest.mark.parametrize("form", ["flow", "block", "compact"])
def test_documents_up_to_the_limit_are_read(form: str) -> None:
    assert safe_yaml.load(FORMS[form](DEEPEST)) is not None
    assert len(safe_yaml.compose_all(FORMS[form](DEEPEST))) == 1


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("depth", [DEEPEST + 1, 999, 1_001])
def test_deeper_documents_are_refused_by_our_own_error(form: str, depth: int) -> None:
    for read in (safe_yaml.load, safe_yaml.compose_all, lambda text: list(safe_yaml.events(text))):
        with pytest.raises(yaml.YAMLError, match="nested too deeply"):
            read(FORMS[form](depth))


@pytest.mark.parametrize("form", ["flow", "compact", "open"])
def test_nesting_that_would_crash_the_c_parser_is_refused(form: str) -> None:
    with pytest.raises(yaml.YAMLError, match="nested too deeply"):
        safe_yaml.load(FORMS[form](100_000))


@pytest.mark.parametrize("form", ["flow", "open"])
def test_every_file_of_the_user_has_the_limit(form: str, tmp_path: Path) -> None:
    deep = FORMS[form](50_000)
    (tmp_path / "invoke.yaml").write_text(f"a: {deep}\n")
    with pytest.raises(UsageError, match="not valid YAML"):
        load(tmp_path)
    patch = f"kubeadmConfigPatches:\n- |\n  kind: InitConfiguration\n  a: {deep}\n"
    for text in (f"{CLUSTER}nodes: {deep}\n", CLUSTER + patch):
        with pytest.raises(UsageError, match="nested too deeply"):
            declared.parse(text, Path("kind.yaml"))
    assert merge_patch.documents(f"a: {deep}\n") == []


@pytest.mark.parametrize(
    ("merge", "expected"),
    [
        ("{<<: [*a, *b]}", {"key": 1, "only-a": 1, "only-b": 2}),
        ("{<<: [*b, *a]}", {"key": 2, "only-a": 1, "only-b": 2}),
        ("{key: 3, <<: [*a, *b]}", {"key": 3, "only-a": 1, "only-b": 2}),
        ("{<<: *a, key: 3}", {"key": 3, "only-a": 1}),
        ("{<<: {<<: *a, key: 4}}", {"key": 4, "only-a": 1}),
    ],
)
def test_the_first_mapping_of_a_list_of_merges_wins(merge: str, expected: dict[str, int]) -> None:
    text = f"a: &a {{key: 1, only-a: 1}}\nb: &b {{key: 2, only-b: 2}}\nc: {merge}\n"
    assert safe_yaml.load(text)["c"] == expected


def test_merges_of_merges_do_not_multiply() -> None:
    lines = ["a0: &a0 {k: 1}", *(f"a{n}: &a{n} {{<<: [{', '.join([f'*a{n - 1}'] * 10)}]}}" for n in range(1, 30))]
    assert safe_yaml.load("\n".join(lines))["a29"] == {"k": 1}


def test_a_kind_file_reads_merges_as_kind_does() -> None:
    text = CLUSTER + (
        "nodes:\n- &a {role: worker, labels: {a: one}}\n- &b {role: control-plane, image: node:v1}\n- {<<: [*a, *b]}\n"
    )
    node = declared.parse(text, Path("kind.yaml")).content["nodes"][2]
    assert (node["role"], node["image"]) == ("worker", "node:v1")


@pytest.mark.parametrize("text", ["a: 2001-99-99", "<<: 1", f"a: {'9' * 5_000}", "a: 1\n---\nb: 2"])
def test_what_python_cannot_hold_is_an_error_of_yaml(text: str) -> None:
    with pytest.raises(yaml.YAMLError):
        safe_yaml.load(text)
