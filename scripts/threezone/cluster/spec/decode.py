"""kind's file as data whose every value knows where it stands: read by the table of fields, refused with its line.

Values become what kind's own decoder makes of them (go.yaml.in/yaml/v3 into typed fields): `1` is text where text is
wanted, `yes` is true where a flag is. PyYAML's C scanner is the one that Go's was translated from.
"""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass
from typing import Any, NoReturn

import yaml

from threezone.cluster.spec.schema import CLUSTER, Names, Scalar, homes
from threezone.core import safe_yaml
from threezone.core.errors import UsageError

_NULL = "tag:yaml.org,2002:null"
_STRING = "tag:yaml.org,2002:str"
_MERGE = "tag:yaml.org,2002:merge"
_TRUE, _FALSE = frozenset(("y", "yes", "on")), frozenset(("n", "no", "off"))
_MAX_INT32 = 2**31
_RESOLVER: Any = yaml.resolver.Resolver()


@dataclass(frozen=True)
class Place:
    """Where something stands: a file with a line, or a flag. `text` is the line where a block of text (`|`) begins."""

    source: str
    line: int = 0
    text: int = 0

    def __str__(self) -> str:
        return f"{self.source}:{self.line}" if self.line else self.source

    def within(self, line: int) -> Place:
        """The place of a line (from 0) of the text that stands here."""
        return Place(self.source, self.text + line) if self.text else self


@dataclass
class Spot:
    """The place of a value, and those of what is below it, in the shape of the data."""

    place: Place
    below: dict[str, Spot] | list[Spot] | None = None

    def at(self, *keys: str | int) -> Place:
        """The place of what stands under these keys, or of the nearest thing above it."""
        spot = self
        for key in keys:
            try:
                spot = spot.below[key]  # type: ignore[index]
            except (KeyError, IndexError, TypeError):
                break
        return spot.place


@dataclass
class Draft:
    """A cluster in the making: its content as data, and where each value of it stands."""

    content: dict[str, Any]
    spots: Spot


def shown(*keys: str | int) -> str:
    """Keys as one writes a field: `nodes[0].role`."""
    return "".join(f"[{key}]" if isinstance(key, int) else f".{key}" for key in keys).lstrip(".")


def near(word: str, known: Any) -> str:
    """The known word that was probably meant, or ""."""
    by_case = {each.lower(): each for each in known}
    found = difflib.get_close_matches(word.lower(), by_case, 1, 0.6)
    return by_case[found[0]] if found else ""


def compose(text: str, source: str, first: int = 1) -> Any:
    """The one YAML document in `text` as nodes, None when it is empty. `first` is the line where the text begins."""
    try:
        documents = safe_yaml.compose_all(text)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = mark.line if mark else 0
        problem = str(getattr(error, "problem", None) or error)
        lines = text.splitlines()
        if line < len(lines) and "\t" in lines[line][: len(lines[line]) - len(lines[line].lstrip())]:
            problem = "the line is indented with a tab; YAML wants spaces"
        raise UsageError(f"{Place(source, first + line)}: not valid YAML: {problem}") from None
    empty = [each is None or (isinstance(each, yaml.ScalarNode) and each.tag == _NULL) for each in documents]
    for document, nothing in zip(documents[1:], empty[1:], strict=True):
        if not nothing:
            place = Place(source, first + document.start_mark.line)
            raise UsageError(f"{place}: a second document begins here; expected one, for kind reads only the first")
    return documents[0] if documents and not empty[0] else None


def read(text: str, source: str) -> Draft:
    """A cluster file's text as a draft. Raises UsageError for the first thing that kind would not know."""
    root = compose(text.removeprefix("\ufeff"), source)
    if root is None:
        raise UsageError(f"{source}:1: the file is empty; expected kind: Cluster")
    return draft(root, source)


def draft(root: Any, source: str, prefix: tuple[str, ...] = (), *, lines: bool = True) -> Draft:
    """Composed nodes as a draft. `prefix` stands before fields in errors; a flag's text has no `lines`."""
    content, spots = _Reader(source, lines=lines).value(root, CLUSTER, prefix)
    return Draft(content if isinstance(content, dict) else {}, spots)


