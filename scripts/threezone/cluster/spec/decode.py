"""Decode kind's file into data and the place of each value; unknown fields are refused with their line.

Values become what kind's own decoder makes of them (go.yaml.in/yaml/v3 into typed fields): `1` is text where text is
wanted, `yes` is true where a flag is. Go's scanner was translated from the C scanner that PyYAML uses.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any, NoReturn

import yaml

from threezone.cluster.spec.schema import CLUSTER, Names, Scalar, parents
from threezone.core import safe_yaml
from threezone.core.errors import UsageError

Keys = tuple[str | int, ...]

_NULL = "tag:yaml.org,2002:null"
_STRING = "tag:yaml.org,2002:str"
_MERGE = "tag:yaml.org,2002:merge"
_TRUE, _FALSE = frozenset(("y", "yes", "on")), frozenset(("n", "no", "off"))
_MAX_INT32 = 2**31
_RESOLVER: Any = yaml.resolver.Resolver()
_START = yaml.Mark("", 0, 0, 0, None, 0)


@dataclass(frozen=True)
class Place:
    """A line of a file, or a flag. `text` is the line where a block of text (`|`) begins."""

    source: str
    line: int = 0
    text: int = 0

    def __str__(self) -> str:
        return f"{self.source}:{self.line}" if self.line else self.source

    def within(self, line: int) -> Place:
        """The place of a line (from 0) of the text that begins here."""
        return Place(self.source, self.text + line) if self.text else self


@dataclass
class Spot:
    """The place of a value, and of the values below it by key or index."""

    place: Place
    below: dict[str | int, Spot] = field(default_factory=dict)

    def at(self, *keys: str | int) -> Place:
        """The place of the value under these keys, or of its nearest parent."""
        spot = self
        for key in keys:
            if key not in spot.below:
                break
            spot = spot.below[key]
        return spot.place

    def fail(self, keys: Keys, problem: str) -> NoReturn:
        """Raise UsageError with the place and the field of the value under these keys."""
        raise UsageError(f"{self.at(*keys)}: {shown(*keys)}: {problem}")


@dataclass
class Draft:
    """A cluster in progress: its content as data, and the place of each value."""

    content: dict[str, Any]
    spots: Spot


def shown(*keys: str | int) -> str:
    """Keys as a user writes a field: `nodes[0].role`."""
    return "".join(f"[{key}]" if isinstance(key, int) else f".{key}" for key in keys).lstrip(".")


def suggestion(word: str, known: Collection[str]) -> str:
    """The end of an error message with the known word that was probably meant, or ""."""
    by_case = {name.lower(): name for name in known}
    close = difflib.get_close_matches(word.lower(), by_case, 1, 0.6)
    return f"; did you mean {by_case[close[0]]}?" if close else ""


def compose(text: str, source: str, first: int = 1) -> Any:
    """The one YAML document in `text` as nodes, None when it is empty. `first` is the line where the text begins."""
    try:
        documents = safe_yaml.compose_all(text)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = mark.line if mark else 0
        problem = str(getattr(error, "problem", None) or error)
        lines = text.splitlines()
        if line < len(lines) and re.match(r"\s*\t", lines[line]):
            problem = "the line is indented with a tab; YAML wants spaces"
        raise UsageError(f"{Place(source, first + line)}: not valid YAML: {problem}") from None
    for document in documents[1:]:
        if not _is_null(document):
            place = Place(source, first + document.start_mark.line)
            raise UsageError(f"{place}: a second document begins here; expected one, for kind reads only the first")
    return documents[0] if documents and not _is_null(documents[0]) else None


def _is_null(node: Any) -> bool:
    return node is None or (isinstance(node, yaml.ScalarNode) and node.tag == _NULL)


def read(text: str, source: str) -> Draft:
    """Decode a cluster file. Raises UsageError for the first thing that kind would not accept."""
    root = compose(text.removeprefix("\ufeff"), source)
    if root is None:
        raise UsageError(f"{source}:1: the file is empty; expected kind: Cluster")
    return draft(root, source)


def draft(root: Any, source: str, prefix: Keys = (), table: dict[str, Any] = CLUSTER, *, lines: bool = True) -> Draft:
    """Decode composed nodes. `prefix` precedes fields in errors; a flag's text has no `lines`."""
    content, spots = _Decoder(source, lines=lines).value(root, table, prefix)
    return Draft(content if isinstance(content, dict) else {}, spots)


def option(field_name: str, value: str, source: str, prefix: Keys, table: dict[str, Any]) -> Draft:
    """Decode one value for a field such as `networking.ipFamily`, as it is typed in an option."""
    tag = _RESOLVER.resolve(yaml.ScalarNode, value, (True, False))
    node: Any = yaml.ScalarNode(_STRING if tag == _NULL else tag, value, _START)
    for key in reversed(field_name.split(".", 1)):
        node = yaml.MappingNode("", [(yaml.ScalarNode(_STRING, key, _START), node)], _START)
    return draft(node, source, prefix, table, lines=False)


