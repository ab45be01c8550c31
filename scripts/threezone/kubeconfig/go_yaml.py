"""Read YAML as kubectl does, and write YAML that all readers understand in the same way.

kubectl reads a kubeconfig with sigs.k8s.io/yaml on go.yaml.in/yaml/v2: YAML 1.1 words (`on`, `y`), Go's number syntax
(`0o17` and `1_000` are numbers, `1e400` is a string), only the first document, keys turned into strings. PyYAML differs
on each of these, so its parser is used for the syntax only, and scalars are resolved here as Go does (`resolve.go` of
that module). Every string that YAML 1.1, YAML 1.2 and Go may read differently is written with quotes.
"""

from __future__ import annotations

import base64
import binascii
import math
import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

_CORE = "tag:yaml.org,2002:"
_RESOLVED_TAGS = {_CORE + kind for kind in ("bool", "int", "float", "null", "timestamp")}

_TRUTH = {"y": True, "yes": True, "true": True, "on": True, "n": False, "no": False, "false": False, "off": False}
_WORDS: dict[str, bool | float | None] = {"": None, "~": None}
for _word, _meaning in (*_TRUTH.items(), ("null", None)):
    _WORDS |= {_word: _meaning, _word.capitalize(): _meaning, _word.upper(): _meaning}
for _form in (".inf", ".Inf", ".INF"):
    _WORDS |= {_form: math.inf, "+" + _form: math.inf, "-" + _form: -math.inf}
_WORDS |= {".nan": math.nan, ".NaN": math.nan, ".NAN": math.nan}

_INTEGER = re.compile(r"([-+]?)(?:0[xX]([0-9a-fA-F]+)|0[bB]([01]+)|0[oO]?([0-7]+)|(0|[1-9][0-9]*))")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_HINTS = frozenset("+-0123456789yYnNtTfFoO~.")


class Broken(Exception):
    """The text is not YAML that kubectl can read. `line` counts from 1; 0 when unknown."""

    def __init__(self, problem: str, line: int = 0) -> None:
        super().__init__(problem)
        self.problem = problem
        self.line = line


def resolve(plain: str) -> Any:
    """Return the value of an unquoted scalar as kubectl reads it: str, int, float, bool or None."""
    if plain and plain[0] not in _HINTS:
        return plain
    if plain in _WORDS:
        return _WORDS[plain]
    if plain[0] not in "+-.0123456789":
        return plain
    digits = plain if plain[0] == "." else plain.replace("_", "")
    integer = _INTEGER.fullmatch(digits)
    if integer:
        sign, *numerals = integer.groups()
        value = next(int(text, base) for text, base in zip(numerals, (16, 2, 8, 10), strict=True) if text)
        value = -value if sign == "-" else value
        # With a plus sign it is not a uint64 in Go: strconv.ParseUint takes no sign.
        if -(2**63) <= value < (2**63 if sign else 2**64):
            return value
    if _FLOAT.fullmatch(digits):
        number = float(digits)
        if math.isfinite(number):  # strconv.ParseFloat fails out of range, so Go reads a string
            return number
    return plain


def load(text: bytes) -> tuple[Any, dict[int, int], bool]:
    """Return the first document as plain data, the line of every mapping by its `id`, and whether more follow.

    Raises Broken.
    """
    import yaml

    from threezone.core import safe_yaml

    try:
        return _Reader(safe_yaml.events(text)).document()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise Broken(str(error.problem or error.context), mark.line + 1 if mark else 0) from None
    except yaml.reader.ReaderError as error:
        line = text[: error.position].count(b"\n") + 1 if isinstance(error.position, int) else 0
        raise Broken(f"{error.reason} (byte {error.position})", line) from None