class _Reader:
    """Holds composed nodes against the table, and makes data of them."""

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

    def value(self, node: Any, expected: Any, keys: tuple[str | int, ...]) -> tuple[Any, Spot]:
        spot = Spot(self.place(node))
        if isinstance(node, yaml.ScalarNode) and node.tag == _NULL:
            return None, spot  # "not given", as in kind
        if isinstance(expected, Scalar):
            value = _scalar(node, expected, shown(*keys), spot.place)
            return (None if expected.choices and not value else value), spot  # where kind knows a few words, "" is none
        if isinstance(expected, list):
            return self.items(node, expected[0], keys, spot)
        return self.mapping(node, expected, keys, spot)

    def items(self, node: Any, expected: Any, keys: tuple[str | int, ...], spot: Spot) -> tuple[list[Any], Spot]:
        if not isinstance(node, yaml.SequenceNode):
            self.fail(node, f"{shown(*keys)}: expected a list")
        made = [self.value(item, expected, (*keys, index)) for index, item in enumerate(node.value)]
        spot.below = [each for _, each in made]
        empty: Any = {} if isinstance(expected, dict) else ""
        return [empty if value is None else value for value, _ in made], spot

    def mapping(self, node: Any, expected: Any, keys: tuple[str | int, ...], spot: Spot) -> tuple[dict[str, Any], Spot]:
        name = shown(*keys) or "the file"
        if not isinstance(node, yaml.MappingNode):
            self.fail(node, f"{name}: expected a mapping")
        content: dict[str, Any] = {}
        spot.below = {}
        for key, item in self.pairs(node, name):
            below = (*keys, key.value)
            inner: Any = expected.of if isinstance(expected, Names) else expected.get(key.value)
            if inner is None:
                self.fail(key, f"unknown field {shown(*below)}{hint(key.value, expected)}")
            value, spot.below[key.value] = self.value(item, inner, below)
            if value is None and isinstance(expected, Names):
                if inner.of == "flag":
                    self.fail(item, f"{shown(*below)}: expected true or false, found nothing")
                value = ""
            if value is not None:
                content[key.value] = value
        return content, spot

    def pairs(self, node: Any, name: str) -> list[tuple[Any, Any]]:
        """A mapping's pairs, merge keys resolved. kind refuses a key that stands twice."""
        seen: dict[str, int] = {}
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                self.fail(key, f"{name}: expected a name before the colon")
            if key.tag != _MERGE and key.value in seen:
                first = f" (first in line {seen[key.value]})" if self.lines else ""
                self.fail(key, f"{key.value} is given twice{first}; expected once")
            seen[key.value] = key.start_mark.line + 1
        if any(key.tag == _MERGE for key, _ in node.value):
            try:
                safe_yaml.flatten(node)
            except yaml.YAMLError as error:
                self.fail(node, f"{name}: {getattr(error, 'problem', error)}")
        return list(node.value)


def scalar(text: str, expected: Scalar, name: str, place: Place) -> Any:
    """One value as it is typed after an equals sign. Raises UsageError with `place` for one that does not fit."""
    return _scalar(_only(text) if expected.of != "text" else None, expected, name, place, text)


def _only(text: str) -> Any:
    return next(iter(safe_yaml.compose_all(text)), None)


def _scalar(node: Any, expected: Scalar, name: str, place: Place, text: str = "") -> Any:
    """A scalar node's value; without a node `text` itself."""
    if node is None:
        node = yaml.ScalarNode(_STRING, text)
    found = repr(node.value) if isinstance(node, yaml.ScalarNode) else "a list or mapping"
    value: Any = None
    if isinstance(node, yaml.ScalarNode):
        value = {"text": _text, "number": _number, "flag": _flag}[expected.of](node)
    if value is None:
        raise UsageError(f"{place}: {name}: expected {expected.expected}, found {found}")
    if expected.choices and value:
        value = value.upper() if expected.any_case else value
        if value not in expected.choices:
            meant = near(value, expected.choices)
            told = f"; did you mean {meant}?" if meant else ""
            raise UsageError(f"{place}: {name}: expected {expected.expected}, found {found}{told}")
    return value


def hint(word: str, table: dict[str, Any]) -> str:
    """What an error adds for a field that is not in this table: what was meant, where it belongs, or what is known."""
    if meant := near(word, table):
        return f"; did you mean {meant}?"
    if elsewhere := list(homes(word)):
        return f"; it belongs to {' and '.join(elsewhere)}"
    return f"; known are {', '.join(table)}"


def _text(node: Any) -> str:
    return str(node.value)


def _number(node: Any) -> int | None:
    """A number as Go's decoder takes it for an int32: in any base, or a float without a fraction; never text."""
    text = node.value.replace("_", "")
    implicit = _RESOLVER.resolve(yaml.ScalarNode, node.value, (True, False))
    if node.tag == _STRING and (node.style or implicit != _STRING):
        return None
    if re.fullmatch(r"[-+]?0[0-7]+", text):
        number: float = int(text, 8)
    else:
        try:
            number = int(text, 0)
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
