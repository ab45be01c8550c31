"""Flux's source and Kustomization of a delivery: found, declared, requested, deleted."""

from __future__ import annotations

from dataclasses import dataclass

from threezone.clients.kubernetes.api import Api, Json
from threezone.clients.kubernetes.watch import World, key_of
from threezone.cluster.lab import Lab
from threezone.core.errors import DeliveryError, UsageError
from threezone.delivery import git_server
from threezone.flux import deletion, objects
from threezone.flux.components import NAMESPACE
from threezone.flux.objects import KUSTOMIZE
from threezone.flux.objects import SOURCE as SOURCE_GROUP

SOURCE = f"/apis/{SOURCE_GROUP}/v1/namespaces/{{namespace}}/{{plural}}"
KUSTOMIZATION = f"/apis/{KUSTOMIZE}/v1/namespaces/{{namespace}}/kustomizations"
SOURCES = SOURCE.format(namespace=NAMESPACE, plural="gitrepositories")
KUSTOMIZATIONS = KUSTOMIZATION.format(namespace=NAMESPACE)
PLURALS = {"GitRepository": "gitrepositories", "OCIRepository": "ocirepositories", "Bucket": "buckets"}


@dataclass(frozen=True)
class Target:
    """A Kustomization of Flux and the source that it applies; by default both have one name and one namespace."""

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
        return SOURCE.format(namespace=self.source_namespace or self.namespace, plural=PLURALS[self.source_kind])

    @property
    def paths(self) -> tuple[str, str]:
        """The API paths of the two objects: the source's, the Kustomization's."""
        return f"{self.sources}/{self.source or self.name}", f"{self.kustomizations}/{self.name}"

    def find(self, world: World) -> tuple[Json | None, Json | None]:
        """The source and the Kustomization, as far as `world` has them."""
        source = f"{self.source_namespace or self.namespace}/{self.source or self.name}"
        kustomizations = world.get(self.kustomizations, {})
        return world.get(self.sources, {}).get(source), kustomizations.get(f"{self.namespace}/{self.name}")


def target(api: Api, name: str, namespace: str = NAMESPACE) -> Target:
    """The Kustomization of that name with the source that it names. Raises DeliveryError when there is none."""
    kustomization = api.get(f"{KUSTOMIZATION.format(namespace=namespace)}/{name}")
    if kustomization is None:
        raise DeliveryError(
            f"there is no Kustomization {name} in the namespace {namespace}",
            fix="kubectl get kustomizations --all-namespaces",
        )
    source = kustomization["spec"]["sourceRef"]
    if source["kind"] not in PLURALS:
        raise UsageError(f"the Kustomization {name} applies a {source['kind']}, which has no revisions to wait for")
    return Target(name, namespace, source["name"], source.get("namespace", ""), source["kind"])


def target_of(lab: Lab) -> Target:
    """What Flux reconciles for the lab; on an external cluster, in a namespace of ours."""
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
    decryption: str = "",
) -> None:
    """Declare what Flux reconciles (server-side apply; nothing changes when it is declared already).

    With `wait` Flux calls a revision ready when all its objects are healthy, else when they are applied. `secret` is
    the name of the Secret that it reads the source with, and
    `decryption` that of the one with the keys for SOPS ("": nothing encrypted is applied, for Flux cannot read it).
    """  # fmt: skip
    source, kustomization = Target(name, namespace).paths
    meta = {"name": name, "namespace": namespace}
    credentials = {"secretRef": {"name": secret}} if secret else {}
    api.apply(
        source,
        {
            "apiVersion": f"{SOURCE_GROUP}/v1",
            "kind": "GitRepository",
            "metadata": meta,
            "spec": {"url": url, "ref": {"branch": branch}, "interval": interval, "timeout": "60s", **credentials},
        },
    )
    api.apply(kustomization, manifest(Target(name, namespace), path, wait=wait, decryption=decryption))


def manifest(target: Target, path: str, *, wait: bool = True, decryption: str = "") -> Json:
    """The Kustomization of a delivery of `path`.

    It always decrypts: else Flux would apply encrypted text, and pods would take it for the value.
    """
    keys = {"secretRef": {"name": decryption}} if decryption else {}
    return {
        "apiVersion": f"{KUSTOMIZE}/v1",
        "kind": "Kustomization",
        "metadata": {"name": target.name, "namespace": target.namespace},
        "spec": {
            "sourceRef": {"kind": "GitRepository", "name": target.name},
            "path": f"./{path}",
            "prune": True,
            "wait": wait,
            "interval": "10m0s",
            "retryInterval": "15s",
            "timeout": "2m0s",
            "decryption": {"provider": "sops", **keys},
        },
    }


def forget(api: Api, target: Target, seconds: float) -> None:
    """Delete what `declare` declared: the Kustomization, with what it applied, and then its source."""
    for path in reversed(target.paths):
        if item := api.get(path):
            collection, _, name = path.rpartition("/")
            deletion.delete(api, path)
            deletion.wait_gone(api, {collection: [key_of(item)]}, seconds, f"the end of {item['kind']} {name}")


def request(api: Api, target: Target, *, source_only: bool = False) -> str:
    """Ask Flux to fetch and apply now, by its own annotation. Returns the request's stamp.

    Flux applies a new revision by itself: for that, requesting the source is enough.
    """
    return objects.request(api, target.paths[:1] if source_only else target.paths)
