"""The settings a team changes, typed: the section `threezone` of invoke.yaml in the project's root.

Every key has a default that works; an unknown key or a wrong type is refused with the key, what was expected and the
file. Environment variables do not change settings: a run is described by its command line and this file.
"""

from __future__ import annotations

import difflib
import re
from pathlib import Path
from typing import Any, Literal

import msgspec

from threezone.errors import UsageError

Channel = Literal["auto", "release", "source"]


class Cluster(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The declared cluster. `ready_timeout` in seconds; `config` relative to the project's root."""

    name: str = "kind"
    config: str = "local/kubernetes/kind.yaml"
    ready_timeout: int = 180


class GitOps(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What Flux reconciles: `path` in the commit, on `branch` of `repository` in the lab's Git server."""

    path: str = "local/gitops/clusters/local"
    branch: str = "main"
    repository: str = "lab"
    timeout: int = 180


class App(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The sample workload that `app.open` shows: a Service and its port in a namespace."""

    namespace: str = "hello"
    service: str = "hello"
    port: int = 80


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Everything. `channel` chooses where tools and images come from (auto: by reachability)."""

    channel: Channel = "auto"
    cluster: Cluster = msgspec.field(default_factory=Cluster)
    gitops: GitOps = msgspec.field(default_factory=GitOps)
    app: App = msgspec.field(default_factory=App)


def find_root(start: Path | None = None) -> Path:
    """The project's root: the nearest directory upwards with tasks.py (as invoke finds it), else `start` itself."""
    here = (start or Path.cwd()).resolve()
    for directory in (here, *here.parents):
        if (directory / "tasks.py").is_file():
            return directory
    return here


def cluster_name(name: str) -> str:
    """A valid cluster name, as kind wants it (pkg/cluster/internal/create, validNameRE). Raises UsageError."""
    if not re.fullmatch(r"[a-z0-9.-]{1,50}", name):
        raise UsageError(
            f"{name!r} is no cluster name: lower-case letters, digits, dots and dashes, at most 50 of them",
            fix="choose another name",
        )
    return name


def load(root: Path) -> Settings:
    """The settings of the project at `root`; defaults when it has no invoke.yaml. Raises UsageError."""
    path = root / "invoke.yaml"
    if not path.is_file():
        return Settings()
    import yaml

    try:
        document = yaml.load(path.read_text(encoding="utf-8"), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} is not valid YAML", evidence=str(error), fix=f"correct {path}") from None
    section = (document or {}).get("threezone") if isinstance(document, dict | None) else document
    return parse(section or {}, path)


def parse(section: Any, path: Path) -> Settings:
    """Settings from plain data. `path` is the file that an error names."""
    try:
        return msgspec.convert(section, Settings, strict=True)
    except msgspec.ValidationError as error:
        raise UsageError(f"{path}: {_sentence(str(error), section)}", fix=f"correct {path}") from None


def _sentence(problem: str, section: Any) -> str:
    """msgspec's message with the key as the file spells it, and a near miss where there is one."""
    place = re.search(r"`\$\.?([^`]*)`$", problem)
    prefix = ".".join(part for part in ("threezone", place.group(1) if place else "") if part)
    unknown = re.search(r"unknown field `([^`]+)`", problem)
    if unknown:
        key = unknown.group(1)
        known = _fields(place.group(1) if place else "")
        near = difflib.get_close_matches(key, known, 1)
        hint = f"did you mean {near[0]!r}?" if near else f"known keys: {', '.join(known)}"
        return f"unknown key {prefix}.{key}; {hint}"
    return f"{prefix}: {problem.split(' - at ')[0]}"


def _fields(place: str) -> list[str]:
    kind: Any = Settings
    for part in filter(None, place.split(".")):
        kind = {field.name: field.type for field in msgspec.structs.fields(kind)}[part]
    return [field.name for field in msgspec.structs.fields(kind)]
