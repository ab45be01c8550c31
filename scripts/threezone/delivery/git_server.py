"""The lab's Git server in the cluster: smart HTTP, read by anyone inside, written with a generated password."""

from __future__ import annotations

import base64
import re
import secrets
import time
from collections.abc import Sequence
from http import HTTPStatus
from pathlib import Path

from threezone.clients.kubectl import execute
from threezone.clients.kubernetes import kube_proxy, pods
from threezone.clients.kubernetes.api import Api, Json, Refused
from threezone.clients.kubernetes.watch import NAMESPACES, World, namespace_usable, wait_for
from threezone.core import paths, process
from threezone.core.errors import UsageError
from threezone.core.events import note, step
from threezone.core.files import PRIVATE, write_atomic

NAMESPACE = "threezone"
NAME = "git"
USER = "threezone"
PORT = 8080
SECRET = "git-password"  # noqa: S105  the object's name
PODS = f"/api/v1/namespaces/{NAMESPACE}/pods"
DEPLOYMENTS = f"/apis/apps/v1/namespaces/{NAMESPACE}/deployments"
SLICES = f"/apis/discovery.k8s.io/v1/namespaces/{NAMESPACE}/endpointslices"
_OF_SERVICE = "kubernetes.io/service-name"  # discovery/v1: LabelServiceName
UID = 65532  # of the server's process, which owns its repositories
STORE = "/var/lib/threezone/git"  # on a node of kind's; its /var is a volume of the engine's
NO_PROGRAM = (126, 127)  # exit codes: sh(1), and kubectl exec without a shell
HEALTHY = "ok"  # what /healthz answers
HOST, CONTROL_PLANE = "kubernetes.io/hostname", "node-role.kubernetes.io/control-plane"  # a node's label, and its taint
LABELS = {"app.kubernetes.io/name": NAME, "app.kubernetes.io/part-of": "threezone"}
OURS: Json = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE, "labels": LABELS}}


def url(repository: str) -> str:
    """The repository's address inside the cluster, as Flux uses it."""
    return f"http://{NAME}.{NAMESPACE}.svc.cluster.local/{repository}.git"


def password_file(cluster: str) -> Path:
    """Where the password for pushing is kept on this machine (0600)."""
    return paths.cluster_dir(cluster) / paths.PASSWORD


def forget(cluster: str) -> None:
    """Remove the password of a Git server that is gone, with what a killed writer left, and the locks of a push."""
    directory = paths.cluster_dir(cluster)
    for file in (*directory.glob(f"{paths.PASSWORD}*"), *(directory / lock for lock in paths.LOCKS)):
        file.unlink(missing_ok=True)
    paths.remove_empty(directory)


def password(api: Api, cluster: str) -> str:
    """The password for pushing: the cluster's Secret decides, the file is its copy; made here when there is none."""
    known = api.get(f"/api/v1/namespaces/{NAMESPACE}/secrets/{SECRET}")
    value = base64.b64decode(known["data"]["password"]).decode() if known else secrets.token_urlsafe(24)
    process.keep_secret(value)
    keep(password_file(cluster), value)
    return value


def keep(path: Path, value: str) -> None:
    """Write a secret to a file that only this user may read; an equal one is left alone."""
    paths.make(path.parent)
    if path.is_file() and path.read_bytes() == value.encode() and path.stat().st_mode & 0o777 == PRIVATE:
        return
    write_atomic(path, value)


