"""Encrypted Secrets: values, keys and the kustomization beside them."""

import pytest
import yaml

from threezone.core.errors import UsageError
from threezone.delivery.secrets import age_key, files, keep


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"text", ("stringData", "text")),
        (b"", ("stringData", "")),
        ("äö\n".encode(), ("stringData", "äö\n")),
        (b"\xff\x00", ("data", "/wA=")),
    ],
)
def test_text_is_readable_and_bytes_are_kept(content: bytes, expected: tuple[str, str]) -> None:
    assert files.value_of("key", content) == expected


def test_a_value_that_no_secret_can_have_is_refused() -> None:
    with pytest.raises(UsageError, match="bytes"):
        files.value_of("key", b"x" * (1 << 20) + b"x")


@pytest.mark.parametrize("key", ["", "a/b", "a b", "..", "..x", "a\n", "x" * 254])
def test_a_key_that_no_secret_can_have_is_refused(key: str) -> None:
    with pytest.raises(UsageError):
        files.require_key(key)


@pytest.mark.parametrize("name", ["", "A", "-a", "a/../b", "a_b", "x" * 254])
def test_a_name_that_no_object_can_have_is_refused(name: str) -> None:
    with pytest.raises(UsageError):
        files.require_name(name)


@pytest.mark.parametrize("entry", ["password=hunter2", "password", "password=file.txt", "=@file"])
def test_values_are_not_taken_from_arguments(entry: str) -> None:
    with pytest.raises(UsageError) as raised:
        keep.values((entry,))
    shown = f"{raised.value.message} {raised.value.evidence} {raised.value.fix}"
    assert "hunter2" not in shown


@pytest.mark.parametrize(
    "text",
    [
        "resources:\n  - a.yaml # first\n\n# end\nimages: []\n",
        "# top\nresources:\n- a.yaml\n",
        "namespace: x\n",
        "resources:\r\n  - a.yaml\r\n",
    ],
)
def test_a_file_is_listed_and_the_rest_stays(text: str) -> None:
    changed = files.with_resource(text, "s.sops.yaml")
    before, now = yaml.safe_load(text), yaml.safe_load(changed)
    assert now == {**before, "resources": [*before.get("resources", []), "s.sops.yaml"]}
    assert [line for line in changed.splitlines() if "s.sops.yaml" not in line and line != "resources:"] == [
        line for line in text.splitlines() if line != "resources:"
    ]
    assert files.with_resource(changed, "s.sops.yaml") == changed


@pytest.mark.parametrize("text", ["resources: [a.yaml]\n", "resources:\n", "resources: []\n"])
def test_a_kustomization_that_cannot_be_changed_safely_stays(text: str) -> None:
    with pytest.raises(UsageError):
        files.with_resource(text, "s.sops.yaml")


def test_identities_of_others_are_kept() -> None:
    ours = "# public key: age1a\nAGE-SECRET-KEY-1A\n"
    theirs = "# public key: age1b\nAGE-SECRET-KEY-1B\nAGE-SECRET-KEY-1A\n"
    assert age_key.merged(ours, theirs).splitlines()[1:] == ["AGE-SECRET-KEY-1A", "AGE-SECRET-KEY-1B"]
    assert age_key.merged(ours, "") == ours
