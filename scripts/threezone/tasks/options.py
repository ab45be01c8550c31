"""Options of tasks, declared once, and what they mean: which lab, which cluster, which address.

A parameter of a task is an option: its annotation carries the help text, `Annotated[str, "…"]`, a list may be given
several times, one without a default is positional. A parameter whose default is a settings struct stands for one
option for each field of it (core/settings.py).
"""

import inspect
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ParamSpec, cast, get_args

import msgspec

from threezone.core import settings

if TYPE_CHECKING:
    from threezone.cluster.lab import Lab
    from threezone.core.plan import Step

P = ParamSpec("P")

# The kinds of values that shells complete, each with the command that prints them; an annotation's second text.
VALUES = {
    "channels": "echo auto release source",
    "clusters": "docker ps --all --filter label=io.x-k8s.kind.cluster --format '{{.Label \"io.x-k8s.kind.cluster\"}}'",
    "contexts": "kubectl config get-contexts --output=name",
    "revisions": "echo HEAD; git for-each-ref --format='%(refname:short)' refs/heads refs/tags",
    "images": "echo flux git-server hello; docker image ls --filter dangling=false --format '{{.Repository}}:{{.Tag}}'",
    "branches": "git for-each-ref --format='%(refname:short)' refs/heads",
}
Channel = Annotated[str, "where tools and images come from: auto (by reachability), release, source", "channels"]
ClusterName = Annotated[str, "the cluster's name (default: threezone.cluster.name in invoke.yaml)", "clusters"]
ContextName = Annotated[
    str, "the kubeconfig context of any cluster, instead of a lab; asks before the first change to it", "contexts"
]
DryRun = Annotated[bool, "print the plan and change nothing"]
Json = Annotated[bool, "print JSON"]
Recreate = Annotated[
    bool, "replace the cluster where the declaration needs a new one; lists what would be lost, and asks"
]
Timeout = Annotated[int, "seconds to wait (default: threezone.gitops.timeout in invoke.yaml)"]
Yes = Annotated[bool, "answer yes to every question"]
ServerAddress = Annotated[str, "use this address instead of looking for one: https://HOST:PORT"]
TlsServerName = Annotated[str, "the name in the server's certificate, if not the address's host (kind: localhost)"]
NO_CHANGES = settings.ClusterOptions()


@dataclass(frozen=True)
class Declaration:
    """A task's options as invoke takes them. `structs` are the parameters that stand for several options."""

    signature: inspect.Signature
    help: Mapping[str, str]
    repeatable: Sequence[str]
    structs: Mapping[str, msgspec.Struct]

    def arguments(self, given: Mapping[str, object]) -> dict[str, object]:
        """The arguments for the task's function: the options of a struct come as one value of it."""
        arguments = dict(given)
        for name, default in self.structs.items():
            values = {}
            for field, parameter in _parameters(default).items():
                value = arguments.pop(parameter.name, parameter.default)
                values[field] = tuple(value or ()) if isinstance(value, list | None) else value
            arguments[name] = type(default)(**values)
        return arguments


def declaration(body: Callable[P, None]) -> Declaration:
    """Read the options of a task from its parameters."""
    parameters: list[inspect.Parameter] = []
    structs = {}
    for parameter in inspect.signature(body).parameters.values():
        if isinstance(parameter.default, msgspec.Struct):
            structs[parameter.name] = parameter.default
            parameters.extend(_parameters(parameter.default).values())
        else:
            parameters.append(parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY))
    context = inspect.Parameter("c", inspect.Parameter.POSITIONAL_ONLY)
    return Declaration(
        inspect.Signature([context, *parameters]),
        {each.name.rstrip("_").replace("_", "-"): each.annotation.__metadata__[0] for each in parameters},
        [each.name for each in parameters if each.annotation.__origin__ == list[str]],
        structs,
    )


def _parameters(struct: msgspec.Struct) -> dict[str, inspect.Parameter]:
    """The options of a struct by its fields; `struct` has their defaults."""
    parameters = {}
    for field, option in settings.options(type(struct)).items():
        default = getattr(struct, field)
        kind = list[str] if isinstance(default, tuple) else type(default)
        parameters[field] = inspect.Parameter(
            option.flag.replace("-", "_"),
            inspect.Parameter.KEYWORD_ONLY,
            default=None if isinstance(default, tuple) else default,
            annotation=Annotated[kind, option.help],
        )
    return parameters