def repository_name(name: str) -> str:
    """A valid name for a repository: it names Flux's objects too (RFC 1123). Raises UsageError."""
    if not re.fullmatch(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?", name):
        raise UsageError(
            f"{name!r} is no repository name: lower-case letters, digits and dashes, at most 63 of them",
            fix="choose another name",
        )
    return name


def served(deployment: Json | None) -> tuple[str, ...]:
    """The repositories of a Git server that is there, without `.git`. Pure."""
    return tuple(deployment["spec"]["template"]["spec"]["containers"][0].get("args") or ()) if deployment else ()


def stored_on(deployment: Json | None) -> str:
    """The node that keeps the repositories of a Git server that is there; "" where a claim does. Pure."""
    pod = deployment["spec"]["template"]["spec"] if deployment else {}
    return str((pod.get("nodeSelector") or {}).get(HOST, ""))


def objects(image: str, repositories: Sequence[str], secret: str, node: str = "") -> list[tuple[str, Json]]:
    """The server's objects with their API paths, in order of creation. Pure.

    The repositories are kept in STORE on `node`, which has to be there; without a node in a claim, for whose volume a
    new cluster of kind's starts two pods first (6 s).
    """
    core = f"/api/v1/namespaces/{NAMESPACE}"
    claim: list[tuple[str, Json]] = []
    meta: Json = {"name": NAME, "namespace": NAMESPACE, "labels": LABELS}
    container: Json = {
        "name": NAME,
        "image": image,
        "imagePullPolicy": "IfNotPresent",
        "args": list(repositories),
        "ports": [{"name": "http", "containerPort": PORT}],
        "readinessProbe": {"httpGet": {"path": "/healthz", "port": "http"}, "periodSeconds": 1},
        "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
        "volumeMounts": [
            {"name": "repositories", "mountPath": "/srv/git"},
            {"name": "password", "mountPath": "/etc/threezone", "readOnly": True},
        ],
    }
    pod: Json = {
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": UID,
            "runAsGroup": UID,
            "fsGroup": UID,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [container],
        "volumes": [
            {"name": "repositories"},
            {"name": "password", "secret": {"secretName": SECRET, "defaultMode": 0o440}},
        ],
    }
    if node:
        pod["volumes"][0]["hostPath"] = {"path": STORE, "type": "Directory"}
        pod["nodeSelector"] = {HOST: node}
        pod["tolerations"] = [{"key": CONTROL_PLANE, "operator": "Exists", "effect": "NoSchedule"}]
    else:
        pod["volumes"][0]["persistentVolumeClaim"] = {"claimName": NAME}
        spec = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}
        wanted: Json = {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": meta, "spec": spec}
        claim.append((f"{core}/persistentvolumeclaims/{NAME}", wanted))
    return [
        (f"{NAMESPACES}/{NAMESPACE}", OURS),
        (
            f"{core}/secrets/{SECRET}",
            {
                "apiVersion": "v1",
                "kind": "Secret",
                "metadata": {"name": SECRET, "namespace": NAMESPACE, "labels": LABELS},
                "data": {"password": base64.b64encode(secret.encode()).decode()},
            },
        ),
        *claim,
        (
            f"{core}/services/{NAME}",
            {
                "apiVersion": "v1",
                "kind": "Service",
                "metadata": meta,
                "spec": {"selector": LABELS, "ports": [{"name": "http", "port": 80, "targetPort": "http"}]},
            },
        ),
        (
            f"{DEPLOYMENTS}/{NAME}",
            {
                "apiVersion": "apps/v1",
                "kind": "Deployment",
                "metadata": meta,
                "spec": {
                    "replicas": 1,
                    # One writer on one volume: the old pod ends before the new one begins.
                    "strategy": {"type": "Recreate"},
                    "selector": {"matchLabels": LABELS},
                    "template": {"metadata": {"labels": LABELS}, "spec": pod},
                },
            },
        ),
    ]


def serve(
    api: Api, *, image: str, repository: str, secret: str, more: Sequence[str] = (), node: str = ""
) -> tuple[str, ...]:
    """Apply the server's objects (server-side; nothing changes when they are there already).

    `repository`, and `more` of them, come to those that are served. Returns all of them. For a new one the pod starts
    anew. They are kept on `node`, as `objects` says; a server that is there must be given the one that it has.
    """
    with step("serve Git in the cluster"):
        namespace_usable(api, NAMESPACE)
        before = served(api.get(f"{DEPLOYMENTS}/{NAME}"))
        repositories = tuple(dict.fromkeys((*before, repository, *more)))
        for path, wanted in objects(image, repositories, secret, node):
            api.apply(path, wanted)
    return repositories


def make_namespace(api: Api) -> None:
    """Have the namespace alone, for what stands in it without a Git server."""
    namespace_usable(api, NAMESPACE)
    api.apply(f"{NAMESPACES}/{NAMESPACE}", OURS)


def is_here(api: Api) -> bool:
    """Whether the Git server's namespace is there, and ours."""
    seen = api.get(f"{NAMESPACES}/{NAMESPACE}") or {"metadata": {}}
    return bool((seen["metadata"].get("labels") or {}).get("app.kubernetes.io/part-of") == "threezone")


def remove(api: Api, seconds: float) -> None:
    """Delete the Git server's namespace with everything in it, and wait until it is gone."""
    try:
        api.send("DELETE", f"{NAMESPACES}/{NAMESPACE}")
    except Refused as refused:
        if refused.status != HTTPStatus.NOT_FOUND:
            raise
    wait_for(
        api,
        [NAMESPACES],
        lambda world: [f"the end of the namespace {NAMESPACE}"] if f"/{NAMESPACE}" in world[NAMESPACES] else [],
        seconds=seconds,
        what=f"the namespace {NAMESPACE}",
    )


def missing(world: World) -> list[str]:
    """The judge of a serving Git server. Pure."""
    lines = pods.missing(world[PODS].values())
    deployment = world[DEPLOYMENTS].get(f"{NAMESPACE}/{NAME}") or {"metadata": {}}
    status = deployment.get("status") or {}
    current = status.get("observedGeneration", 0) >= deployment["metadata"].get("generation", 1)
    if not (current and status.get("availableReplicas", 0) >= 1 and status.get("updatedReplicas", 0) >= 1):
        lines.append("the Git server")
    return lines


def unrouted(world: World) -> list[str]:
    """The judge of the Service's address: whether it has a pod to lead to. Pure."""
    slices = [s for s in world[SLICES].values() if s["metadata"].get("labels", {}).get(_OF_SERVICE) == NAME]
    endpoints = [endpoint for one in slices for endpoint in one.get("endpoints") or []]
    ready = any((endpoint.get("conditions") or {}).get("ready") for endpoint in endpoints)
    return [] if ready else ["the Git server's endpoint"]


def wait_ready(api: Api, seconds: float) -> None:
    """Watch until the Git server answers at its Service's address."""
    with step("wait for the Git server"):
        wait_for(
            api,
            [PODS, DEPLOYMENTS, SLICES],
            lambda world: [*missing(world), *unrouted(world)],
            seconds=seconds,
            what="the Git server",
        )
        kube_proxy.settled(api)


def reach(api: Api, kubectl: Path, context: str, seconds: float = 20.0) -> None:
    """Ask by the Service's name from inside, as Flux will, until the Git server answers; at most `seconds`.

    Nothing is asked where the pod has no program for that (an image of the user's own). That kube-proxy has no more to
    write does not mean that it has heard of a new Service. What is sent there before leaves the node, and a stranger's
    answer is kept: a 404 of somebody's proxy has stopped Flux for three minutes.
    """
    service = api.get(f"/api/v1/namespaces/{NAMESPACE}/services/{NAME}") or {"spec": {}}
    address = str(service["spec"].get("clusterIP", ""))
    # Not by wget: a static program of glibc's cannot look names up, and busybox's falls over even with an address.
    look_up = f"busybox nslookup {NAME}.{NAMESPACE}.svc.cluster.local >/dev/null"
    ask = f"{look_up} && printf 'GET /healthz HTTP/1.0\\r\\n\\r\\n' | busybox nc -w 2 {address} 80"
    where = (kubectl, context, NAMESPACE, f"deployment/{NAME}")
    deadline = time.monotonic() + seconds
    while not _healthy((done := execute(*where, ("sh", "-c", ask))).stdout):
        if time.monotonic() > deadline or done.exit_code in NO_PROGRAM:
            note(f"the Git server does not answer at {address} from inside the cluster: {done.stderr.strip()[-200:]}")
            return


def _healthy(answer: str) -> bool:
    head, _, body = answer.replace("\r\n", "\n").partition("\n\n")
    return " 200 " in head.partition("\n")[0] and body.strip() == HEALTHY
