"""The local registry made known to a cluster: to containerd on each node, and to tools by the documented ConfigMap.

Both are written through the nodes' containers, so no route to the API server is needed, and both may be written again.
A file on a path that the user has mounted from the host is the user's: it is read, and what it should say is shown.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from threezone.clients import kind, kubectl
from threezone.clients.docker.containers import execute, read
from threezone.clients.kind import Node
from threezone.cluster import containers
from threezone.cluster.containers import Mount
from threezone.core.errors import ClusterError, CommandFailed
from threezone.core.events import note
from threezone.images import engine_images, registry
from threezone.images.registry import Instance

CERTS = "etc/containerd/certs.d"  # containerd's own default (plugins/cri/images), which kind leaves as it is
CONFIG_MAP = "local-registry-hosting"
NAMESPACE = "kube-public"
HELP = "https://kind.sigs.k8s.io/docs/user/local-registry/"
BY = "app.kubernetes.io/managed-by"
US = "threezone"
KUBECTL = (*kubectl.ON_NODE, "--namespace", NAMESPACE)


def hosts(instances: Sequence[Instance]) -> dict[str, str]:
    """The hosts.toml files by which containerd finds these instances, by their paths on a node. Pure."""
    files = {}
    for each in instances:
        host = f'[host."http://{each.address}"]\n'
        if each.upstream:  # where the mirror does not answer, containerd goes to the registry itself
            text = f'server = "{registry.url(each.upstream)}"\n\n{host}  capabilities = ["pull", "resolve"]\n'
            files[f"{CERTS}/{each.upstream}/hosts.toml"] = text
        else:
            for name in (registry.address(each.port), each.address):
                files[f"{CERTS}/{name}/hosts.toml"] = f'server = "http://{each.address}"\n\n{host}'
    return files


def hosting(instance: Instance) -> dict[str, Any]:
    """The ConfigMap by which tools find a local registry (KEP-1755). Pure."""
    facts = {
        "host": registry.address(instance.port),
        "hostFromContainerRuntime": instance.address,
        "hostFromClusterNetwork": instance.address,
        "help": HELP,
    }
    text = "".join(f"{key}: {json.dumps(value)}\n" for key, value in facts.items())
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": CONFIG_MAP, "namespace": NAMESPACE, "labels": {BY: US}},
        "data": {"localRegistryHosting.v1": text},
    }


def reachable(cluster: str | None = None) -> list[Node]:
    """The running Kubernetes nodes of one cluster of ours, or of all."""
    return [node for node in kind.nodes(cluster) if node.ours and node.state == "running" and node.in_kubernetes]


def wire(nodes: Sequence[Node], instances: Sequence[Instance]) -> tuple[str, ...]:
    """Make the instances known to these nodes and their clusters. Returns the clusters that know the registry.

    In a cluster with a node that the user has to tell, the ConfigMap would not be true.
    """
    files = hosts(instances)
    registry_files = set(hosts(instances[:1]))
    mounts = _mounts(nodes)
    with ThreadPoolExecutor(8) as pool:
        missing = dict(zip(nodes, pool.map(lambda node: _put(node, files, mounts[node.container]), nodes), strict=True))
    hints = {mount.on_host(f"/{path}"): files[path] for lacking in missing.values() for path, mount in lacking.items()}
    for path, text in sorted(hints.items()):
        note(f"{path} is in a directory of yours that is mounted into nodes, and is not written; let it say:\n{text}")
    apart = {node.cluster for node, lacking in missing.items() if registry_files & lacking.keys()}
    for node in _one_each(nodes):
        if node.cluster not in apart:
            _announce(node, hosting(instances[0]))
    return tuple(sorted({node.cluster for node in nodes} - apart))


def unwire(nodes: Sequence[Node], instances: Sequence[Instance]) -> None:
    """Take it back: the files on the nodes that are not the user's, and the ConfigMap if it is ours."""
    mounts = _mounts(nodes)
    directories = sorted({f"/{path.rpartition('/')[0]}" for path in hosts(instances)})
    for node in nodes:
        own = [each for each in directories if not any(mount.overlaps(each) for mount in mounts[node.container])]
        if own:
            execute(node.container, "rm", "-rf", *own, check=False)
    for node in _one_each(nodes):
        argv = [*KUBECTL, "delete", "configmap", "--ignore-not-found", "--selector", f"{BY}={US}"]
        execute(
            node.container,
            *argv,
            "--field-selector",
            f"metadata.name={CONFIG_MAP}",
            timeout=60,
            check=False,  # a cluster that does not answer keeps it, and gets the next one with the next start
        )


def _one_each(nodes: Sequence[Node]) -> list[Node]:
    """A control plane of each cluster."""
    return list({node.cluster: node for node in nodes if node.role == "control-plane"}.values())


def _mounts(nodes: Sequence[Node]) -> dict[str, tuple[Mount, ...]]:
    """The user's mounts of each node, by the container's id; a node that has gone meanwhile has none."""
    seen = {one.node.container: one.mounts for one in containers.inspect(nodes)}
    return {node.container: seen.get(node.container, ()) for node in nodes}


def _put(node: Node, files: Mapping[str, str], mounts: Sequence[Mount]) -> dict[str, Mount]:
    """Write the files into a node, but not through a mount; returns those of them that the user's own do not say."""
    mounted = {path: mount for path in files for mount in mounts if mount.overlaps(f"/{path}")}
    try:
        if own := {path: text for path, text in files.items() if path not in mounted}:
            engine_images.put_texts(node.container, own)
    except CommandFailed as error:
        raise ClusterError(f"the node {node.name} takes no files", evidence=error.tail) from None
    return {path: mount for path, mount in mounted.items() if not _says(node, f"/{path}", files[path])}


def _says(node: Node, path: str, wanted: str) -> bool:
    """Whether a file of the user's leads to the host that ours would lead to; the rest of it is the user's choice."""
    (host,) = tomllib.loads(wanted)["host"]
    try:
        hosts = tomllib.loads((read(node.container, path) or b"").decode()).get("host")
    except ValueError:  # no TOML, or no text
        return False
    return isinstance(hosts, dict) and host in hosts


def _announce(node: Node, wanted: Mapping[str, Any]) -> None:
    """Apply the ConfigMap, unless somebody else's is there."""
    get = ["get", "configmap", CONFIG_MAP, "--ignore-not-found", "--output=json"]
    try:
        seen = execute(node.container, *KUBECTL, *get, timeout=60).stdout
        now = json.loads(seen) if seen.strip() else None
        if now is not None and now["metadata"].get("labels", {}).get(BY) != US:
            note(f"the ConfigMap {NAMESPACE}/{CONFIG_MAP} of the cluster {node.cluster} is not ours; it is left alone")
            return
        if now is None or now.get("data") != wanted["data"]:
            apply = ["apply", "--server-side", f"--field-manager={US}", "--filename=-"]
            execute(node.container, *KUBECTL, *apply, stdin=json.dumps(wanted), timeout=60)
    except CommandFailed as error:
        note(f"the cluster {node.cluster} does not answer, so it is not told of the registry: {error.tail[-200:]}")
