"""What a proof stands on in the cluster: a namespace of ours with Flux's two objects, a sign of life, and the way back.

A proof's namespace holds a Lease that its run renews. Whoever sees one that is no longer renewed knows that the run was
killed, and removes what it left: from any machine, by the API server's own clock.
"""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial
from http import HTTPStatus

from threezone.clients.kubernetes.api import Api, Json, Refused
from threezone.clients.kubernetes.watch import NAMESPACES, Overdue, World, wait_for
from threezone.core.errors import ClusterError, ThreezoneError
from threezone.core.events import note
from threezone.delivery import sync
from threezone.delivery.proof import manifests
from threezone.delivery.proof.manifests import Names
from threezone.delivery.sync import Target
from threezone.flux.components import DEPLOYMENTS

LEASE = "/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases/runner"
RENEWAL = 5.0  # seconds
DEAD = 30.0  # seconds without a renewal after which a run counts as killed
KEPT_LABEL = "proof.threezone/kept"
PATIENCE = 20.0  # seconds for Flux to remove its own objects; then they are removed without it
GOING = 60.0  # seconds for a namespace to go


def target(names: Names) -> Target:
    """Flux's objects of this proof."""
    return Target(names.name, names.ground)


def prepare(api: Api, names: Names) -> None:
    """Make our namespace, with a sign of life in it."""
    meta = {"name": names.ground, "labels": names.labels}
    api.apply(f"{NAMESPACES}/{names.ground}", {"apiVersion": "v1", "kind": "Namespace", "metadata": meta})
    renew(api, names)


def declare(api: Api, names: Names, url: str) -> None:
    """Tell Flux to apply the proof's path of its branch.

    Flux looks at an object's health every 5 s (kustomize-controller, checkHealth); we watch it ourselves.
    """
    sync.declare(
        api, name=names.name, namespace=names.ground, url=url, branch=names.name, path=names.path,
        interval="10m0s", wait=False,
    )  # fmt: skip


def renew(api: Api, names: Names) -> Json:
    """Say that this run lives. Returns the Lease; its managedFields carry the API server's time."""
    return api.apply(
        LEASE.format(namespace=names.ground),
        {
            "apiVersion": "coordination.k8s.io/v1",
            "kind": "Lease",
            "metadata": {"name": "runner", "namespace": names.ground},
            "spec": {
                "holderIdentity": f"{socket.gethostname()}:{os.getpid()}",
                "leaseDurationSeconds": int(DEAD),
                "renewTime": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
            },
        },
    )


