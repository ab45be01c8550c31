"""Recipients in .sops.yaml: what is added and removed, and what stays as it is written."""

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from threezone.core.errors import UsageError
from threezone.delivery.secrets import rules

A, B, C = "age1aaa", "age1bbb", "age1ccc"
FILE = "local/gitops/clusters/local/new.sops.yaml"
OURS = rules.changed("", FILE, [A])


def parsed(text: str, number: int = 0) -> list[str]:
    """The recipients of a rule, read by YAML alone."""
    age = yaml.safe_load(text)["creation_rules"][number]["age"]
    return age if isinstance(age, list) else [each.strip() for each in age.split(",")]


def test_a_new_file_encrypts_values_only() -> None:
    (rule,) = yaml.safe_load(OURS)["creation_rules"]
    assert rule == {"path_regex": r"\.sops\.ya?ml$", "encrypted_regex": "^(data|stringData)$", "age": A}
    assert OURS.startswith("# ")


@pytest.mark.parametrize(
    "age",
    [
        f"age: {A}",
        f'age: "{A}"',
        f"age: {A} # me",
        f"age: >-\n      {A}",
        f"age: >-\n      {A}\n\n    # a comment\n",
        f"age: |\n      {A}\n",
        f"age: [{A}]",
        f"age:\n      - {A}",
    ],
)
@pytest.mark.parametrize("after", ["", "\n  - path_regex: other\n    pgp: F00\n", "\nstores: {yaml: {indent: 2}}\n"])
def test_recipients_are_added_in_every_spelling(age: str, after: str) -> None:
    text = f"# top\ncreation_rules:\n  - path_regex: \\.yaml$\n    {age}{after}"
    changed = rules.changed(text, FILE, [B, A])
    assert parsed(changed) == [A, B]
    assert changed.startswith("# top\n")
    before, now = yaml.safe_load(text), yaml.safe_load(changed)
    for each in (before, now):
        del each["creation_rules"][0]["age"]
    assert before == now
    assert parsed(rules.changed(changed, FILE, [C], [A])) == [B, C]
    assert rules.changed(changed, FILE, [A, B]) == changed


@pytest.mark.parametrize(
    "text",
    [
        "creation_rules:\n  - path_regex: x$\n    pgp: F00\n",
        "creation_rules:\n- path_regex: x$\n  age: age1old\n# end\n",
        "creation_rules:\n",
        "creation_rules: []\n",
        "stores: {}\n",
        "# nothing\n",
    ],
)
def test_a_rule_is_added_where_none_fits(text: str) -> None:
    if "[]" in text:
        with pytest.raises(UsageError):
            rules.changed(text, FILE, [A])
        return
    changed = rules.changed(text, FILE, [A])
    assert rules.recipients(changed, FILE) == (A,)
    assert yaml.safe_load(changed)["creation_rules"][:-1] == ((yaml.safe_load(text) or {}).get("creation_rules") or [])
    assert all(line in changed for line in text.splitlines())


@pytest.mark.parametrize(
    "text",
    [
        "creation_rules:\n  - pgp: F00\n",
        "creation_rules:\n  - path_regex: yaml$\n    key_groups: [{age: [age1old]}]\n",
        "creation_rules: 1\n",
        "- a list\n",
        "a: [\n",
    ],
)
def test_what_cannot_be_changed_is_refused(text: str) -> None:
    with pytest.raises(UsageError) as raised:
        rules.changed(text, FILE, [A])
    assert raised.value.fix


def test_the_first_rule_that_fits_decides() -> None:
    text = f"creation_rules:\n  - path_regex: ^apps/\n    age: {A}\n  - age: {B}\n"
    assert rules.recipients(text, "apps/a.sops.yaml") == (A,)
    assert rules.recipients(text, FILE) == (B,)


names = st.lists(st.from_regex(r"age1[a-z0-9]{3,8}", fullmatch=True), min_size=1, max_size=4, unique=True)


@given(names, names)
def test_nothing_is_lost_and_nothing_remains(old: list[str], new: list[str]) -> None:
    text = rules.changed("", FILE, old)
    assert rules.recipients(text, FILE) == tuple(old)
    both = rules.changed(text, FILE, new)
    assert set(rules.recipients(both, FILE)) == {*old, *new}
    assert rules.recipients(rules.changed(text, FILE, new, old), FILE) == tuple(new)