class _Reader:
    """Turns PyYAML's events into plain data."""

    def __init__(self, events: Iterator[Any]) -> None:
        self._events = events
        self._anchors: dict[str, Any] = {}
        self._lines: dict[int, int] = {}

    def document(self) -> tuple[Any, dict[int, int], bool]:
        import yaml

        next(self._events)  # the stream's start
        if isinstance(next(self._events), yaml.StreamEndEvent):  # or the document's start
            return None, self._lines, False
        data = self._node(next(self._events))
        next(self._events)  # the document's end
        try:
            more = not isinstance(next(self._events), yaml.StreamEndEvent)
        except yaml.YAMLError:  # kubectl does not read beyond the first document
            more = True
        return data, self._lines, more

    def _node(self, event: Any) -> Any:
        kind = type(event).__name__
        line = event.start_mark.line + 1
        if kind == "AliasEvent":
            # An anchor is recorded when its node is complete, so an alias cannot refer to a node that contains it.
            if event.anchor not in self._anchors:
                raise Broken(f"unknown anchor {event.anchor!r}, or one that contains itself", line)
            return self._anchors[event.anchor]
        value: Any
        if kind == "ScalarEvent":
            value = _scalar(event, line)
        elif kind == "SequenceStartEvent":
            value = [self._node(item) for item in self._until("SequenceEndEvent")]
        else:
            value = self._mapping(line)
        if event.anchor:
            self._anchors[event.anchor] = value
        return value

    def _until(self, end: str) -> Iterator[Any]:
        for event in self._events:
            if type(event).__name__ == end:
                return
            yield event

    def _mapping(self, line: int) -> dict[str, Any]:
        own: dict[str, Any] = {}
        merged: dict[str, Any] = {}
        for event in self._until("MappingEndEvent"):
            here = event.start_mark.line + 1
            is_merge = getattr(event, "value", "") == "<<" and event.implicit[0]
            key = self._node(event)
            value = self._node(next(self._events))
            if is_merge:
                for part in value if isinstance(value, list) else [value]:
                    if not isinstance(part, dict):
                        raise Broken("map merge requires map or sequence of maps as the value", here)
                    merged = {**part, **merged}
                continue
            own[_key(key, here)] = value
        data = {**merged, **own} if merged else own
        self._lines[id(data)] = line
        return data


def _scalar(event: Any, line: int) -> Any:
    if event.implicit[0] or event.tag in _RESOLVED_TAGS:
        value = resolve(event.value)
        if isinstance(value, float) and not math.isfinite(value):
            raise Broken(f"json: unsupported value: {event.value}", line)
        return value
    if event.tag == _CORE + "binary":
        try:
            return base64.b64decode("".join(event.value.split()), validate=True).decode()
        except (binascii.Error, UnicodeDecodeError):
            raise Broken("!!binary value contains invalid base64 data", line) from None
    return str(event.value)  # quoted, !!str, or an unknown tag


def _key(key: Any, line: int) -> str:
    """Return a key as text, as kubectl's reader does (sigs.k8s.io/yaml `convertToJSONableObject`)."""
    if isinstance(key, str):
        return key
    if isinstance(key, bool):
        return "true" if key else "false"
    if isinstance(key, int):
        return str(key)
    if isinstance(key, float):  # Go would write it with a precision of 32 bits
        raise Broken(f"the number {key} as a key: quote it", line)
    raise Broken(f"unsupported map key: {'null' if key is None else 'a list or a mapping'}", line)


# Written without quotes: starts with a letter, has no special character, and is no word of YAML 1.1 or 1.2.
_PLAIN = re.compile(r"[A-Za-z][A-Za-z0-9+/=_.@:-]*(?<!:)")
_RESERVED = frozenset(["y", "yes", "true", "on", "n", "no", "false", "off", "null", "nan", "inf", "infinity"])
_WIDTH = 2**31 - 1  # no string is broken into lines


def dump(data: Any) -> bytes:
    """Return `data` (dict, list, str, int, float, bool, None) as block YAML, UTF-8."""
    import yaml

    base: Any = getattr(yaml, "CSafeDumper", yaml.SafeDumper)

    class Dumper(base):  # type: ignore[misc]
        def ignore_aliases(self, _: object) -> bool:
            return True  # write repeated objects in full: not every reader knows aliases

    def text(dumper: Any, value: str) -> Any:
        is_plain = _PLAIN.fullmatch(value) and value.lower() not in _RESERVED
        return dumper.represent_scalar(_CORE + "str", value, style=None if is_plain else '"')

    Dumper.add_representer(str, text)
    written = yaml.dump(
        data,
        Dumper=Dumper,
        encoding="utf-8",
        allow_unicode=True,
        default_flow_style=False,
        sort_keys=False,
        width=_WIDTH,
    )
    return bytes(written)
