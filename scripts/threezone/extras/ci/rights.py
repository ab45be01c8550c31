"""What a job may do in a cluster: a service account, and a role in each namespace that it has to look at.

A delivery by commit needs no right to change anything: Flux applies what Git holds, and the job only looks whether it
has. Every rule says what it is for; `ci.kubeconfig --dry-run` shows it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from threezone.clients.kubernetes.api import Api, Json
from threezone.core.errors import UsageError
from threezone.core.plan import Step, StepKind

CORE = "/api/v1/namespaces"
RBAC = "/apis/rbac.authorization.k8s.io/v1/namespaces"
LABELS = {"app.kubernetes.io/name": "threezone-ci", "app.kubernetes.io/managed-by": "threezone"}
_OURS = "app.kubernetes.io/managed-by"
_LOOK = ("get", "list", "watch")
_CHANGE = ("create", "delete", "patch", "update")


@dataclass(frozen=True)
class Rule:
    """Verbs on resources of one API group, and why a job needs them."""

    group: str
    resources: tuple[str, ...]
    verbs: tuple[str, ...]
    why: str

    @property
    def data(self) -> Json:
        """The rule as RBAC has it."""
        return {"apiGroups": [self.group], "resources": list(self.resources), "verbs": list(self.verbs)}

    @property
    def sentence(self) -> str:
        """The rule for a person."""
        return f"{', '.join(self.verbs)} {', '.join(self.resources)}: {self.why}"


@dataclass(frozen=True)
class Job:
    """A job's account in its `namespace`, and where Flux keeps what it waits for.

    `kustomizations` and `sources` are the namespaces of those objects, `controllers` that of Flux itself; the empty
    text leaves one out. With `apply` the job may also apply workloads in its namespace by itself.
    """

    namespace: str = "prod"
    account: str = "gitlab-ci-serviceaccount"
    kustomizations: str = ""
    sources: str = ""
    controllers: str = ""
    apply: bool = False

    @property
    def named(self) -> str:
        """The account as `namespace/name`."""
        return f"{self.namespace}/{self.account}"


# In the job's own namespace.
WORKLOADS = Rule("apps", ("daemonsets", "deployments", "replicasets", "statefulsets"), _LOOK, "does the rollout end")
PODS = Rule("", ("events", "pods"), _LOOK, "why a pod does not start")
LOGS = Rule("", ("pods/log",), ("get",), "the log of one that fails")
APPLY = (
    Rule("apps", ("deployments", "statefulsets"), _CHANGE, "asked for with --apply"),
    Rule("", ("configmaps", "services"), (*_LOOK, *_CHANGE), "asked for with --apply"),
)
# Where Flux is. None of these may be changed: who may change a Kustomization may have Flux apply anything.
KUSTOMIZATIONS = Rule("kustomize.toolkit.fluxcd.io", ("kustomizations",), _LOOK, "which revision is applied")
SOURCES = Rule(
    "source.toolkit.fluxcd.io", ("buckets", "gitrepositories", "ocirepositories"), _LOOK, "which revision is fetched"
)
CONTROLLERS = Rule("apps", ("deployments",), _LOOK, "does Flux run at all")


def checked(job: Job) -> Job:
    """The same job. Raises UsageError for names that Kubernetes would refuse, and for namespaces that are its own."""
    for what, name in (("--namespace", job.namespace), ("--account", job.account)):
        if not re.fullmatch(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?", name):
            raise UsageError(f"{what} {name!r}: lower-case letters, digits and dashes, at most 63 of them")
    if job.namespace.startswith("kube-"):
        raise UsageError(f"--namespace {job.namespace} is Kubernetes' own: a job has no business there")
    return job


def rules(job: Job) -> dict[str, tuple[Rule, ...]]:
    """What the job may do, by namespace."""
    found: dict[str, tuple[Rule, ...]] = {job.namespace: (WORKLOADS, PODS, LOGS, *(APPLY if job.apply else ()))}
    for namespace, rule in (
        (job.kustomizations, KUSTOMIZATIONS),
        (job.sources, SOURCES),
        (job.controllers, CONTROLLERS),
    ):
        if namespace and not (rule is CONTROLLERS and namespace == job.namespace):
            found[namespace] = (*found.get(namespace, ()), rule)
    return found


@dataclass(frozen=True)
class Piece:
    """An object that a job needs: its collection in the API, and what it is to hold (`wanted`, without metadata)."""

    kind: str
    collection: str
    name: str
    namespace: str
    wanted: Mapping[str, object] = field(default_factory=dict)
    said: tuple[str, ...] = ()

    @property
    def path(self) -> str:
        """The object's own path."""
        return f"{self.collection}/{self.name}"

    @property
    def title(self) -> str:
        """What it is, for a person."""
        return f"the {self.kind} {self.namespace}/{self.name}" if self.namespace else f"the {self.kind} {self.name}"

    @property
    def manifest(self) -> Json:
        """The object for a server-side apply."""
        version = "rbac.authorization.k8s.io/v1" if self.collection.startswith("/apis/") else "v1"
        inside = {"namespace": self.namespace} if self.namespace else {}
        metadata = {"name": self.name, **inside, "labels": LABELS}
        return {"apiVersion": version, "kind": self.kind, "metadata": metadata, **self.wanted}