def open_lab(
    name: str = "",
    channel: str = "",
    context: str | None = None,
    *,
    own: bool = False,
    changes: settings.ClusterOptions = NO_CHANGES,
) -> "Lab":
    """The lab that a task works on, from settings and options.

    The cluster's name is --name, else that of the settings, else the one that the file of --config gives it.
    `context` names a cluster that is not ours: "" is the adopted one, if there is one and no name is given; None is for
    tasks that never work on such a cluster. With `own` an adopted cluster is refused. Raises UsageError, ClusterError.
    """
    import dataclasses

    from threezone.cluster.lab import Lab
    from threezone.cluster.spec.overlay import Options
    from threezone.core import names, versions
    from threezone.core.errors import UsageError
    from threezone.core.events import note
    from threezone.lab.external_cluster import record

    root = settings.find_root()
    chosen = trusting_settings(root)
    if name and context:
        raise UsageError("a cluster is named by --name or by --context, not by both", fix="leave one of them out")
    if changes.kubernetes and not re.fullmatch(f"v?{versions.KUBERNETES}", changes.kubernetes):
        raise UsageError(f"--kubernetes {changes.kubernetes}: expected a version such as 1.35 or 1.35.0")
    if own and not name:
        record.refuse(root)
    if context == "" and not name:
        context = record.context(root)
    config = changes.config and str(Path.cwd() / changes.config)
    wanted = {"config": config, "kubernetes": changes.kubernetes.removeprefix("v")}
    cluster = msgspec.structs.replace(chosen.cluster, **{key: value for key, value in wanted.items() if value})
    lab = Lab(
        root,
        msgspec.structs.replace(chosen, cluster=cluster),
        names.cluster(name or cluster.name),
        context or "",
        checked_channel(channel) or chosen.channel,
        Options(changes, base=Path.cwd()),
    )
    if not config or name or lab.foreign or (own_name := lab.declared.name) in ("", lab.name):
        return lab
    if lab.name != settings.Cluster().name:  # somebody chose another one
        return dataclasses.replace(lab, name_is_chosen=False)
    note(f"the cluster is {own_name}, as {changes.config} names it; other tasks find it with --name {own_name}")
    return dataclasses.replace(lab, name=names.cluster(own_name))


def trusting_settings(root: Path) -> settings.Settings:
    """The settings of the project, with the authority that they name trusted from now on. Raises UsageError."""
    chosen = settings.load(root)
    if chosen.network.ca:
        from threezone.core import network_ca

        network_ca.trust(chosen.network.ca, root)
    return chosen


def checked_channel(channel: str) -> settings.Channel | None:
    """The channel of --channel; None without one. Raises UsageError."""
    from threezone.core.errors import UsageError

    if channel and channel not in get_args(settings.Channel):
        raise UsageError(f"--channel is auto, release or source, not {channel!r}")
    return cast("settings.Channel", channel) if channel else None


def chosen_cluster(name: str) -> str:
    """The kind cluster that --name or the settings name.

    Raises UsageError for a bad name, ClusterError where another cluster is adopted and no name is given.
    """
    from threezone.core import names
    from threezone.lab.external_cluster import record

    if not name:
        record.refuse(settings.find_root())
    return names.cluster(name or settings.load(settings.find_root()).cluster.name)


def adopted_context(name: str) -> str:
    """The adopted context, where no cluster is named; "" when there is none."""
    from threezone.lab.external_cluster import record

    return "" if name else record.context(settings.find_root())


def given(server: str, tls_server_name: str) -> tuple[str, str] | None:
    """The route that --server and --tls-server-name name, or None. Raises UsageError for anything but https."""
    from urllib.parse import urlsplit

    from threezone.core.errors import UsageError

    if not server:
        if tls_server_name:
            raise UsageError("--tls-server-name needs --server", fix="add --server https://HOST:PORT")
        return None
    try:
        parts = urlsplit(server)
        good = parts.scheme == "https" and bool(parts.hostname) and parts.port != 0 and "@" not in parts.netloc
    except ValueError:  # the port is not a number, or an IPv6 address is incomplete
        good = False
    if not good or parts.query or parts.fragment:
        raise UsageError("--server needs an https address", fix="--server https://HOST:PORT")
    return server.rstrip("/"), tls_server_name


def words(text: str) -> list[str]:
    """The items of a comma-separated option."""
    return [word.strip() for word in text.split(",") if word.strip()]


def asking_on_foreign(lab: "Lab", steps: "Sequence[Step]") -> "Sequence[Step]":
    """The same steps; on a cluster that is not ours each one asks and names it."""
    from dataclasses import replace

    if not lab.foreign:
        return steps
    return [replace(step, sentence=f"{step.sentence} (on {lab.foreign})", asks=True) for step in steps]
