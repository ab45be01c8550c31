"""What is observed before a diagnosis: frozen data. A part is None where it was not asked for or gave no answer.

Facts hold no secret: of passwords and keys only whether they agree.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from threezone.clients.kind import Node
from threezone.engine.find import Engine
from threezone.flux.objects import FluxObject
from threezone.zones.proof import Proof

Json = dict[str, Any]


@dataclass(frozen=True)
class Subject:
    """What the diagnosis is about: a kind cluster and its context, or a `foreign` context without an engine."""

    cluster: str
    context: str
    foreign: bool = False
    root: str = ""

    @property
    def option(self) -> str:
        """The option that names it in our commands, with a space before it; "" for the default cluster."""
        if self.foreign:
            return f" --context {self.context}"
        return "" if self.cluster == "kind" else f" --name {self.cluster}"


@dataclass(frozen=True)
class Declared:
    """The declared cluster: where its API is published, its IP family, the problem with its name, and its text."""

    api_address: str = "127.0.0.1"
    api_port: int = 0
    ip_family: str = "ipv4"
    name_problem: str = ""
    holder: str = ""  # who listens on the API's port; "" for nobody
    on_tmpfs: bool = False


@dataclass(frozen=True)
class EngineFacts:
    """The engine and its client. `skew` is its clock minus ours, in seconds."""

    engine: Engine
    skew: float | None = None
    proxies: str = ""  # a sentence about the proxies that the client gives to every container
    program: str = ""  # the path of the docker program
    init: bool = False  # whether the daemon starts every container with an init of its own
    podman: str = ""  # kind's other provider that the environment asks for


@dataclass(frozen=True)
class Networks:
    """The engine's networks: their names, and the address ranges and interface of kind's."""

    names: tuple[str, ...]
    subnets: tuple[str, ...] = ()
    interface: str = ""


@dataclass(frozen=True)
class Host:
    """The engine's machine, as far as it is visible from here. Pairs are used and allowed."""

    free_inotify: int | None = None
    inotify_watches: int | None = None
    disk_root: str = ""
    disk_free: int | None = None
    memory_available: int | None = None
    pids: tuple[int, int] | None = None
    conntrack: tuple[int, int] | None = None
    cgroups: str = ""  # v1, v2 or hybrid
    wsl: bool = False
    ipv6: bool = True
    missing_capabilities: tuple[str, ...] = ()
    routes: tuple[tuple[str, str], ...] = ()  # interface and address range


@dataclass(frozen=True)
class Cluster:
    """The cluster as the engine has it: lifecycle's state, its nodes, who is at work on it, and its CA (SHA-256)."""

    state: str
    nodes: tuple[Node, ...] = ()
    holder: str = ""
    ca: str | None = None

    @property
    def stopped(self) -> tuple[Node, ...]:
        """The nodes that do not run."""
        return tuple(node for node in self.nodes if node.state != "running")


@dataclass(frozen=True)
class UserEntry:
    """The user's entry for the context, without its secrets."""

    server: str
    file: str
    proxy_url: bool = False
    ca: str | None = None
    certificate_ends: datetime | None = None


@dataclass(frozen=True)
class Kubeconfig:
    """The user's kubeconfig files. `locks` have their age in seconds, `exposed` files their mode."""

    files: tuple[str, ...] = ()
    problem: str = ""
    locks: tuple[tuple[str, float], ...] = ()
    exposed: tuple[tuple[str, int], ...] = ()
    dangling: tuple[str, ...] = ()
    different: tuple[str, ...] = ()
    entry: UserEntry | None = None


@dataclass(frozen=True)
class Route:
    """The proof of the user's entry exactly as it is, from this zone."""

    proof: Proof
    zone: str = "host"
    proxied: str = ""  # a sentence about a proxy of the environment that kubectl would use

    @property
    def cause(self) -> str:
        """Why the proof failed; "" when it did not. A login that only a credential plugin can make is no failure."""
        stages = self.proof.stages
        if self.proof.ok or (stages and stages[-1].cause == "plugin"):
            return ""
        return stages[-1].cause or "other" if stages else "other"

    @property
    def why(self) -> str:
        """The failed stage and its message."""
        return f"{self.proof.route.server}: {self.proof.why}"


@dataclass(frozen=True)
class World:
    """What the API server listed."""

    kubernetes: str
    nodes: Sequence[Json] = ()
    namespaces: Sequence[Json] = ()
    pods: Sequence[Json] = ()
    deployments: Sequence[Json] = ()
    daemonsets: Sequence[Json] = ()
    flux: Sequence[FluxObject] = ()
    flux_definitions: bool = False  # whether Flux's kinds are served
    git_secret: bool | None = None  # whether the Git server's password exists; None without a Git server
    git_password: bool | None = None  # whether the file here has the same password; None without both


@dataclass(frozen=True)
class Here:
    """Versions, the repository and the daemons here. Daemons are pairs of a name and what is wrong."""

    kubectl: str = ""
    kind: str = ""
    repository_problem: str = ""
    index_lock: str = ""
    index_lock_age: float = 0.0
    daemons: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Facts:
    """Everything that was observed. `silent` are the probes without an answer in time, `failed` those with an error."""

    subject: Subject
    now: datetime
    environment: Mapping[str, str] = field(default_factory=dict)
    declared: Declared | None = None
    engine: EngineFacts | None = None
    networks: Networks | None = None
    host: Host | None = None
    cluster: Cluster | None = None
    kubeconfig: Kubeconfig | None = None
    route: Route | None = None
    world: World | None = None
    here: Here | None = None
    silent: tuple[str, ...] = ()
    failed: Mapping[str, str] = field(default_factory=dict)
    seconds: float = 0.0
