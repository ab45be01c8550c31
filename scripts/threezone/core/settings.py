"""A team's settings: the section `threezone` of invoke.yaml in the project's root.

Every key has a default. An unknown key or a wrong type is an error that names the key, the expected value and the file.
Environment variables do not change settings.
"""

from __future__ import annotations

import difflib
import functools
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
import msgspec.inspect
import msgspec.structs

from threezone.core import names, versions
from threezone.core.errors import UsageError

RUN = "./run invoke"  # as messages in the code name it
Channel = Literal["auto", "release", "source"]
Published = Literal["loopback", "gateway"]
Seconds = Annotated[int, msgspec.Meta(ge=1)]
Port = Annotated[int, msgspec.Meta(ge=1, le=65535)]
Count = Annotated[int, msgspec.Meta(ge=0)]


@dataclass(frozen=True)
class Option:
    """A field as an option of tasks: its flag without the dashes, its help text, its place in kind's own file."""

    flag: str
    help: str
    place: str = ""


def option(text: str, flag: str = "", place: str = "") -> msgspec.Meta:
    """Declare a field as an option. Its flag is the field's name by default."""
    return msgspec.Meta(description=text, extra={"flag": flag, "place": place})


def options(struct: type[msgspec.Struct]) -> dict[str, Option]:
    """The options that a struct declares, by their fields."""
    declared = {}
    for field in msgspec.structs.fields(struct):
        meta = next(meta for meta in reversed(field.type.__metadata__) if meta.extra)
        flag = meta.extra["flag"] or field.name.replace("_", "-")
        declared[field.name] = Option(flag, meta.description, meta.extra["place"])
    return declared


class ClusterOptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Changes to the declared cluster, as settings and as options of up, cluster.create and cluster.plan.

    A new field here is a new option and a new key of `threezone.cluster`. Empty values leave the file as it is.
    """

    config: Annotated[str, option("kind's own file (default: threezone.cluster.config in invoke.yaml)")] = ""
    kubernetes: Annotated[
        str,
        msgspec.Meta(pattern=rf"^({versions.KUBERNETES})?\Z"),
        option("the Kubernetes version of the nodes, such as 1.35 or 1.35.0", place="nodes[].image"),
    ] = ""
    control_planes: Annotated[Count, option("how many control planes; 0: those of the file", place="nodes")] = 0
    workers: Annotated[Count, option("how many workers; 0: those of the file", place="nodes")] = 0
    ports: Annotated[
        tuple[str, ...],
        option(
            "HOST:NODE, published on loopback, such as 8080:30080 or 5353:30053/udp; repeatable",
            flag="port",
            place="nodes[].extraPortMappings",
        ),
    ] = ()
    mounts: Annotated[
        tuple[str, ...],
        option(
            "HOST:NODE[:ro], two paths, mounted into every node; repeatable", flag="mount", place="nodes[].extraMounts"
        ),
    ] = ()
    feature_gates: Annotated[
        tuple[str, ...],
        option(
            "a feature gate of Kubernetes, such as AllAlpha=true; repeatable", flag="feature-gate", place="featureGates"
        ),
    ] = ()
    sets: Annotated[
        tuple[str, ...],
        option("any single value of kind's file, such as networking.ipFamily=ipv6; repeatable", flag="set"),
    ] = ()


class Cluster(ClusterOptions, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The declared cluster: `config`, relative to the project's root, changed by the other options and `overlay`.

    `overlay` is a part of kind's own configuration; `api` says where the API server is published.
    """

    name: str = "kind"
    config: str = "local/kubernetes/kind.yaml"
    overlay: dict[str, Any] = {}
    api: Published = "loopback"
    ready_timeout: Seconds = 180
    lease_timeout: Seconds = 600


