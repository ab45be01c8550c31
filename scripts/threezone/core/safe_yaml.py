"""Read YAML files of users in the same way with every version of PyYAML.

PyYAML 6.0.3 does not limit nesting: its C parser crashes on 100,000 levels. 6.0.4 limits it in its scanner only, and
its last mapping of `<<: [*a, *b]` wins; in earlier versions, and in Go, the first one wins.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import Any

import yaml

MAX_DEPTH = 200  # far below Python's limit for recursion
TOO_DEEP = f"nested too deeply (more than {MAX_DEPTH} levels)"
C_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_MERGE = "tag:yaml.org,2002:merge"


def flatten(node: Any) -> None:
    """Resolve the merge keys of a mapping node: its own keys win, then the first mapping of a list."""
    own: list[tuple[Any, Any]] = []
    merged: dict[int, tuple[Any, Any]] = {}  # by the key node's id: aliases of aliases do not multiply
    for key, value in node.value:
        if key.tag != _MERGE:
            own.append((key, value))
            continue
        for part in reversed(value.value if isinstance(value, yaml.SequenceNode) else [value]):
            if not isinstance(part, yaml.MappingNode):
                problem = f"expected a mapping or list of mappings for merging, but found {part.id}"
                raise yaml.constructor.ConstructorError(None, None, problem, part.start_mark)
            flatten(part)
            for pair in part.value:
                merged.pop(id(pair[0]), None)
                merged[id(pair[0])] = pair
    node.value = [*merged.values(), *own]


class Loader(C_LOADER):  # type: ignore[misc]
    """PyYAML's safe loader, with its C parser if available."""

    def flatten_mapping(self, node: Any) -> None:
        """Resolve merge keys as `flatten` does."""
        flatten(node)


def events(text: str | bytes) -> Iterator[Any]:
    """The parser's events. Raises yaml.YAMLError, also for too much nesting."""
    depth = 0
    try:
        for event in yaml.parse(text, Loader=C_LOADER):
            depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
            if depth > MAX_DEPTH:
                raise yaml.parser.ParserError(None, None, TOO_DEEP, event.start_mark)  # type: ignore[arg-type]
            yield event
    except yaml.scanner.ScannerError as error:
        if "nesting depth" not in str(error.problem):  # the scanner of 6.0.4 reads ahead
            raise
        raise yaml.parser.ParserError(None, None, TOO_DEEP, error.problem_mark) from None


def compose_all(text: str | bytes) -> list[Any]:
    """Each document's root node, None for an empty document. Raises yaml.YAMLError."""
    deque(events(text), maxlen=0)
    return list(yaml.compose_all(text, Loader=C_LOADER))


def load_all(text: str | bytes) -> list[Any]:
    """Each document as plain data. Raises yaml.YAMLError, also for a number or a date that Python cannot represent."""
    deque(events(text), maxlen=0)
    try:
        return list(yaml.load_all(text, Loader=Loader))
    except ValueError as error:
        raise yaml.YAMLError(str(error)) from None


def load(text: str | bytes) -> Any:
    """The document as plain data, None without one. Raises yaml.YAMLError, also for several documents."""
    documents = load_all(text)
    if len(documents) > 1:
        raise yaml.YAMLError("expected a single document, found more")
    return documents[0] if documents else None
