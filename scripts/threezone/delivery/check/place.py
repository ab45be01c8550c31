"""Where in the files something is: the line of an object or of its field, and of what is no YAML."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from threezone.core.files import READ_LIMIT
from threezone.delivery.check.findings import Finding
from threezone.delivery.check.flux_build import BATCH

NAMES = (".yaml", ".yml", ".json")
STEP = re.compile(r"[^.\[\]]+|\[[^\]]*\]")
KEYED = re.compile(r'\[(\w+)="?([^"\],]*)')  # an item of a list as the API server names it: [name="web"]
MENTIONED = re.compile(r"[\w.@+/-]+\.ya?ml")


def broken(root: Path, path: str, what: str, words: str) -> list[Finding]:
    """The findings about a Kustomization that cannot be rendered: each place that is no YAML, else Flux's `words`."""
    files = [*_files(root / path), *(root / path / name for name in MENTIONED.findall(words))]
    files += [root / name for name in MENTIONED.findall(words)]
    problems: dict[tuple[str, int], str] = {}
    for file in files:
        if file.is_file() and (found := _problem(file)):
            problems[str(file.relative_to(root)), found[0]] = found[1]
    fix = "correct the file"
    findings = [Finding("error", "yaml", what, text, fix, name, line) for (name, line), text in problems.items()]
    mentioned = next((file for file in files if file.name in words and file.is_file()), None)
    name = str(mentioned.relative_to(root)) if mentioned else path
    return findings or [Finding("error", "build", what, words.replace("\n", " "), "correct what it names", name)]


def _files(directory: Path) -> Iterator[Path]:
    for file in sorted(directory.rglob("*")):
        if file.suffix in NAMES and BATCH not in file.parts and file.is_file():
            yield file


def _problem(file: Path) -> tuple[int, str] | None:
    """The line and the words of the first place that is no YAML, or that has a key twice."""
    import yaml

    from threezone.core import safe_yaml

    try:
        for node in safe_yaml.compose_all(file.read_bytes()):
            if found := _repeated(node):
                return found
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
        words = " ".join(filter(None, (getattr(error, "context", None), getattr(error, "problem", None))))
        return (mark.line + 1 if mark else 0), f"it is not YAML: {words or error}"
    return None


def _repeated(node: Any) -> tuple[int, str] | None:
    queue = [node]
    while queue:
        each = queue.pop()
        pairs = each.value if each is not None and each.id == "mapping" else []
        seen: set[str] = set()
        for key, value in pairs:
            if isinstance(key.value, str):
                if key.value in seen and key.value != "<<":
                    return key.start_mark.line + 1, f"the key {key.value} is there twice"
                seen.add(key.value)
            queue.append(value)
        queue += each.value if each is not None and each.id == "sequence" else []
    return None


@dataclass
class Places:
    """Finds objects in the files below `root`. Each file is read once, and only when a finding asks for it."""

    root: Path
    _texts: dict[Path, bytes] | None = None
    _nodes: dict[Path, list[Any]] = field(default_factory=dict)

    def located(self, finding: Finding, path: str = "") -> Finding:
        """The finding with the file and the line of its object, or of a field of it, as far as they are found."""
        kind, _, rest = finding.object.partition(" ")
        if finding.file or not rest:
            return finding
        namespace, _, name = rest.rpartition("/")
        best: tuple[int, Path, int] | None = None
        for file, node in self._documents(name):
            score = _score(node, kind, namespace, name)
            if score and (best is None or score > best[0]):
                best = (score, file, _line(node, path))
        if best is None:
            return finding
        return replace(finding, file=str(best[1].relative_to(self.root)), line=best[2])

    def _documents(self, name: str) -> Iterator[tuple[Path, Any]]:
        if self._texts is None:
            files = [each for each in _files(self.root) if each.stat().st_size < READ_LIMIT]
            self._texts = {file: file.read_bytes() for file in files}
        for file, text in self._texts.items():
            if name.encode() in text:
                if file not in self._nodes:
                    self._nodes[file] = _composed(text)
                yield from ((file, node) for node in self._nodes[file])


def _composed(text: bytes) -> list[Any]:
    import yaml

    from threezone.core import safe_yaml

    try:
        return [node for node in safe_yaml.compose_all(text) if node is not None]
    except yaml.YAMLError:
        return []  # such as a template


def _child(node: Any, name: str) -> tuple[Any, Any] | None:
    if node is not None and node.id == "mapping":
        return next(((key, value) for key, value in node.value if key.value == name), None)
    return None


def _text(node: Any, *names: str) -> str:
    for name in names:
        found = _child(node, name)
        node = found[1] if found else None
    return str(node.value) if node is not None and node.id == "scalar" else ""


def _score(node: Any, kind: str, namespace: str, name: str) -> int:
    """How well a document fits: 0 not at all. kustomize may have set the namespace."""
    if _text(node, "kind") != kind or _text(node, "metadata", "name") != name:
        return 0
    own = _text(node, "metadata", "namespace")
    return 2 if own == namespace else 0 if own else 1


def _line(node: Any, path: str) -> int:
    """The line of a field, or of the nearest thing above it that is there."""
    line = int(node.start_mark.line) + 1
    for part in STEP.findall(path):
        found = _item(node, part) if part.startswith("[") else _child(node, part)
        if found is None:
            break
        key, node = found
        line = int(key.start_mark.line) + 1
    return line


def _item(node: Any, part: str) -> tuple[Any, Any] | None:
    """The item of a list that `[2]` or `[name="web"]` names."""
    items = node.value if node is not None and node.id == "sequence" else []
    if part[1:-1].isdecimal():
        return next(((each, each) for each in items[int(part[1:-1]) :]), None)
    keyed = KEYED.match(part)
    return next(((each, each) for each in items if keyed and _text(each, keyed[1]) == keyed[2]), None)
