"""The recipients in the text of a .sops.yaml. The rest stays as it is written. Pure.

The first of `creation_rules` whose path_regex matches a file's path decides (sops, config/config.go). Its `age` is a
text with commas, or a list.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Sequence
from typing import Any

from threezone.core import safe_yaml
from threezone.core.errors import UsageError
from threezone.delivery import yaml_text

FILE = ".sops.yaml"
ENDING = ".sops.yaml"
REGEX = r"\.sops\.ya?ml$"
ENCRYPTED = "^(data|stringData)$"
NEW = """# For whom sops encrypts, as age recipients (public keys). secret.init --recipient adds a person of the team.
creation_rules:
"""


def recipients(text: str, path: str) -> tuple[str, ...]:
    """The age recipients of the rule for a file; none without one. Raises UsageError for another kind of rule."""
    rule = _rule(text, path)
    return () if rule is None else _of(rule)


def everywhere(text: str) -> set[str]:
    """The age recipients of all rules."""
    return set(re.findall(r"\bage1[a-z0-9]+\b", text))


def changed(text: str, path: str, add: Sequence[str], remove: Sequence[str] = ()) -> str:
    """The text, whose rule for the file at `path` has more or other recipients; a new rule where there is none.

    Raises UsageError for what cannot be changed safely.
    """
    rule = _rule(text, path)
    if rule is None:
        return _appended(text, list(add))
    old = _of(rule)
    kept = [each for each in old if each not in remove]
    new = [*kept, *(each for each in add if each not in kept)]
    if list(old) == new:
        return text
    expected = _content(text)
    number = expected["creation_rules"].index(rule)
    expected["creation_rules"][number] = {**rule, "age": new if isinstance(rule["age"], list) else ",".join(new)}
    return _verified(_replaced(text, number, new), expected, new)


def _content(text: str) -> dict[str, Any]:
    import yaml

    try:
        content = safe_yaml.load(text) or {}
    except yaml.YAMLError as error:
        raise UsageError(f"{FILE} is not valid", evidence=str(error), fix=f"correct {FILE}") from None
    rules = content.get("creation_rules") or [] if isinstance(content, dict) else None
    if not isinstance(rules, list) or not all(isinstance(rule, dict) for rule in rules):
        raise UsageError(f"{FILE} is not valid: creation_rules is no list of rules", fix=f"correct {FILE}")
    return dict(content)


def _rule(text: str, path: str) -> dict[str, Any] | None:
    """The rule for a file, None without one."""
    for rule in _content(text).get("creation_rules") or []:
        try:
            matches = re.search(str(rule.get("path_regex", "")), path)
        except re.error:  # Go's expressions differ a little
            continue
        if matches:
            if not isinstance(rule.get("age"), str | list):
                raise UsageError(
                    f"the rule for {path} in {FILE} has no recipients of age that could be changed",
                    evidence=f"path_regex: {rule.get('path_regex', '(none)')}",
                    fix=f"write a rule with path_regex: {REGEX} and age: above it",
                )
            return dict(rule)
    return None


def _of(rule: dict[str, Any]) -> tuple[str, ...]:
    age = rule["age"]
    parts = age if isinstance(age, list) else age.split(",")
    return tuple(str(part).strip() for part in parts if str(part).strip())


def _lines(indent: int, new: Sequence[str]) -> list[str]:
    return ["age: >-", *(f"{' ' * indent}  {each}{',' * (each != new[-1])}" for each in new)]


def _appended(text: str, new: list[str]) -> str:
    """The text with a rule for our files at the end, where it comes before no rule of the user's."""
    if not text.strip():
        text = NEW
    elif "creation_rules" not in _content(text):
        text = text.rstrip("\r\n") + yaml_text.newline(text) + "creation_rules:" + yaml_text.newline(text)
    (root,) = safe_yaml.compose_all(text)
    rules = yaml_text.pairs(root)["creation_rules"][1]
    expected = _content(text)
    rule = {"path_regex": REGEX, "encrypted_regex": ENCRYPTED, "age": ",".join(new)}
    expected["creation_rules"] = [*(expected.get("creation_rules") or []), rule]
    block = rules.id == "sequence" and not rules.flow_style and rules.value
    indent = rules.start_mark.column if block else 2
    line = yaml_text.last_line(rules) if block else int(yaml_text.pairs(root)["creation_rules"][0].end_mark.line)
    first, second, *age = f"path_regex: {REGEX}", f"encrypted_regex: {ENCRYPTED}", *_lines(indent + 2, new)
    lines = [f"{' ' * indent}- {first}", f"{' ' * indent}  {second}", f"{' ' * indent}  {age[0]}", *age[1:]]
    return _verified(yaml_text.insert_after(text, line, lines), expected, new)


def _replaced(text: str, number: int, new: list[str]) -> str:
    (root,) = safe_yaml.compose_all(text)
    rule = yaml_text.pairs(root)["creation_rules"][1].value[number]
    key, value = yaml_text.pairs(rule)["age"]
    if value.id == "sequence" and not value.flow_style:
        return _with_items(text, value, new)
    if value.id == "sequence" or rule.flow_style:
        return yaml_text.replaced(
            text, value, f"[{', '.join(new)}]" if value.id == "sequence" else f'"{",".join(new)}"'
        )
    lines = text.split("\n")
    last = _last_line_of_scalar(lines, key, value)
    end = yaml_text.newline(text).removesuffix("\n")
    indent = key.start_mark.column
    written = _lines(indent, new)
    lines[key.start_mark.line : last + 1] = [
        f"{lines[key.start_mark.line][:indent]}{written[0]}{end}", *(f"{line}{end}" for line in written[1:])
    ]  # fmt: skip
    return "\n".join(lines)


def _with_items(text: str, node: Any, new: list[str]) -> str:
    """The text with these items of a list; lines of items that stay are kept, with their comments."""
    old = {str(item.value): item.start_mark.line for item in node.value}
    lines = [f"{' ' * node.start_mark.column}- {each}" for each in new if each not in old]
    text = yaml_text.insert_after(text, yaml_text.last_line(node), lines)
    gone = {line for each, line in old.items() if each not in new}
    return "\n".join(line for number, line in enumerate(text.split("\n")) if number not in gone)


def _last_line_of_scalar(lines: list[str], key: Any, value: Any) -> int:
    """The last line of a scalar: a folded one is reported with the empty lines and comments after it."""
    last = int(value.end_mark.line) if value.end_mark.column else int(value.end_mark.line) - 1
    while last > key.start_mark.line and not ("age1" in lines[last] and not lines[last].lstrip().startswith("#")):
        last -= 1
    return last


def _verified(text: str, expected: dict[str, Any], new: list[str]) -> str:
    """The text, if it says what is expected. Raises UsageError otherwise."""
    with contextlib.suppress(UsageError):
        if _normal(_content(text)) == _normal(expected):
            return text
    raise UsageError(
        f"{FILE} is written in a way that cannot be changed safely",
        fix=f"write these recipients into its rule by hand: {','.join(new)}",
    )


def _normal(content: dict[str, Any]) -> dict[str, Any]:
    rules = [{**rule, "age": _of(rule)} if rule.get("age") else rule for rule in content.get("creation_rules") or []]
    return {**content, "creation_rules": rules}
