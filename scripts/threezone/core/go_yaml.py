"""Read YAML as kubectl does.

kubectl reads a kubeconfig with sigs.k8s.io/yaml on go.yaml.in/yaml/v2: YAML 1.1 words (`on`, `y`), Go's number syntax
(`0o17` and `1_000` are numbers, `1e400` is a string), only the first document, keys turned into strings, a merge key
that overrides what stands above it. PyYAML differs on each of these, so its parser is used for the syntax only, and
nodes are decoded here as Go does (`decode.go` and `resolve.go` of that module).
"""

from __future__ import annotations

import base64
import binascii
import math
import re
import struct
from dataclasses import dataclass, field
from datetime import date
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_CORE = "tag:yaml.org,2002:"
_RESOLVED_TAGS = {_CORE + kind: kind for kind in ("bool", "int", "float", "null", "timestamp")}
_KINDS = ((bool, "bool"), (int, "int"), (float, "float"), (str, "str"))

_TRUTH = {"y": True, "yes": True, "true": True, "on": True, "n": False, "no": False, "false": False, "off": False}
_WORDS: dict[str, bool | float | None] = {"": None, "~": None}
for _word, _meaning in (*_TRUTH.items(), ("null", None)):
    _WORDS |= {_word: _meaning, _word.capitalize(): _meaning, _word.upper(): _meaning}
for _form in (".inf", ".Inf", ".INF"):
    _WORDS |= {_form: math.inf, "+" + _form: math.inf, "-" + _form: -math.inf}
_WORDS |= {".nan": math.nan, ".NaN": math.nan, ".NAN": math.nan}

_INTEGER = re.compile(r"([-+]?)(?:0[xX]([0-9a-fA-F]+)|0[bB]([01]+)|0[oO]?([0-7]+)|(0|[1-9][0-9]*))")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_CLOCK = r"([0-9]{1,2}):([0-9]{1,2}):([0-9]{1,2})(?:[.,][0-9]+)?"
_ZONE = r"(?:Z|[+-][0-9]{2}:[0-9]{2})"
_TIMESTAMPS = [
    re.compile(r"([0-9]{4})-([0-9]{1,2})-([0-9]{1,2})" + rest) for rest in ("", f"[Tt]{_CLOCK}{_ZONE}", f" {_CLOCK}")
]
_LONGEST = 20  # digits of a 64-bit number; int() is slow for long ones, and refuses very long ones
_ESCAPED_SLASH = re.compile(r"(?<!\\)(?:\\\\)*\\/")
_NOT_SPECIFIC = re.compile(r"(?:&\S+\s+)?!(?:\s|$)")  # the tag "!"
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
    if integer and len(integer[5] or "") <= _LONGEST:
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
        root, more = _Parser(text, safe_yaml.events(text)).document()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise Broken(str(error.problem or error.context), mark.line + 1 if mark else 0) from None
    except yaml.reader.ReaderError as error:
        line = text[: error.position].count(b"\n") + 1 if isinstance(error.position, int) else 0
        raise Broken(f"{error.reason} (byte {error.position})", line) from None
    decoder = _Decoder(safe_yaml.MAX_DEPTH)
    data = decoder.value(root) if root else None
    return data, decoder.lines, more


@dataclass(eq=False, slots=True)
class _Node:
    """A node as Go's parser makes it; `kind` is the name of PyYAML's event without its end."""

    kind: str
    line: int
    text: str = ""
    tag: str = ""
    is_plain: bool = False  # resolved by its look
    children: list[_Node] = field(default_factory=list)
    target: _Node | None = None  # of an alias

    @property
    def is_merge(self) -> bool:
        return self.kind == "Scalar" and self.text == "<<" and (self.is_plain or self.tag == _CORE + "merge")


