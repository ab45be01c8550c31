"""The rights of a CI job in a cluster: a service account, and a role in each namespace that the job reads.

A delivery by commit needs no right to change anything: Flux applies what Git has, and the job only reads the result.
Every rule says what it is for; `ci.kubeconfig --dry-run` shows it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from threezone.clients.kubernetes.api import Api, Json
from threezone.core.errors import UsageError
from threezone.core.plan import Step, StepKind

GROUP = "rbac.authorization.k8s.io"
_HEAD = ("apiVersion", "kind", "metadata")
_OURS = "app.kubernetes.io/managed-by"
LABELS = {"app.kubernetes.io/name": "threezone-ci", _OURS: "threezone"}
_READ = ("get", "list", "watch")
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


# In the job's own namespace.
WORKLOADS = Rule("apps", ("daemonsets", "deployments", "replicasets", "statefulsets"), _READ, "does the rollout end")
PODS = Rule("", ("events", "pods"), _READ, "why a pod does not start")
LOGS = Rule("", ("pods/log",), ("get",), "the log of one that fails")
APPLY = (
    Rule("apps", ("deployments", "statefulsets"), _CHANGE, "asked for with --apply"),
    Rule("", ("configmaps", "services"), (*_READ, *_CHANGE), "asked for with --apply"),
)
# In Flux's namespaces. None of these may be changed: who may change a Kustomization may have Flux apply anything.
KUSTOMIZATIONS = Rule("kustomize.toolkit.fluxcd.io", ("kustomizations",), _READ, "which revision is applied")
SOURCES = Rule(
    "source.toolkit.fluxcd.io", ("buckets", "gitrepositories", "ocirepositories"), _READ, "which revision is fetched"
)
CONTROLLERS = Rule("apps", ("deployments",), _READ, "does Flux run at all")


@dataclass(frozen=True)
class Job:
    """A job's account in its `namespace`, and the namespaces of what it waits for.

    `kustomizations` and `sources` are the namespaces of those objects, `controllers` that of Flux itself; "" leaves
    one out. With `apply` the job may also apply workloads in its namespace by itself.
    """

    namespace: str = "prod"
    account: str = "gitlab-ci-serviceaccount"
    kustomizations: str = ""
    sources: str = ""
    controllers: str = ""
    apply: bool = False

    @property
    def full_name(self) -> str:
        """The account as `namespace/name`."""
        return f"{self.namespace}/{self.account}"


def checked(job: Job) -> Job:
    """The same job. Raises UsageError for names that Kubernetes would refuse, and for Kubernetes' own namespaces."""
    for option, name in (("--namespace", job.namespace), ("--account", job.account)):
        if not re.fullmatch(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?", name):
            raise UsageError(f"{option} {name!r}: lower-case letters, digits and dashes, at most 63 of them")
    if job.namespace.startswith("kube-"):
        raise UsageError(f"--namespace {job.namespace} belongs to Kubernetes: jobs get no account there")
    return job


def rules(job: Job) -> dict[str, tuple[Rule, ...]]:
    """The job's rules by namespace."""
    by_namespace: dict[str, tuple[Rule, ...]] = {job.namespace: (WORKLOADS, PODS, LOGS, *(APPLY if job.apply else ()))}
    flux = ((job.kustomizations, KUSTOMIZATIONS), (job.sources, SOURCES), (job.controllers, CONTROLLERS))
    for namespace, rule in flux:
        if namespace and not (rule is CONTROLLERS and namespace == job.namespace):
            by_namespace[namespace] = (*by_namespace.get(namespace, ()), rule)
    return by_namespace


@dataclass(frozen=True)
class Object:
    """An object that a job needs: its path in the API, its manifest, and for a role sentences about its rules."""

    path: str
    manifest: Json
    rules: tuple[str, ...] = ()

    @property
    def kind(self) -> str:
        """Its kind."""
        return str(self.manifest["kind"])

    @property
    def title(self) -> str:
        """Its kind and name for a person."""
        metadata = self.manifest["metadata"]
        return f"the {self.kind} {'/'.join(filter(None, (metadata.get('namespace'), metadata['name'])))}"


def _object(kind: str, namespace: str, name: str, fields: Json, rules: tuple[str, ...] = ()) -> Object:
    version = f"{GROUP}/v1" if kind in ("Role", "RoleBinding") else "v1"
    api = f"/apis/{version}" if "/" in version else f"/api/{version}"
    metadata = {"name": name, **({"namespace": namespace} if namespace else {}), "labels": LABELS}
    manifest = {"apiVersion": version, "kind": kind, "metadata": metadata, **fields}
    home = f"namespaces/{namespace}/" if namespace else ""
    return Object(f"{api}/{home}{kind.lower()}s/{name}", manifest, rules)


def objects(job: Job) -> tuple[Object, ...]:
    """Everything that the job needs, in the order of creation."""
    home = job.namespace
    subject = {"kind": "ServiceAccount", "name": job.account, "namespace": home}
    wanted = [
        _object("Namespace", "", home, {}),
        _object("ServiceAccount", home, job.account, {"automountServiceAccountToken": False}),
    ]
    for namespace, allowed in rules(job).items():
        # In another namespace the name has the account's own: accounts of two namespaces may read that one.
        name = job.account if namespace == home else f"{home}-{job.account}"
        role = {"rules": [rule.data for rule in allowed]}
        binding = {"roleRef": {"apiGroup": GROUP, "kind": "Role", "name": name}, "subjects": [subject]}
        wanted.append(_object("Role", namespace, name, role, tuple(rule.sentence for rule in allowed)))
        wanted.append(_object("RoleBinding", namespace, name, binding))
    return tuple(wanted)


def observe(api: Api, wanted: Sequence[Object]) -> dict[str, Json | None]:
    """Each object as the API server has it, by its path."""
    return {item.path: api.get(item.path) for item in wanted}


def plan(wanted: Sequence[Object], live: Mapping[str, Json | None]) -> tuple[Step, ...]:
    """The objects to create or change. Raises UsageError for an object of that name that is not ours. Pure.

    A namespace of somebody else's is used as it is.
    """
    steps = []
    for item in wanted:
        old = live[item.path]
        if old is not None and item.kind != "Namespace" and not _is_ours(old):
            raise UsageError(
                f"{item.title} exists already and is not ours: it is not changed",
                fix="choose another name with --account, or delete it",
            )
        # The API server adds nothing to the fields beside metadata.
        if old is None or any(old.get(key) != value for key, value in item.manifest.items() if key not in _HEAD):
            sentence = "\n    ".join([f"{'change' if old else 'create'} {item.title}", *item.rules])
            steps.append(Step(StepKind.APPLY_OBJECT, sentence, target=item.path))
    return tuple(steps)


def apply(api: Api, wanted: Sequence[Object], steps: Sequence[Step]) -> None:
    """Carry a plan out."""
    manifests = {item.path: item.manifest for item in wanted}
    for step in steps:
        api.apply(step.target, manifests[step.target])


def plan_removal(wanted: Sequence[Object], live: Mapping[str, Json | None]) -> tuple[Step, ...]:
    """The removal of everything of ours but the namespace, which may hold what was delivered. Pure."""
    return tuple(
        Step(StepKind.DELETE_OBJECT, f"delete {item.title}", target=item.path)
        for item in reversed(wanted)
        if item.kind != "Namespace" and (old := live[item.path]) is not None and _is_ours(old)
    )


def remove(api: Api, steps: Sequence[Step]) -> None:
    """Carry a removal out. Every token of the account ends with it."""
    for step in steps:
        api.send("DELETE", step.target)


def _is_ours(item: Json) -> bool:
    return (item["metadata"].get("labels") or {}).get(_OURS) == LABELS[_OURS]