def pieces(job: Job) -> tuple[Piece, ...]:
    """Everything that the job needs, in the order in which it is made."""
    group = "rbac.authorization.k8s.io"
    subject = {"kind": "ServiceAccount", "name": job.account, "namespace": job.namespace}
    made = [
        Piece("Namespace", CORE, job.namespace, ""),
        Piece(
            "ServiceAccount",
            f"{CORE}/{job.namespace}/serviceaccounts",
            job.account,
            job.namespace,
            {"automountServiceAccountToken": False},
        ),
    ]
    for namespace, allowed in rules(job).items():
        # Two jobs' accounts of one name may look at one namespace: their own is part of the name there.
        name = job.account if namespace == job.namespace else f"{job.namespace}-{job.account}"
        said = tuple(rule.sentence for rule in allowed)
        role = {"rules": [rule.data for rule in allowed]}
        binding = {"roleRef": {"apiGroup": group, "kind": "Role", "name": name}, "subjects": [subject]}
        made.append(Piece("Role", f"{RBAC}/{namespace}/roles", name, namespace, role, said))
        made.append(Piece("RoleBinding", f"{RBAC}/{namespace}/rolebindings", name, namespace, binding))
    return tuple(made)


def observe(api: Api, wanted: Sequence[Piece]) -> dict[str, Json | None]:
    """Each piece as the API server has it, by its path."""
    return {piece.path: api.get(piece.path) for piece in wanted}


def plan(wanted: Sequence[Piece], seen: Mapping[str, Json | None]) -> tuple[Step, ...]:
    """What has to be made or changed. Pure. Raises UsageError for an object of that name that is not ours.

    A namespace of somebody else's serves as it is.
    """
    actions = []
    for piece in wanted:
        found = seen[piece.path]
        if found is not None and (piece.kind == "Namespace" or _holds(piece, found)):
            continue
        if found is not None and not _ours(found):
            raise UsageError(
                f"{piece.title} is there already, and not ours: it is left as it is",
                fix="choose another name with --account, or delete it",
            )
        verb = "change" if found else "create"
        actions.append(
            Step(StepKind.APPLY_OBJECT, "\n    ".join([f"{verb} {piece.title}", *piece.said]), target=piece.path)
        )
    return tuple(actions)


def apply(api: Api, wanted: Sequence[Piece], actions: Sequence[Step]) -> None:
    """Carry the plan out."""
    due = {step.target for step in actions}
    for piece in wanted:
        if piece.path in due:
            api.apply(piece.path, piece.manifest)


def plan_removal(wanted: Sequence[Piece], seen: Mapping[str, Json | None]) -> tuple[Step, ...]:
    """What is taken away again: everything of ours but the namespace, which may hold what was delivered. Pure."""
    return tuple(
        Step(StepKind.DELETE_OBJECT, f"delete {piece.title}", target=piece.path)
        for piece in reversed(wanted)
        if piece.kind != "Namespace" and (found := seen[piece.path]) is not None and _ours(found)
    )


def remove(api: Api, actions: Sequence[Step]) -> None:
    """Carry a removal out. With its account every token of a job ends."""
    for step in actions:
        api.send("DELETE", step.target)


def _ours(found: Json) -> bool:
    return (found["metadata"].get("labels") or {}).get(_OURS) == LABELS[_OURS]


def _holds(piece: Piece, found: Json) -> bool:
    """Whether the object holds what is wanted. The API server adds nothing to these fields."""
    return _ours(found) and all(found.get(key) == value for key, value in piece.wanted.items())
