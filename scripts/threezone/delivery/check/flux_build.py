"""Render Kustomizations with `flux build`, as many as possible with one program."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from threezone.clients import flux
from threezone.clients.kubernetes.api import Json
from threezone.core.errors import CommandFailed, DeliveryError
from threezone.core.files import write_atomic
from threezone.delivery.check.model import OWNER, Key, clean_path, key_of, meta
from threezone.flux.objects import KUSTOMIZE

BATCH = ".threezone-check"  # our directory beside the files
MOST = 20  # variables without a value that are looked for
UNSET = re.compile(r"var substitution failed for '([^']*)'.*variable not set \(strict mode\): \"([^\"]*)\"")


@dataclass(frozen=True)
class Unset:
    """A variable without a value, and the name of the object that has it."""

    variable: str
    name: str


@dataclass(frozen=True)
class Flux:
    """The flux program, the directory with the files, and which sources mean that directory.

    `own` are the files of the directory that Flux writes over while it renders, with their content.
    """

    program: Path
    root: Path
    sources: Mapping[str, str]
    own: Mapping[Path, bytes]


class Endless(DeliveryError):
    """Flux did not end in time: Kustomizations may apply each other. The files are as they were before."""


def own_files(root: Path) -> dict[Path, bytes]:
    """The files that Flux writes over."""
    return {file: file.read_bytes() for file in root.rglob("*") if file.name in KUSTOMIZATIONS and file.is_file()}


Rendered = dict[Key, list[Json]]
KUSTOMIZATIONS = {"kustomization.yaml", "kustomization.yml", "Kustomization"}
SECONDS = 60.0  # for one run
PLAIN = {"null", "bool", "int", "float"}
Names = Mapping[Key, frozenset[str]]


@dataclass(frozen=True)
class Outcome:
    """The objects of each Kustomization, and the words about those that cannot be rendered.

    `complete` are those of which it is known that each of their variables has a value.
    """

    objects: Rendered
    words: Mapping[Key, str] = field(default_factory=dict)
    complete: frozenset[Key] = frozenset()


def render(tool: Flux, wanted: Sequence[Json], *, together: bool = True, strict: bool = False) -> Outcome:
    """Render Kustomizations and their descendants, as these are in the files.

    One that cannot be rendered is looked for by halving. Unless they are rendered `together`, descendants are not. With
    `strict`, one run tells of all that no variable lacks a value, if that is so. Raises Endless.
    """
    if not wanted:
        return Outcome({})
    if together and strict and not isinstance(done := _run(tool, wanted, strict=True), str):
        return Outcome(done, complete=frozenset(done))
    if together and not isinstance(done := _run(tool, wanted), str):
        return Outcome(done)
    if len(wanted) > 1:
        middle = len(wanted) // 2
        first, second = (render(tool, part, together=together) for part in (wanted[:middle], wanted[middle:]))
        return Outcome(first.objects | second.objects, {**first.words, **second.words})
    key, alone = key_of(wanted[0]), _alone(tool, wanted[0])  # one of its descendants may be the wrong one
    return Outcome({}, {key: alone}) if isinstance(alone, str) else Outcome({key: alone})


def unset(tool: Flux, parents: Sequence[Json], leaves: Sequence[Json], names: Names) -> dict[Key, list[Unset]]:
    """The variables without a value, by Kustomization; of `leaves`, which apply no others, the first MOST.

    `names` are those of the objects of each Kustomization.
    """
    found: dict[Key, list[Unset]] = {}
    given = {key_of(each): each for each in leaves}
    while given and sum(map(len, found.values())) < MOST:
        words = _run(tool, list(given.values()), strict=True)
        if not isinstance(words, str) or not (match := UNSET.search(words)):
            break  # Flux names one at a time
        for key in [key for key in given if match[1] in names[key]]:
            found.setdefault(key, []).append(Unset(match[2], match[1]))
            given[key] = _with_value(given[key], match[2])
    for parent in parents:
        each = parent
        while isinstance(alone := _alone(tool, each, strict=True), str) and (match := UNSET.search(alone)):
            found.setdefault(key_of(each), []).append(Unset(match[2], match[1]))
            each = _with_value(each, match[2])
    return found


def _with_value(kustomization: Json, variable: str) -> Json:
    spec = kustomization["spec"]
    post = dict(spec.get("postBuild") or {})
    values = {**(post.get("substitute") or {}), variable: ""}
    return {**kustomization, "spec": {**spec, "postBuild": {**post, "substitute": values}}}


def _run(tool: Flux, wanted: Sequence[Json], *, strict: bool = False) -> Rendered | str:
    """All in one run, by a Kustomization of ours that applies them; Flux's words when one cannot be rendered."""
    namespace = str(meta(wanted[0]).get("namespace"))
    directory = f"{BATCH}/all"
    _write(tool.root / directory / "kustomization.yaml", {"resources": ["objects.yaml"]})
    _write(tool.root / directory / "objects.yaml", *wanted)
    file = f"{BATCH}/all.yaml"
    _write(tool.root / file, _kustomization(BATCH.strip("."), namespace, directory))
    text = _build(tool, Key(namespace, BATCH.strip(".")), directory, file, strict=strict)
    if not text.ok:
        return text.words
    found: Rendered = {key_of(each): [] for each in wanted}
    for item in parse(text.words):
        labels = meta(item).get("labels") or {}
        found.setdefault(Key(*(str(labels.get(name)) for name in OWNER)), []).append(item)
    found.pop(Key(namespace, BATCH.strip(".")), None)
    return found


