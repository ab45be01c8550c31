"""The types of the outputs about the lab: cluster, engine, images, tools.

A field that may be left out has the default UNSET; null is a value of its own.
"""

from msgspec import UNSET, UnsetType

from threezone.cluster.drift.rows import Row
from threezone.flux.components import Component
from threezone.flux.status_tree import Node as TreeNode
from threezone.images.bundle.format import BundledImage, BundledTool, Member
from threezone.tasks.outputs.base import Json, Output


class Proxy(Output):
    """The proxy to an API server; without one, only `running`."""

    running: bool
    stopped: bool | UnsetType = UNSET
    url: str | UnsetType = UNSET
    answers: bool | UnsetType = UNSET
    context: str | UnsetType = UNSET
    port: int | UnsetType = UNSET
    pid: int | UnsetType = UNSET
    ends: str | UnsetType = UNSET


class SavedBundle(Output):
    """A file that bundle.save has written."""

    file: str
    bytes: int
    sha256: str
    format: int
    threezone: str
    platform: str
    tools: dict[str, BundledTool]
    images: dict[str, BundledImage]
    members: dict[str, Member]


class LoadedBundle(Output):
    """What bundle.load has brought; empty lists where everything was here."""

    tools: list[str]
    images: list[str]
    threezone: str


class Credential(Output):
    """A kubeconfig for a pipeline's jobs."""

    file: str
    context: str
    namespace: str


class ListedNode(Output):
    """A container of a cluster, as kind labels it."""

    name: str
    role: str
    state: str
    image: str


class ListedCluster(Output):
    """A kind cluster on this engine."""

    name: str
    ours: bool
    nodes: list[ListedNode]


class PlannedStep(Output):
    """A step of a plan, with the command to paste; `asks`: it asks for a yes first."""

    kind: str
    sentence: str
    command: str
    asks: bool


class Losses(Output):
    """What a new cluster costs; `rescued` is backed up first."""

    volumes: list[str]
    images: list[str]
    objects: dict[str, int]
    rescued: Json


class ClusterPlan(Output):
    """The running cluster compared with the declared one."""

    cluster: str
    state: str
    same: bool
    recorded: bool
    fields: list[Row]
    actions: list[PlannedStep]
    losses: Losses | None
    notices: list[str]


class StatusNode(Output):
    """A node as the API server lists it."""

    name: str
    version: str
    ready: bool


class StatusCluster(Output):
    """A cluster's state; `why` it is not ready."""

    name: str
    adopted: bool
    kubernetes: str | None
    nodes: list[StatusNode]
    stopped: list[str]
    answers: bool
    ready: bool
    why: str | None
    skew: list[str]


class StatusEngine(Output):
    """The container engine; `state` is ok where it works."""

    state: str
    endpoint: str
    version: str | None
    cgroup: str


class StatusKubeconfig(Output):
    """The kubeconfig's entry; null without one."""

    context: str | None
    server: str | None
    tlsServerName: str | None  # noqa: N815  the name that kubeconfig files have for it


class StatusFlux(Output):
    """Flux's installation; the version is null without one."""

    version: str | None
    ready: bool
    components: list[Component]


class StatusGitOps(Output):
    """What is delivered, and what is wanted: revisions as Flux spells them."""

    url: str | None
    revision: str | None
    ready: bool
    wanted: str | None
    why: str | None
    replaces: list[str]
    suspended: list[str]


class LabStatus(Output):
    """The whole lab; with --watch also Flux's tree and the app's answer."""

    zone: str
    engine: StatusEngine
    cluster: StatusCluster
    kubeconfig: StatusKubeconfig
    flux: StatusFlux
    gitops: StatusGitOps
    tree: list[TreeNode] | UnsetType = UNSET
    app: str | UnsetType | None = UNSET


class Diagnosed(Output):
    """A row of the catalogue that applies, with the rows that it explains."""

    id: str
    zone: int | str
    summary: str
    cause: str
    evidence: list[str]
    fix: str
    safety: str
    steps: list[PlannedStep]
    source: str
    consequences: list["Diagnosed"]


class Diagnosis(Output):
    """What is wrong, the most basic cause first; `risks` stop nothing now."""

    context: str
    healthy: bool
    exitCode: int  # noqa: N815
    causes: list[Diagnosed]
    risks: list[Diagnosed]
    notAnswered: list[str]  # noqa: N815
    failed: dict[str, str]
    seconds: float


class ListedImage(Output):
    """An image of the lab; `bytes` is null for a missing one."""

    name: str
    reference: str
    present: bool
    bytes: int | None


class Registry(Output):
    """A container of the local registry; `upstream` is the registry that it mirrors."""

    name: str
    state: str
    address: str
    for_nodes_and_pods: str
    upstream: str


class Tool(Output):
    """A program that is used."""

    name: str
    version: str
    channel: str
    path: str


class Unsuitable(Output):
    """A program on PATH that is not used."""

    path: str
    version: str


class Newer(Output):
    """Newer versions of a program; null where there is none, or where nobody answered."""

    patch: str | None
    newest: str | None
    note: str | None


class ListedTool(Output):
    """A program that is wanted; `found` is null where it is missing."""

    name: str
    wanted: str
    found: Tool | None
    unsuitable: list[Unsuitable]
    outdated: Newer | UnsetType = UNSET


class VerifiedTool(Tool):
    """An installed program, and how it differs from the verified one."""

    ok: bool
    problem: str