@contextmanager
def living(api: Api, names: Names) -> Iterator[None]:
    """Renew the sign of life while the block runs."""
    over = threading.Event()

    def beat() -> None:
        while not over.wait(RENEWAL):
            try:
                renew(api, names)
            except ThreezoneError:  # the API server is away, or it is all being removed
                continue

    thread = threading.Thread(target=beat, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join(RENEWAL)


def last_sign(item: Json) -> datetime:
    """When the object was last written, by the API server's clock. Pure."""
    times = [entry["time"] for entry in item["metadata"].get("managedFields") or [] if "time" in entry]
    return datetime.fromisoformat(max([*times, item["metadata"]["creationTimestamp"]]))


def dead(namespaces: Iterable[Json], leases: Mapping[str, Json], now: datetime) -> list[Names]:
    """The proofs whose runs no longer live, from the namespaces that carry our label and the Leases in them. Pure.

    A proof that was kept on purpose is nobody's leftover.
    """
    found = []
    for namespace in namespaces:
        labels = namespace["metadata"].get("labels") or {}
        names = Names(labels.get(manifests.INSTANCE_LABEL, "").removeprefix("proof-"))
        if namespace["metadata"]["name"] != names.ground or KEPT_LABEL in labels:
            continue
        sign = leases.get(names.ground, namespace)
        if (now - last_sign(sign)).total_seconds() > DEAD:
            found.append(names)
    return found


def leftovers(api: Api, names: Names) -> list[Names]:
    """The dead proofs in the cluster, as seen by the living one of `names`."""
    now = last_sign(renew(api, names))
    selector = f"{manifests.PART_LABEL}={manifests.PART}"
    namespaces = (api.get(NAMESPACES, labelSelector=selector) or {}).get("items") or []
    leases = {
        name: lease
        for name in (namespace["metadata"]["name"] for namespace in namespaces)
        if (lease := api.get(LEASE.format(namespace=name)))
    }
    return dead(namespaces, leases, now)


def keep(api: Api, names: Names) -> None:
    """Mark the proof as kept: nobody removes it but its user."""
    api.merge(f"{NAMESPACES}/{names.ground}", {"metadata": {"labels": {KEPT_LABEL: "true"}}})


def release(api: Api, names: Names) -> None:
    """Do what the controller of our finalizer would do: let the guarded object go."""
    path = f"/api/v1/namespaces/{names.ground}/configmaps/{manifests.GUARD}"
    _unless_gone(lambda: api.merge(path, {"metadata": {"finalizers": None}}))


def remove(api: Api, names: Names) -> None:
    """Remove everything of this proof from the cluster and wait until it is gone. May be run again.

    Flux prunes what it applied while its controllers run; where they do not, it is removed without them. Raises
    ClusterError when something stays.
    """
    at = target(names)
    source, kustomization = at.paths
    # Suspended or told not to prune, Flux would leave everything behind.
    _unless_gone(lambda: api.merge(kustomization, {"spec": {"suspend": False, "prune": True}}))
    _unless_gone(lambda: api.send("DELETE", kustomization))
    _finalized(api, at.kustomizations, kustomization, "kustomize-controller")
    # All else at once: a namespace takes 5 s at least (k8s.io/kubernetes, pkg/controller/namespace,
    # namespaceDeletionGracePeriod).
    for name in (names.name, names.ground):
        _delete_namespace(api, names, name)
    for path in (source, f"/api/v1/namespaces/{names.ground}/configmaps/{manifests.GUARD}"):
        _unless_gone(partial(api.send, "DELETE", path))
    release(api, names)
    _finalized(api, at.sources, source, "source-controller")
    wait_for(
        api,
        [NAMESPACES],
        lambda world: [
            f"the namespace {name} to be gone" for name in (names.name, names.ground) if f"/{name}" in world[NAMESPACES]
        ],
        seconds=GOING,
        what=f"the removal of {names.name}",
    )


def _finalized(api: Api, collection: str, path: str, controller: str) -> None:
    """Wait until one of Flux's objects has gone; without its controller, or after a while, take its finalizers away."""
    if api.get(path) is None:
        return
    deployment = api.get(f"{DEPLOYMENTS}/{controller}")
    works = deployment is None or (deployment.get("status") or {}).get("availableReplicas", 0) > 0
    name = path.rpartition("/")[2]

    def judge(world: World) -> list[str]:
        return [f"{controller} to let {key} go" for key in world[collection] if key.endswith(f"/{name}")]

    try:
        wait_for(api, [collection], judge, seconds=PATIENCE if works else 0.0, what=name)
    except Overdue:
        note(f"{controller} does not answer: {name} is removed without it")
        _unless_gone(lambda: api.merge(path, {"metadata": {"finalizers": None}}))


def _delete_namespace(api: Api, names: Names, name: str) -> None:
    """Delete a namespace, if it is this proof's: one of the same name that is not is left alone."""
    found = api.get(f"{NAMESPACES}/{name}")
    if found is None:
        return
    if (found["metadata"].get("labels") or {}).get(manifests.INSTANCE_LABEL) != names.name:
        raise ClusterError(f"the namespace {name} is not of this proof: it is left alone")
    if not found["metadata"].get("deletionTimestamp"):
        _unless_gone(lambda: api.send("DELETE", f"{NAMESPACES}/{name}"))


def _unless_gone(change: Callable[[], object]) -> None:
    try:
        change()
    except Refused as refused:
        if refused.status != HTTPStatus.NOT_FOUND:
            raise
