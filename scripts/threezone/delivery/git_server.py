"""The lab's Git server in the cluster: smart HTTP, readable by anyone inside, writable with a generated password."""

from __future__ import annotations

import base64
import json
import re
import secrets
import time
from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from string import Template

from threezone.clients import kubectl
from threezone.clients.kubernetes import kube_proxy, pods
from threezone.clients.kubernetes.api import Api, Json
from threezone.clients.kubernetes.watch import NAMESPACES, World, wait_for, wait_for_namespace_deletion
from threezone.cluster.lab import Lab
from threezone.core import paths, redaction
from threezone.core.errors import UsageError
from threezone.core.events import note, step
from threezone.core.files import PRIVATE, write_atomic
from threezone.flux import deletion

MANIFESTS = Path(__file__).with_name("git_server.yaml")
NAMESPACE = "threezone"
NAME = "git"
USER = "threezone"
TARGET = (NAMESPACE, f"service/{NAME}", 80)  # of a port-forward
CORE = f"/api/v1/namespaces/{NAMESPACE}"
DEPLOYMENTS = f"/apis/apps/v1/namespaces/{NAMESPACE}/deployments"
ENDPOINTS = f"/apis/discovery.k8s.io/v1/namespaces/{NAMESPACE}/endpointslices"
COLLECTIONS = {
    "Namespace": NAMESPACES,
    "Secret": f"{CORE}/secrets",
    "PersistentVolumeClaim": f"{CORE}/persistentvolumeclaims",
    "Service": f"{CORE}/services",
    "Deployment": DEPLOYMENTS,
}
UID = 65532  # of the server's process, which owns its repositories
STORE = "/var/lib/threezone/git"  # on a kind node, whose /var is a volume of the engine
HOST, CONTROL_PLANE = "kubernetes.io/hostname", "node-role.kubernetes.io/control-plane"  # a node's label, and its taint
PART = "app.kubernetes.io/part-of"
LABELS = {"app.kubernetes.io/name": NAME, PART: "threezone"}


def url(repository: str) -> str:
    """The repository's address inside the cluster, as Flux uses it."""
    return f"http://{NAME}.{NAMESPACE}.svc.cluster.local/{repository}.git"


def forwarded(lab: Lab) -> AbstractContextManager[kubectl.Forward]:
    """A port-forward to the Git server, for as long as the block runs. Raises DeliveryError."""
    return kubectl.forwarded(lab.tools["kubectl"], lab.context, *TARGET)


def password_file(cluster: str) -> Path:
    """The file on this machine with the password for pushing (0600)."""
    return paths.cluster_dir(cluster) / paths.PASSWORD


def forget(cluster: str) -> None:
    """Remove the password of a deleted Git server, with what a killed writer left, and the locks of a push."""
    directory = paths.cluster_dir(cluster)
    for file in (*directory.glob(f"{paths.PASSWORD}*"), *(directory / lock for lock in paths.LOCKS)):
        file.unlink(missing_ok=True)
    paths.remove_empty(directory)


def password(api: Api, cluster: str) -> str:
    """Return the password in the cluster's Secret, or a new one, and copy it to the password file."""
    existing = api.get(f"{CORE}/secrets/git-password")
    value = base64.b64decode(existing["data"]["password"]).decode() if existing else secrets.token_urlsafe(24)
    redaction.keep_secret(value)
    write_private(password_file(cluster), value)
    return value


def write_private(path: Path, value: str) -> None:
    """Write a file that only this user may read; an equal one is left alone."""
    paths.make(path.parent)
    if path.is_file() and path.read_bytes() == value.encode() and path.stat().st_mode & 0o777 == PRIVATE:
        return
    write_atomic(path, value)


def repository_name(name: str) -> str:
    """Return a valid repository name: it names Flux's objects too (RFC 1123). Raises UsageError."""
    if not re.fullmatch(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?", name):
        raise UsageError(
            f"{name!r} is not a repository name: use lower-case letters, digits and dashes, at most 63",
            fix="choose another name",
        )
    return name


def find_deployment(api: Api) -> Json | None:
    """The Git server's Deployment."""
    return api.get(f"{DEPLOYMENTS}/{NAME}")


def repositories(deployment: Json | None) -> tuple[str, ...]:
    """The repositories that a Deployment serves, without `.git`; none without a Deployment."""
    return tuple(deployment["spec"]["template"]["spec"]["containers"][0].get("args") or ()) if deployment else ()


def image(deployment: Json) -> str:
    """The image of a Deployment of the Git server."""
    return str(deployment["spec"]["template"]["spec"]["containers"][0]["image"])


def served(api: Api) -> tuple[str, ...]:
    """The repositories of the cluster's Git server; none where there is none of ours."""
    return repositories(find_deployment(api)) if is_installed(api) else ()


def storage_node(deployment: Json | None) -> str:
    """The node that stores the repositories of a Deployment; "" where a claim does."""
    pod = deployment["spec"]["template"]["spec"] if deployment else {}
    return str((pod.get("nodeSelector") or {}).get(HOST, ""))


def manifests(image: str, repositories: Sequence[str], secret: str, node: str = "") -> list[tuple[str, Json]]:
    """Return the server's objects with their API paths, in order of creation.

    The repositories are stored in STORE on `node`, which must exist; without a node they are stored in a claim, whose
    volume takes a new kind cluster two more pods (6 s).
    """
    from threezone.core import safe_yaml

    data = base64.b64encode(secret.encode()).decode()
    values = {"image": image, "repositories": list(repositories), "password": data, "uid": UID}
    text = Template(MANIFESTS.read_text(encoding="utf-8"))
    declared = safe_yaml.load_all(text.substitute({name: json.dumps(value) for name, value in values.items()}))
    if node:
        declared = [item for item in declared if item["kind"] != "PersistentVolumeClaim"]
        pod = declared[-1]["spec"]["template"]["spec"]
        pod["volumes"][0] = {"name": "repositories", "hostPath": {"path": STORE, "type": "Directory"}}
        pod["nodeSelector"] = {HOST: node}
        pod["tolerations"] = [{"key": CONTROL_PLANE, "operator": "Exists", "effect": "NoSchedule"}]
    return [(f"{COLLECTIONS[item['kind']]}/{item['metadata']['name']}", item) for item in declared]


def make_namespace(api: Api) -> None:
    """Create the namespace alone, for what runs without a Git server."""
    wait_for_namespace_deletion(api, NAMESPACE)
    namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE, "labels": LABELS}}
    api.apply(f"{NAMESPACES}/{NAMESPACE}", namespace)