class _Decoder:
    """Decodes composed nodes by the table."""

    def __init__(self, source: str, *, lines: bool) -> None:
        self.source = source
        self.lines = lines

    def place(self, node: Any) -> Place:
        if not self.lines:
            return Place(self.source)
        line = node.start_mark.line + 1
        return Place(self.source, line, line + 1 if isinstance(node, yaml.ScalarNode) and node.style == "|" else 0)

    def fail(self, node: Any, problem: str) -> NoReturn:
        raise UsageError(f"{self.place(node)}: {problem}")

    def value(self, node: Any, expected: Any, keys: Keys) -> tuple[Any, Spot]:
        spot = Spot(self.place(node))
        if _is_null(node):
            return None, spot  # "not given", as in kind
        if isinstance(expected, Scalar):
            value = self.scalar(node, expected, shown(*keys))
            return (None if expected.choices and not value else value), spot  # kind takes "" for none of the choices
        if isinstance(expected, list):
            return self.items(node, expected[0], keys, spot), spot
        return self.mapping(node, expected, keys, spot), spot

    def wrong_type(self, node: Any, name: str, expected: str) -> NoReturn:
        instead = "" if self.lines else "; threezone.cluster.overlay in invoke.yaml takes more than single values"
        self.fail(node, f"{name}: expected a {expected}{instead}")

    def items(self, node: Any, expected: Any, keys: Keys, spot: Spot) -> list[Any]:
        if not isinstance(node, yaml.SequenceNode):
            self.wrong_type(node, shown(*keys), "list")
        items = []
        for index, item in enumerate(node.value):
            value, spot.below[index] = self.value(item, expected, (*keys, index))
            items.append(({} if isinstance(expected, dict) else "") if value is None else value)
        return items

    def mapping(self, node: Any, expected: Any, keys: Keys, spot: Spot) -> dict[str, Any]:
        name = shown(*keys) or "the file"
        if not isinstance(node, yaml.MappingNode):
            self.wrong_type(node, name, "mapping")
        content: dict[str, Any] = {}
        for key, item in self.pairs(node, name):
            below = (*keys, key.value)
            inner: Any = expected.of if isinstance(expected, Names) else expected.get(key.value)
            if inner is None:
                self.fail(key, f"unknown field {shown(*below)}{_hint(key.value, expected)}")
            value, spot.below[key.value] = self.value(item, inner, below)
            if value is None and isinstance(expected, Names):
                if inner.of == "flag":
                    self.fail(item, f"{shown(*below)}: expected true or false, found nothing")
                value = ""
            if value is not None:
                content[key.value] = value
        return content

    def pairs(self, node: Any, name: str) -> list[tuple[Any, Any]]:
        """A mapping's pairs, with merge keys resolved. A duplicate key is refused, as by kind."""
        lines: dict[str, int] = {}
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                self.fail(key, f"{name}: expected a name before the colon")
            if key.tag != _MERGE and key.value in lines:
                self.fail(key, f"{key.value} is given twice (first in line {lines[key.value]}); expected once")
            lines[key.value] = key.start_mark.line + 1
        if any(key.tag == _MERGE for key, _ in node.value):
            try:
                safe_yaml.flatten(node)
            except yaml.YAMLError as error:
                self.fail(node, f"{name}: {getattr(error, 'problem', error)}")
        return list(node.value)

    def scalar(self, node: Any, expected: Scalar, name: str) -> Any:
        found, value = "a list or mapping", None
        if isinstance(node, yaml.ScalarNode):
            found, value = repr(node.value), {"text": _text, "number": _number, "flag": _flag}[expected.of](node)
        if value is None:
            self.fail(node, f"{name}: expected {expected.expected}, found {found}")
        if isinstance(value, str) and expected.any_case:
            value = value.upper()
        if expected.choices and value and value not in expected.choices:
            hint = suggestion(str(value), expected.choices)
            self.fail(node, f"{name}: expected {expected.expected}, found {found}{hint}")
        return value


def _hint(word: str, table: dict[str, Any]) -> str:
    """The end of the error for an unknown field: a suggestion, its right place, or the known fields."""
    elsewhere = list(parents(word))
    other = f"; it belongs to {' and '.join(elsewhere)}" if elsewhere else f"; known are {', '.join(table)}"
    return suggestion(word, table) or other


def _text(node: Any) -> str:
    return str(node.value)


def _number(node: Any) -> int | None:
    """A number as Go's decoder takes it for an int32: in any base, or a float without a fraction; never text."""
    text = node.value.replace("_", "")
    implicit = _RESOLVER.resolve(yaml.ScalarNode, node.value, (True, False))
    if node.tag == _STRING and (node.style or implicit != _STRING):
        return None
    try:
        number: float = int(text, 8 if re.fullmatch(r"[-+]?0[0-7]+", text) else 0)
    except ValueError:
        try:
            number = float(text)
        except ValueError:
            return None
    return int(number) if number == number // 1 and -_MAX_INT32 <= number < _MAX_INT32 else None


def _flag(node: Any) -> bool | None:
    """A flag as Go's decoder takes it: true and false plain, the other words of YAML 1.1 in quotes too."""
    word = node.value.lower() if node.value in (node.value.lower(), node.value.title(), node.value.upper()) else ""
    if word in _TRUE or word in _FALSE:
        return word in _TRUE
    return None if node.style in ("'", '"') or word not in ("true", "false") else word == "true"