def _alone(tool: Flux, kustomization: Json, *, strict: bool = False) -> list[Json] | str:
    """The objects of one Kustomization, without its descendants; Flux's words when it cannot be rendered."""
    key = key_of(kustomization)
    file = f"{BATCH}/alone.yaml"
    _write(tool.root / file, kustomization)
    path = clean_path(kustomization["spec"].get("path")) or "."
    text = _build(tool, key, path, file, strict=strict, recursive=False)
    return parse(text.words) if text.ok else text.words


@dataclass(frozen=True)
class _Answer:
    ok: bool
    words: str


def _build(tool: Flux, key: Key, path: str, file: str, *, strict: bool, recursive: bool = True) -> _Answer:
    try:
        done = flux.build(
            tool.program, tool.root, key.name, key.namespace, path=f"./{path}", file=file, sources=tool.sources,
            strict=strict, recursive=recursive, seconds=SECONDS,
        )  # fmt: skip
    except CommandFailed:  # late
        for changed in own_files(tool.root).keys() - tool.own.keys():
            changed.unlink()
        for original, content in tool.own.items():
            write_atomic(original, content)
        raise Endless(
            f"flux build has not ended within {SECONDS:.0f} s", fix="see whether Kustomizations apply each other"
        ) from None
    if done.exit_code == 0:
        return _Answer(ok=True, words=done.stdout)
    words = "\n".join(line for line in done.stderr.splitlines() if line.strip()).removeprefix("✗ ")
    return _Answer(ok=False, words=words.replace(f"{tool.root}/", "").replace(" <nil>", ""))


def _kustomization(name: str, namespace: str, path: str) -> Json:
    return {
        "apiVersion": f"{KUSTOMIZE}/v1",
        "kind": "Kustomization",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"path": path, "prune": True, "interval": "1m", "sourceRef": {"kind": "GitRepository", "name": name}},
    }


def _write(path: Path, *documents: Json) -> None:
    write_atomic(path, "\n---\n".join(json.dumps(each) for each in documents))


def parse(text: str) -> list[Json]:
    """The objects of manifests as `flux build` prints them. Raises DeliveryError.

    Plain words are JSON's kinds or text: Kubernetes has no dates, and Go writes `=` and `<<` as they are.
    """
    import yaml

    from threezone.core import safe_yaml

    class Loader(safe_yaml.C_LOADER):  # type: ignore[misc]
        """Reads the kinds of values that JSON has."""

    Loader.yaml_implicit_resolvers = {
        first: [(tag, regexp) for tag, regexp in resolvers if tag.rpartition(":")[2] in PLAIN]
        for first, resolvers in safe_yaml.C_LOADER.yaml_implicit_resolvers.items()
    }
    try:
        return [each for each in yaml.load_all(text, Loader) if each]
    except yaml.YAMLError as error:
        raise DeliveryError("the answer of flux build is not YAML", evidence=str(error)) from None