def apply(api: Api, *, image: str, names: Sequence[str], secret: str, node: str = "") -> tuple[str, ...]:
    """Apply the server's objects, with `names` beside the repositories that are already served. Returns all of them.

    For a new repository the pod restarts. `node` is that of `manifests`; an existing server must keep its own.
    """
    with step("serve Git in the cluster"):
        wait_for_namespace_deletion(api, NAMESPACE)
        served = tuple(dict.fromkeys((*repositories(find_deployment(api)), *names)))
        for path, wanted in manifests(image, served, secret, node):
            api.apply(path, wanted)
    return served


def is_installed(api: Api) -> bool:
    """Whether the Git server's namespace exists and is ours."""
    namespace = api.get(f"{NAMESPACES}/{NAMESPACE}") or {"metadata": {}}
    return bool((namespace["metadata"].get("labels") or {}).get(PART) == LABELS[PART])


def delete(api: Api, seconds: float) -> None:
    """Delete the Git server's namespace with everything in it, and wait until it is gone."""
    deletion.delete(api, f"{NAMESPACES}/{NAMESPACE}")
    deletion.wait_gone(api, {NAMESPACES: [f"/{NAMESPACE}"]}, seconds, f"the namespace {NAMESPACE}")


def wait_ready(api: Api, seconds: float) -> None:
    """Watch until the Git server runs and its Service has an endpoint."""
    with step("wait for the Git server"):
        wait_for(api, [f"{CORE}/pods", DEPLOYMENTS, ENDPOINTS], _missing, seconds=seconds, what="the Git server")
        kube_proxy.wait_for_rules(api)


def _missing(world: World) -> list[str]:
    lines = pods.missing(world[f"{CORE}/pods"].values())
    deployment = world[DEPLOYMENTS].get(f"{NAMESPACE}/{NAME}") or {"metadata": {}}
    status = deployment.get("status") or {}
    current = status.get("observedGeneration", 0) >= deployment["metadata"].get("generation", 1)
    if not (current and status.get("availableReplicas", 0) >= 1 and status.get("updatedReplicas", 0) >= 1):
        lines.append("the Git server")
    if not any(
        (endpoint.get("conditions") or {}).get("ready")
        for item in world[ENDPOINTS].values()
        if item["metadata"].get("labels", {}).get("kubernetes.io/service-name") == NAME
        for endpoint in item.get("endpoints") or []
    ):
        lines.append("the Git server's endpoint")
    return lines


def wait_reachable(lab: Lab, seconds: float = 20.0) -> None:
    """Wait until the Git server answers inside the cluster at its Service's name, as Flux uses it; at most `seconds`.

    Does nothing where the pod lacks the programs for that (a user's own image). After a Service is created, kube-proxy
    may not know of it yet. Until then requests leave the node, and whoever answers is believed: the 404 of a proxy has
    stopped Flux for three minutes.
    """
    service = lab.api.get(f"{CORE}/services/{NAME}") or {"spec": {}}
    address = str(service["spec"].get("clusterIP", ""))
    # Not wget: a static program with glibc cannot resolve names, and busybox's crashes even with an address.
    resolve = f"busybox nslookup {NAME}.{NAMESPACE}.svc.cluster.local >/dev/null"
    request = f"{resolve} && printf 'GET /healthz HTTP/1.0\\r\\n\\r\\n' | busybox nc -w 2 {address} 80"
    argv = ("sh", "-c", request)
    deadline = time.monotonic() + seconds
    while True:
        answer = kubectl.execute(lab.tools["kubectl"], lab.context, NAMESPACE, f"deployment/{NAME}", argv)
        head, _, body = answer.stdout.replace("\r\n", "\n").partition("\n\n")
        if " 200 " in head.partition("\n")[0] and body.strip() == "ok":
            return
        # 126 and 127: no such program, for sh(1) and for kubectl exec
        if time.monotonic() > deadline or answer.exit_code in (126, 127):
            words = answer.stderr.strip()[-200:]
            note(f"the Git server does not answer at {address} from inside the cluster: {words}")
            return
