"""The types of the outputs about deliveries: flux.*, gitops.*, preview.*, secret.*, report.*."""

from typing import Literal

from msgspec import UNSET, UnsetType

from threezone.delivery.check.findings import Finding
from threezone.flux.components import Component
from threezone.flux.status import State
from threezone.flux.status_tree import Node as TreeNode
from threezone.tasks.outputs.base import Json, Output


class Checked(Output):
    """A prerequisite of Flux."""

    name: str
    ok: bool
    found: str


class FluxCheck(Output):
    """Whether Flux can work in the cluster."""

    ok: bool
    checks: list[Checked]


class FluxStatus(Output):
    """Flux's controllers and objects."""

    version: str | None
    namespace: str | None
    installer: str | None
    ready: bool
    components: list[Component]
    objects: list[State]
    tree: list[TreeNode] | UnsetType = UNSET


class Checks(Output):
    """What gitops.check has found."""

    ok: bool
    source: str
    kustomizations: int
    objects: int
    findings: list[Finding]
    unchecked: list[str]


class Change(Output):
    """An object that is created, changed or deleted; values of Secrets are masked."""

    verb: Literal["create", "change", "delete"]
    group: str
    kind: str
    namespace: str
    name: str
    kustomization: str
    before: Json | None
    after: Json | None
    diff: str


class Difference(Output):
    """What gitops.diff has found."""

    base: str
    target: str
    changes: list[Change]
    unchecked: list[str]


class Phase(Output):
    """A phase of the proof; `ok` is null for one that was not run."""

    name: str
    title: str
    ok: bool | None
    revision: str | None
    began: float | None
    seconds: dict[str, float | None]
    objects: list[str]
    commands: list[str]
    why: str | None
    evidence: str | None


class Proof(Output):
    """The proof that a commit alone creates, updates and destroys a workload."""

    id: str
    ok: bool
    context: str
    cluster: str
    namespace: str
    repository: str
    branch: str
    started: str
    seconds: float
    versions: dict[str, str]
    managers: list[str]
    phases: list[Phase]


class PreviewData(Output):
    """A preview of a branch."""

    name: str
    branch: str
    path: str
    commit: str
    namespaces: dict[str, str]
    applied: str | None
    ready: bool
    message: str
    created: str | None
    expires: str | None
    expired: bool


class StartedPreview(PreviewData):
    """A preview that has just been delivered."""

    revision: str
    seconds: float


class EncryptedSecret(Output):
    """An encrypted Secret of the repository; `thisLab`: whether this lab's key reads it."""

    name: str
    namespace: str
    file: str
    keys: list[str]
    recipients: list[str]
    thisLab: bool  # noqa: N815


class PreparedSecrets(Output):
    """The lab's age key, and for whom new Secrets are encrypted."""

    recipient: str
    keyFile: str  # noqa: N815
    new: bool
    recipients: list[str]
    inCluster: bool  # noqa: N815
    encryptedAgain: list[str]  # noqa: N815


class RotatedKey(Output):
    """A new age key; `new` is false where an interrupted rotation was continued."""

    recipient: str
    files: list[str]
    new: bool


class Run(Output):
    """The record of a run."""

    id: str
    task: str
    began: str
    seconds: float
    outcome: str
    exit_code: int
    steps: int