class GitOps(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What Flux reconciles: `path` in the commit, on `branch` of `repository` in the lab's Git server, or of `url`.

    `credentials` is the file with the credentials for `url`, `known_hosts` the file with its host's SSH keys; both may
    begin with `~` and are relative to the project's root.
    """

    path: str = "local/gitops/clusters/local"
    branch: str = "main"
    repository: str = "lab"
    url: str = ""
    credentials: str = ""
    known_hosts: str = "~/.ssh/known_hosts"
    timeout: Seconds = 180


class Registry(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The local registry: its container, its port on 127.0.0.1, and the public registries that it mirrors."""

    name: Annotated[str, msgspec.Meta(pattern=r"^[a-z0-9][a-z0-9-]{0,40}\Z")] = "threezone-registry"
    port: Port = 5001
    mirrors: tuple[Annotated[str, msgspec.Meta(pattern=r"^[a-z0-9.-]+\.[a-z]+(:[0-9]+)?\Z")], ...] = ()


class Network(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The network of a company that intercepts TLS with its own authority.

    `ca` is a PEM file with that authority's certificates; it may begin with `~` and is relative to the project's root.
    `system` means the authorities that this machine trusts besides the public ones.
    """

    ca: str = ""


class Flux(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Flux in the lab. `version` is a pinned one, "2.9" (its newest patch) or "2.9.5"; "" is the project's own."""

    version: Annotated[str, msgspec.Meta(pattern=rf"^({versions.FLUX})?\Z")] = ""


class App(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The sample workload that `app.open` shows: a Service and its port in a namespace."""

    namespace: str = "hello"
    service: str = "hello"
    port: Port = 80


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """All settings. `channel` is the source of tools and images; `auto` chooses by reachability."""

    channel: Channel = "auto"
    cluster: Cluster = msgspec.field(default_factory=Cluster)
    gitops: GitOps = msgspec.field(default_factory=GitOps)
    app: App = msgspec.field(default_factory=App)
    registry: Registry = msgspec.field(default_factory=Registry)
    network: Network = msgspec.field(default_factory=Network)
    flux: Flux = msgspec.field(default_factory=Flux)


def find_root(start: Path | None = None) -> Path:
    """The project's root: the nearest parent directory with tasks.py, as invoke finds it, else `start` itself."""
    here = (start or Path.cwd()).resolve()
    for directory in (here, *here.parents):
        if (directory / "tasks.py").is_file():
            return directory
    return here


def launcher(root: Path) -> str:
    """How tasks of the project at `root` are started: a project that installed threezone as a package has no ./run.

    There `threezone` has all tasks, also without a tasks.py. A script of somebody else's may be called `run`, too.
    """
    ours = (root / "run").is_file() and (root / "scripts" / "threezone").is_dir()
    return RUN if ours else "threezone"


def load(root: Path) -> Settings:
    """The settings of the project at `root`; defaults without invoke.yaml. Raises UsageError."""
    path = root / "invoke.yaml"
    if not path.is_file():
        return Settings()
    import yaml

    from threezone.core import safe_yaml

    try:
        document = safe_yaml.load(path.read_bytes())
    except yaml.YAMLError as error:
        evidence = str(error).replace("<byte string>", str(path))
        raise UsageError(f"{path} is not valid YAML", evidence=evidence, fix=f"correct {path}") from None
    if document is None:
        return Settings()
    if not isinstance(document, dict):
        raise UsageError(f"{path}: expected sections, got {_shown(document)}", fix=f"correct {path}")
    return parse(document.get("threezone"), path)


def flux_version(root: Path) -> str:
    """`threezone.flux.version` of the project at `root`; the file is read again only when it has changed."""
    try:
        state = (root / "invoke.yaml").stat()
    except OSError:
        return ""
    return _flux_version(root, state.st_mtime_ns, state.st_size)


@functools.lru_cache(maxsize=8)
def _flux_version(root: Path, *_: int) -> str:
    return load(root).flux.version


def parse(section: Any, path: Path) -> Settings:
    """Settings from plain data, or from None. An error names the file `path`. Raises UsageError."""
    try:
        settings = msgspec.convert({} if section is None else section, Settings, strict=True)
    except msgspec.ValidationError as error:
        raise UsageError(f"{path}: {_sentence(str(error), section)}", fix=f"correct {path}") from None
    try:
        names.cluster(settings.cluster.name)
    except UsageError as error:
        raise UsageError(f"{path}: threezone.cluster.name: {error.message}", fix=f"correct {path}") from None
    if not names.is_branch(settings.gitops.branch):
        wrong = f"{settings.gitops.branch!r} is no name of a branch"
        raise UsageError(f"{path}: threezone.gitops.branch: {wrong} (git check-ref-format)", fix=f"correct {path}")
    return settings


def _sentence(problem: str, section: Any) -> str:
    """Msgspec's message in the words of the file: the key, the expected and the given value."""
    match = re.search(r"`\$\.?([^`]*)`$", problem)
    path = match[1] if match else ""
    keys = [part.partition("[")[0] for part in path.split(".")] if path else []
    kind: Any = msgspec.inspect.type_info(Settings)
    value = section
    for key in keys:
        kind = next(field.type for field in kind.fields if field.name == key)
        kind = kind.type if isinstance(kind, msgspec.inspect.Metadata) else kind
        value = value[key]
    if "[" in path:  # an item of a list
        value = next((item for item in value if not isinstance(item, str)), value)
    if unknown := re.match(r"Object contains unknown field `([^`]+)`", problem):
        known = [field.name for field in kind.fields]
        near = difflib.get_close_matches(unknown[1], known, 1)
        hint = f"did you mean {near[0]!r}?" if near else f"known keys: {', '.join(known)}"
        return f"unknown key {'.'.join(['threezone', *keys, unknown[1]])}; {hint}"
    return f"{'.'.join(['threezone', *keys])}: expected {_expected(kind)}, got {_shown(value)}"


def _expected(kind: Any) -> str:
    match kind:
        case msgspec.inspect.StructType():
            return f"a section with the keys {', '.join(field.name for field in kind.fields)}"
        case msgspec.inspect.LiteralType():
            return f"one of {', '.join(str(value) for value in kind.values)}"
        case msgspec.inspect.IntType():
            return f"a whole number from {kind.ge}" + (f" to {kind.le}" if kind.le is not None else "")
        case msgspec.inspect.DictType():
            expected = "a mapping"
        case msgspec.inspect.VarTupleType():
            hosts = getattr(kind.item_type, "pattern", None)
            expected = "a list of host names, such as [docker.io]" if hosts else "a list of texts"
        case _:
            pattern = getattr(kind, "pattern", None) or ""
            expected = f"text like {pattern}" if pattern else "text"
            for of, example in ((versions.KUBERNETES, "1.35"), (versions.FLUX, "2.9")):
                if of in pattern:
                    expected = f'a version in quotes, such as "{example}" or "{example}.0"'
    return expected


def _shown(value: Any) -> str:
    return "nothing" if value is None else json.dumps(value, default=str, ensure_ascii=False)[:60]