class _Parser:
    """Turns PyYAML's events into nodes, and refuses what Go's parser does not accept."""

    def __init__(self, text: bytes, events: Iterator[Any]) -> None:
        self._events = events
        self._anchors: dict[str, _Node] = {}
        self._source = _decoded(text) if b"\\" in text or b"!" in text else ""

    def document(self) -> tuple[_Node | None, bool]:
        """The root of the first document, and whether more follow."""
        import yaml

        next(self._events)  # the stream's start
        start = next(self._events)  # or the document's
        if isinstance(start, yaml.StreamEndEvent):
            return None, False
        if start.version not in (None, (1, 1)):
            raise Broken("found incompatible YAML document", start.start_mark.line + 1)
        root = self._node(next(self._events))
        next(self._events)  # the document's end
        try:
            more = not isinstance(next(self._events), yaml.StreamEndEvent)
        except yaml.YAMLError:  # kubectl does not read beyond the first document
            more = True
        return root, more

    def _node(self, event: Any) -> _Node:
        kind = type(event).__name__.removesuffix("Event").removesuffix("Start")
        node = _Node(kind, event.start_mark.line + 1)
        if kind == "Alias":
            node.target = self._anchors.get(event.anchor)
            if node.target is None:
                raise Broken(f"unknown anchor {event.anchor!r} referenced", node.line)
            return node
        if event.anchor:  # known from here on, so that it may be set again below
            self._anchors[event.anchor] = node
        node.tag = event.tag or ""
        if kind == "Scalar":
            raw = self._source[event.start_mark.index : event.end_mark.index]
            if event.style == '"' and _ESCAPED_SLASH.search(raw):
                raise Broken(r"found unknown escape character: \/", node.line)
            if _NOT_SPECIFIC.match(raw):
                node.tag = "!"  # PyYAML's C parser drops it
            node.text, node.is_plain = event.value, event.implicit[0]
            return node
        for inner in self._events:
            if type(inner).__name__ == f"{kind}EndEvent":
                break
            node.children.append(self._node(inner))
        return node


def _decoded(text: bytes) -> str:
    """The text whose characters PyYAML counts; a byte order mark is none of them."""
    utf_16 = text.startswith((b"\xff\xfe", b"\xfe\xff"))
    return text.decode("utf-16" if utf_16 else "utf-8-sig", errors="replace")


class _Decoder:
    """Turns nodes into plain data. `lines` has the line of every mapping by its `id`."""

    def __init__(self, max_depth: int) -> None:
        self.lines: dict[int, int] = {}
        self._max_depth = max_depth
        self._depth = self._alias_depth = self._count = self._alias_count = 0
        self._open: set[int] = set()  # ids of the aliases that are being decoded
        self._line = 0  # of the outermost of them

    def value(self, node: _Node) -> Any:
        self._enter(node)
        value: Any
        if node.kind == "Alias":
            value = self._alias(node, self.value)
        elif node.kind == "Scalar":
            value = _scalar(node)
        elif node.kind == "Sequence":
            value = [self.value(item) for item in node.children]
        else:
            value = {}
            self._fill(node, value)
            self.lines[id(value)] = node.line
        self._depth -= 1
        return value

    def _enter(self, node: _Node) -> None:
        """Count a decoded node. Raises Broken where Go refuses to expand more aliases."""
        self._depth += 1
        self._count += 1
        self._alias_count += self._alias_depth > 0
        if self._depth > self._max_depth:
            raise Broken(f"nested too deeply (more than {self._max_depth} levels)", node.line)
        if self._alias_count > 100 and self._count > 1000:  # noqa: PLR2004 - Go's own numbers
            allowed = 0.99 - 0.89 * min(max((self._count - 400_000) / 3_600_000, 0), 1)
            if self._alias_count / self._count > allowed:
                raise Broken("document contains excessive aliasing", self._line)

    def _alias(self, node: _Node, decode: Callable[[_Node], Any]) -> Any:
        if id(node) in self._open or node.target is None:
            raise Broken("an anchor's value contains itself", node.line)
        if not self._open:
            self._line = node.line
        self._open.add(id(node))
        self._alias_depth += 1
        value = decode(node.target)
        self._alias_depth -= 1
        self._open.discard(id(node))
        return value

    def _fill(self, node: _Node, out: dict[str, Any]) -> None:
        """Set the pairs of a mapping in their order: a merge key overrides what stands above it."""
        for key, item in zip(node.children[::2], node.children[1::2], strict=True):
            if key.is_merge:
                self._merge(item, out, key.line)
            else:
                name = _key(self.value(key), key.line)
                out[name] = self.value(item)

    def _merge(self, item: _Node, out: dict[str, Any], line: int) -> None:
        parts = reversed(item.children) if item.kind == "Sequence" else [item]  # the first one wins
        for part in parts:
            if (part.target or part).kind != "Mapping":
                raise Broken("map merge requires map or sequence of maps as the value", line)
            self._into(part, out)

    def _into(self, part: _Node, out: dict[str, Any]) -> None:
        self._enter(part)
        if part.kind == "Alias":
            self._alias(part, lambda target: self._into(target, out))
        else:
            self._fill(part, out)
        self._depth -= 1


