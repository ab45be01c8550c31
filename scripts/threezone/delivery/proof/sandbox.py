"""The namespace of a proof in the cluster, with Flux's two objects and a Lease; create it, and remove it again.

The run renews the Lease in its namespace. A Lease that is no longer renewed shows that its run was killed, and the next
proof, on any machine, removes what is left of it. The API server's clock decides.
"""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from http import HTTPStatus

from threezone.clients.kubernetes.api import Api, Json, Refused
from threezone.clients.kubernetes.watch import NAMESPACES, Overdue, key_of
from threezone.core.errors import ClusterError, ThreezoneError
from threezone.core.events import note
from threezone.delivery.proof.assertions import Assertions
from threezone.delivery.proof.manifests import INSTANCE_LABEL, PART, PART_LABEL, Names
from threezone.flux import deletion
from threezone.flux.components import DEPLOYMENTS

LEASE = "/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases/runner"
RENEWAL = 5.0  # seconds
DEAD = 30.0  # seconds without a renewal after which a run counts as killed
KEPT_LABEL = "proof.threezone/kept"
FLUX_SECONDS = 20.0  # for Flux to remove its own objects; then they are removed without it
NAMESPACE_SECONDS = 60.0  # for a namespace to go


def prepare(api: Api, names: Names) -> None:
    """Create the sandbox's namespace with a Lease in it."""
    meta = {"name": names.sandbox, "labels": names.labels}
    api.apply(f"{NAMESPACES}/{names.sandbox}", {"apiVersion": "v1", "kind": "Namespace", "metadata": meta})
    renew(api, names)


def renew(api: Api, names: Names) -> Json:
    """Renew the Lease and return it; its managedFields carry the API server's time."""
    spec = {
        "holderIdentity": f"{socket.gethostname()}:{os.getpid()}",
        "leaseDurationSeconds": int(DEAD),
        "renewTime": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
    }
    meta = {"name": "runner", "namespace": names.sandbox}
    lease = {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": meta, "spec": spec}
    return api.apply(LEASE.format(namespace=names.sandbox), lease)


@contextmanager
def renewing(api: Api, names: Names) -> Iterator[None]:
    """Renew the Lease while the block runs."""
    over = threading.Event()

    def beat() -> None:
        while not over.wait(RENEWAL):
            try:
                renew(api, names)
            except ThreezoneError:  # the API server is away, or everything is being removed
                continue

    thread = threading.Thread(target=beat, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join(RENEWAL)


def last_written(item: Json) -> datetime:
    """When the object was last written, by the API server's clock. Pure."""
    times = [entry["time"] for entry in item["metadata"].get("managedFields") or [] if "time" in entry]
    return datetime.fromisoformat(max([*times, item["metadata"]["creationTimestamp"]]))


def dead(namespaces: Iterable[Json], leases: Mapping[str, Json], now: datetime) -> list[Names]:
    """The proofs whose runs were killed, from the namespaces with our label and the Leases in them. Pure.

    A proof that was kept on purpose is not one of them.
    """
    proofs = []
    for namespace in namespaces:
        labels = namespace["metadata"].get("labels") or {}
        names = Names(labels.get(INSTANCE_LABEL, "").removeprefix("proof-"))
        if namespace["metadata"]["name"] != names.sandbox or KEPT_LABEL in labels:
            continue
        if (now - last_written(leases.get(names.sandbox, namespace))).total_seconds() > DEAD:
            proofs.append(names)
    return proofs


def leftovers(api: Api, names: Names) -> list[Names]:
    """The dead proofs in the cluster; `names` are those of the running one."""
    now = last_written(renew(api, names))
    selector = f"{PART_LABEL}={PART}"
    namespaces = (api.get(NAMESPACES, labelSelector=selector) or {}).get("items") or []
    leases = {
        name: lease
        for name in (namespace["metadata"]["name"] for namespace in namespaces)
        if (lease := api.get(LEASE.format(namespace=name)))
    }
    return dead(namespaces, leases, now)


def remove(api: Api, names: Names) -> None:
    """Remove everything of this proof from the cluster and wait until it is gone. May be run again.

    Flux prunes what it applied while its controllers run; otherwise it is removed without them. Raises ClusterError
    when something stays.
    """
    target = Assertions(names).target
    source, kustomization = target.paths
    # Suspended or without pruning, Flux would leave everything behind.
    _merge(api, kustomization, {"spec": {"suspend": False, "prune": True}})
    deletion.delete(api, kustomization)
    _wait_finalized(api, kustomization, "kustomize-controller")
    # Everything else at once: a namespace takes 5 s at least (k8s.io/kubernetes, pkg/controller/namespace,
    # namespaceDeletionGracePeriod).
    namespaces = (names.name, names.sandbox)
    for name in namespaces:
        _delete_namespace(api, names, name)
    for path in (source, names.guard):
        deletion.delete(api, path)
    release(api, names)
    _wait_finalized(api, source, "source-controller")
    gone = {NAMESPACES: [f"/{name}" for name in namespaces]}
    deletion.wait_gone(api, gone, NAMESPACE_SECONDS, f"the removal of {names.name}")


def release(api: Api, names: Names) -> None:
    """Remove our finalizer from the guarded object, as its controller would."""
    _merge(api, names.guard, {"metadata": {"finalizers": None}})


def _merge(api: Api, path: str, change: Json) -> None:
    """Patch an object; a missing one is ignored."""
    try:
        api.merge(path, change)
    except Refused as refused:
        if refused.status != HTTPStatus.NOT_FOUND:
            raise


def _wait_finalized(api: Api, path: str, controller: str) -> None:
    """Wait until one of Flux's objects is gone; if its controller does not answer, remove Flux's finalizers."""
    item = api.get(path)
    if item is None:
        return
    deployment = api.get(f"{DEPLOYMENTS}/{controller}")
    works = deployment is None or (deployment.get("status") or {}).get("availableReplicas", 0) > 0
    collection, _, name = path.rpartition("/")
    try:
        deletion.wait_gone(
            api, {collection: [key_of(item)]}, FLUX_SECONDS if works else 0.0, f"{name}, by {controller}"
        )
    except Overdue:
        note(f"{controller} does not answer: {name} is removed without it")
        deletion.release(api, path)


def _delete_namespace(api: Api, names: Names, name: str) -> None:
    """Delete a namespace of this proof; another one of the same name is left alone."""
    namespace = api.get(f"{NAMESPACES}/{name}")
    if namespace is None:
        return
    if (namespace["metadata"].get("labels") or {}).get(INSTANCE_LABEL) != names.name:
        raise ClusterError(f"the namespace {name} does not belong to this proof: it is not deleted")
    if not namespace["metadata"].get("deletionTimestamp"):
        deletion.delete(api, f"{NAMESPACES}/{name}")
