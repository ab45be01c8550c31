"""Flux's source and Kustomization of a delivery: declared, observed, asked to look now, taken away."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from threezone.clients.kubernetes.api import Api, Json
from threezone.clients.kubernetes.watch import World, condition, key_of
from threezone.cluster.lab import Lab
from threezone.core.errors import DeliveryError, UsageError
from threezone.delivery import git_server
from threezone.flux import objects
from threezone.flux.components import NAMESPACE

SOURCE = "/apis/source.toolkit.fluxcd.io/v1/namespaces/{namespace}/{plural}"
KUSTOMIZATION = "/apis/kustomize.toolkit.fluxcd.io/v1/namespaces/{namespace}/kustomizations"
SOURCES = SOURCE.format(namespace=NAMESPACE, plural="gitrepositories")
KUSTOMIZATIONS = KUSTOMIZATION.format(namespace=NAMESPACE)


@dataclass(frozen=True)
class Target:
    """A Kustomization of Flux and the source that it applies; by default both have one name and stand in one place."""

    name: str
    namespace: str = NAMESPACE
    source: str = ""
    source_namespace: str = ""
    source_kind: str = "GitRepository"

    @property
    def kustomizations(self) -> str:
        """The collection that holds the Kustomization."""
        return KUSTOMIZATION.format(namespace=self.namespace)

    @property
    def sources(self) -> str:
        """The collection that holds the source."""
        plural = {"GitRepository": "gitrepositories", "OCIRepository": "ocirepositories", "Bucket": "buckets"}
        return SOURCE.format(namespace=self.source_namespace or self.namespace, plural=plural[self.source_kind])

    @property
    def paths(self) -> tuple[str, str]:
        """The API paths of the two objects: the source's, the Kustomization's."""
        return f"{self.sources}/{self.source or self.name}", f"{self.kustomizations}/{self.name}"

    def find(self, world: World) -> tuple[Json | None, Json | None]:
        """The source and the Kustomization in what is seen."""
        source = f"{self.source_namespace or self.namespace}/{self.source or self.name}"
        return world.get(self.sources, {}).get(source), world.get(self.kustomizations, {}).get(
            f"{self.namespace}/{self.name}"
        )


def target(api: Api, name: str, namespace: str = NAMESPACE) -> Target:
    """The Kustomization of that name with the source that it names. Raises DeliveryError when it is not there."""
    found = api.get(f"{KUSTOMIZATION.format(namespace=namespace)}/{name}")
    if found is None:
        raise DeliveryError(
            f"there is no Kustomization {name} in the namespace {namespace}",
            fix="kubectl get kustomizations --all-namespaces",
        )
    of = found["spec"]["sourceRef"]
    if of["kind"] not in ("GitRepository", "OCIRepository", "Bucket"):
        raise UsageError(f"the Kustomization {name} applies a {of['kind']}, whose revisions cannot be waited for here")
    return Target(name, namespace, of["name"], of.get("namespace", ""), of["kind"])


def target_of(lab: Lab) -> Target:
    """Where Flux is told what to reconcile; beside a Flux that may be somebody else's, in a namespace of ours."""
    return Target(lab.settings.gitops.repository, git_server.NAMESPACE if lab.foreign else NAMESPACE)


@dataclass(frozen=True)
class Delivery:
    """What Flux says of the lab's source and of what it applied. Revisions are spelled `branch@sha1:commit`.

    `ready` speaks of the whole tree: every Flux object that carries the revision, and the workloads that they applied.
    `message` says why it is not, and what holds it back; `busy` that Flux is about to give its verdict.
    """

    url: str
    fetched: str
    applied: str
    ready: bool
    message: str
    suspended: tuple[str, ...] = ()
    busy: bool = False


def declare(
    api: Api,
    *,
    name: str,
    url: str,
    branch: str,
    path: str,
    namespace: str = NAMESPACE,
    interval: str = "1m0s",
    wait: bool = True,
    secret: str = "",
) -> None:
    """Tell Flux what to reconcile (server-side apply; nothing changes when it is declared already).

    With `wait` Flux calls a revision ready when all its objects are healthy, else when they are applied. `secret` is
    the name of the Secret that it reads the source with.
    """  # fmt: skip
    source, kustomization = Target(name, namespace).paths
    api.apply(
        source,
        {
            "apiVersion": "source.toolkit.fluxcd.io/v1",
            "kind": "GitRepository",
            "metadata": {"name": name, "namespace": namespace},
            "spec": {"url": url, "ref": {"branch": branch}, "interval": interval, "timeout": "60s"}
            | ({"secretRef": {"name": secret}} if secret else {}),
        },
    )
    api.apply(
        kustomization,
        {
            "apiVersion": "kustomize.toolkit.fluxcd.io/v1",
            "kind": "Kustomization",
            "metadata": {"name": name, "namespace": namespace},
            "spec": {
                "sourceRef": {"kind": "GitRepository", "name": name},
                "path": f"./{path}",
                "prune": True,
                "wait": wait,
                "interval": "10m0s",
                "retryInterval": "15s",
                "timeout": "2m0s",
            },
        },
    )


def forget(api: Api, at: Target, seconds: float) -> None:
    """Take back what `declare` told Flux: the Kustomization, with what it applied, and then its source."""
    for path in reversed(at.paths):
        if item := api.get(path):
            collection, _, name = path.rpartition("/")
            objects.delete(api, path)
            objects.wait_gone(api, {collection: [key_of(item)]}, seconds, f"the end of {item['kind']} {name}")


def request(api: Api, at: Target, *, source_only: bool = False) -> str:
    """Ask Flux to fetch and apply now, by its own annotation. Returns the request's stamp, for `missing`.

    A new revision is applied without being asked for: for that, asking for the source is enough.
    """
    return objects.request(api, at.paths[:1] if source_only else at.paths)


def checking(kustomization: Json, attempted: str) -> bool:
    """Whether Flux has applied this revision and looks at the health of its objects at this moment. Pure.

    The message alone does not say so: it stays in the conditions after a check that failed, beside Ready=False.
    """
    return condition(kustomization, "Ready").get("status") == "Unknown" and _checked(
        condition(kustomization, "Reconciling"), kustomization, attempted
    )


def reached_checks(kustomization: Json, attempted: str) -> bool:
    """Whether Flux has come as far as the health checks of this revision, however they ended. Pure."""
    return any(
        _checked(condition(kustomization, kind), kustomization, attempted) for kind in ("Healthy", "Reconciling")
    )


def _checked(said: Mapping[str, str], kustomization: Json, attempted: str) -> bool:
    generation = kustomization["metadata"].get("generation")
    words = said.get("message", "") if said.get("observedGeneration", generation) == generation else ""
    return f"health checks for revision {attempted} " in words