def _scalar(node: _Node) -> Any:
    if node.tag == _CORE + "binary":
        try:
            return base64.b64decode("".join(node.text.split()), validate=True).decode()
        except (binascii.Error, UnicodeDecodeError):
            raise Broken("!!binary value contains invalid base64 data", node.line) from None
    wanted = _RESOLVED_TAGS.get(node.tag)
    if not wanted and (node.tag or not node.is_plain):
        return node.text  # quoted, !!str, or an unknown tag
    value = resolve(node.text)
    if isinstance(value, float) and not math.isfinite(value):
        raise Broken(f"json: unsupported value: {node.text}", node.line)
    if not wanted:
        return value
    found = "null" if value is None else next(name for kind, name in _KINDS if isinstance(value, kind))
    if wanted == "timestamp" and _is_timestamp(node.text):
        return node.text
    if (wanted, found) == ("float", "int") and value < 2**63:
        return float(value)
    if wanted != found:
        raise Broken(f"cannot decode !!{found} as a !!{wanted}", node.line)
    return value


def _is_timestamp(text: str) -> bool:
    """Whether Go's decoder takes the text for a time (`parseTimestamp`)."""
    match = next(filter(None, (pattern.fullmatch(text) for pattern in _TIMESTAMPS)), None)
    if not match:
        return False
    year, month, day, *clock = map(int, match.groups())
    try:
        date(year or 4, month, day)  # Go knows a leap year 0, Python does not
    except ValueError:
        return False
    return all(part < limit for part, limit in zip(clock, (24, 60, 60), strict=False))


def _key(key: Any, line: int) -> str:
    """Return a key as text, as kubectl's reader does (sigs.k8s.io/yaml `convertToJSONableObject`)."""
    if isinstance(key, str):
        return key
    if isinstance(key, bool):
        return "true" if key else "false"
    if isinstance(key, int):
        return str(key)
    if isinstance(key, float):
        return _single(key)
    raise Broken(f"unsupported map key: {'null' if key is None else 'a list or a mapping'}", line)


def _single(number: float) -> str:
    """A number as Go's strconv.FormatFloat(number, 'g', -1, 32) writes it."""
    try:
        packed = struct.pack("f", number)
    except OverflowError:
        return ".inf" if number > 0 else "-.inf"
    (single,) = struct.unpack("f", packed)
    digits = next(digits for digits in range(9) if struct.pack("f", float(f"{single:.{digits}e}")) == packed)
    exponent = int(f"{single:.{digits}e}".partition("e")[2])
    fixed = -4 <= exponent < 6  # noqa: PLR2004 - Go's own numbers
    return f"{single:.{max(digits - exponent, 0)}f}" if fixed else f"{single:.{digits}e}"
