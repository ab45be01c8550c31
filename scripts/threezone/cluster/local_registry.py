"""The local registry in clusters: containerd on each node and the documented ConfigMap point to it.

Both are written through the nodes' containers, which needs no route to the API server and can be repeated. A file on a
path that is mounted from the host belongs to the user: it is only read, and the content that it needs is shown.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from threezone.clients import kind, kubectl
from threezone.clients.docker import networks
from threezone.clients.docker.containers import execute, read
from threezone.clients.kind import Node
from threezone.cluster import containers
from threezone.cluster.containers import Mount
from threezone.cluster.lab import Lab
from threezone.core.errors import ClusterError, CommandFailed
from threezone.core.events import note, optional
from threezone.core.plan import Step
from threezone.images import build, engine_images, registry, registry_login
from threezone.images.registry import DEFAULT_NETWORK, STORE, Instance, LiveInstance
from threezone.zones.locate import kind_network

CERTS = "etc/containerd/certs.d"  # containerd's default (plugins/cri/images), which kind does not change
CONFIG_MAP = "local-registry-hosting"
NAMESPACE = "kube-public"
# What users put into their own files: the value of "auth" in the file that registry.login writes.
LOGIN_TO_ADD = "AUTH, from: ./run invoke registry.login --output FILE"
HELP = "https://kind.sigs.k8s.io/docs/user/local-registry/"
MANAGED_BY = "app.kubernetes.io/managed-by"
MANAGER = "threezone"
KUBECTL = (*kubectl.ON_NODE, "--namespace", NAMESPACE)


@dataclass(frozen=True)
class RegistryPlan:
    """The steps, and for which instances, image, network and nodes they are."""

    steps: tuple[Step, ...]
    wanted: tuple[Instance, ...]
    image: str
    network: str
    nodes: tuple[Node, ...]


def network() -> str:
    """The nodes' network; before it exists, the engine's default (the first cluster moves the registry over)."""
    wanted = kind_network()
    return wanted if wanted in networks.names() else DEFAULT_NETWORK


def plan(lab: Lab) -> RegistryPlan:
    """The plan to run the registry as the settings say. A running one keeps its image."""
    settings = lab.settings.registry
    wanted = registry.instances(settings.name, settings.port, settings.mirrors)
    running = registry.observe(settings.name)
    current = running.get(settings.name)
    image = current.image if current is not None and current.running else ""
    if not image:
        (image,) = build.references(build.REGISTRY, lab.channel)
    on = network()
    return RegistryPlan(registry.plan(wanted, running, image, on), wanted, image, on, tuple(running_nodes()))


def start(lab: Lab, chosen: RegistryPlan) -> tuple[str, ...]:
    """Apply the plan, and configure every running cluster of ours. Returns the clusters that use the registry."""
    if chosen.steps and not engine_images.inspect([chosen.image]):
        build.ensure(build.REGISTRY, lab.channel)
    registry.apply(chosen.steps, chosen.wanted, chosen.image, chosen.network)
    return configure(chosen.nodes, chosen.wanted)


def connect(lab: Lab) -> None:
    """Configure the lab's cluster for a registry that runs; a failure is only a warning."""
    name = lab.settings.registry.name
    with optional(f"the cluster {lab.name} is not configured for the local registry (./run invoke registry.start)"):
        running = registry.observe(name)
        if name not in running or not running[name].running:
            return
        instances, image, on = _instances(name, running), running[name].image, network()
        steps = registry.plan(instances, running, image, on)
        registry.apply(steps, instances, image, on)
        configure(running_nodes(None if steps else lab.name), instances)  # a new registry may have another password


def login(name: str) -> tuple[str, str, tuple[str, ...]]:
    """The running registry's address on the engine's host, its password, and both of its names.

    Raises ClusterError when it does not run, and ToolError when it has no password yet.
    """
    running = registry.observe(name).get(name)
    if running is None or not running.running:
        raise ClusterError("the local registry does not run", fix="./run invoke registry.start")
    on_host = registry.address(running.port)
    return on_host, registry_login.password(name, STORE), (on_host, f"{name}:{running.port}")


def stop(name: str, *, delete: bool) -> Sequence[str]:
    """Stop the registry, and remove it from the running clusters. Returns the names of what was removed."""
    running = registry.observe(name)
    if name in running:
        unconfigure(running_nodes(), _instances(name, running))
    return registry.stop(name, delete=delete)


def _instances(name: str, running: dict[str, LiveInstance]) -> tuple[Instance, ...]:
    """The instances as they were started, perhaps by another project with other settings. Pure."""
    mirrors = [instance.upstream for _, instance in sorted(running.items()) if instance.upstream]
    return registry.instances(name, running[name].port, mirrors)


def hosts_files(instances: Sequence[Instance], login: str) -> dict[str, str]:
    """The hosts.toml files by which containerd finds these instances, by their paths on a node. Pure.

    `login` is the registry's user and password in Base64. With it, pods need no Secret to pull
    (https://github.com/containerd/containerd/blob/main/docs/hosts.md, "header").
    """
    files = {}
    for instance in instances:
        host = f'[host."http://{instance.address}"]\n'
        if instance.upstream:  # containerd goes to the registry itself when the mirror does not answer
            text = f'server = "{registry.url(instance.upstream)}"\n\n{host}  capabilities = ["pull", "resolve"]\n'
            files[f"{CERTS}/{instance.upstream}/hosts.toml"] = text
        else:
            for name in (registry.address(instance.port), instance.address):
                header = f'  [host."http://{instance.address}".header]\n    Authorization = "Basic {login}"\n'
                files[f"{CERTS}/{name}/hosts.toml"] = f'server = "http://{instance.address}"\n\n{host}{header}'
    return files


def config_map(instance: Instance) -> dict[str, Any]:
    """The ConfigMap by which tools find a local registry (KEP-1755). Pure."""
    hosting = {
        "host": registry.address(instance.port),
        "hostFromContainerRuntime": instance.address,
        "hostFromClusterNetwork": instance.address,
        "help": HELP,
    }
    text = "".join(f"{key}: {json.dumps(value)}\n" for key, value in hosting.items())
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": CONFIG_MAP, "namespace": NAMESPACE, "labels": {MANAGED_BY: MANAGER}},
        "data": {"localRegistryHosting.v1": text},
    }


def running_nodes(cluster: str | None = None) -> list[Node]:
    """The running Kubernetes nodes of one cluster of ours, or of all."""
    return [node for node in kind.nodes(cluster) if node.ours and node.state == "running" and node.in_kubernetes]


def configure(nodes: Sequence[Node], instances: Sequence[Instance]) -> tuple[str, ...]:
    """Point these nodes and their clusters to the instances. Returns the clusters that use the registry.

    A cluster with a node whose files the user has to write gets no ConfigMap yet.
    """
    if not nodes:
        return ()
    files = hosts_files(instances, registry_login.basic(registry_login.password(instances[0].name, STORE)))
    shown = hosts_files(instances, LOGIN_TO_ADD)
    registry_files = set(hosts_files(instances[:1], ""))
    mounts = _mounts(nodes)
    with ThreadPoolExecutor(8) as pool:
        missing = dict(zip(nodes, pool.map(lambda node: _put(node, files, mounts[node.container]), nodes), strict=True))
    hints = {mount.on_host(f"/{path}"): shown[path] for paths in missing.values() for path, mount in paths.items()}
    for path, text in sorted(hints.items()):
        note(f"{path} is in a directory of yours that is mounted into nodes; add this to it yourself:\n{text}")
    unaware = {node.cluster for node, paths in missing.items() if registry_files & paths.keys()}
    for node in _control_planes(nodes):
        if node.cluster not in unaware:
            _apply_config_map(node, config_map(instances[0]))
    return tuple(sorted({node.cluster for node in nodes} - unaware))


def unconfigure(nodes: Sequence[Node], instances: Sequence[Instance]) -> None:
    """Remove the files on the nodes that are not the user's, and the ConfigMap if it is ours."""
    mounts = _mounts(nodes)
    directories = sorted({f"/{path.rpartition('/')[0]}" for path in hosts_files(instances, "")})
    for node in nodes:
        own = [path for path in directories if not any(mount.overlaps(path) for mount in mounts[node.container])]
        if own:
            execute(node.container, "rm", "-rf", *own, check=False)
    selector = ("--selector", f"{MANAGED_BY}={MANAGER}", "--field-selector", f"metadata.name={CONFIG_MAP}")
    argv = (*KUBECTL, "delete", "configmap", "--ignore-not-found", *selector)
    for node in _control_planes(nodes):
        # A cluster that does not answer keeps the ConfigMap, and gets the next one with the next start.
        execute(node.container, *argv, timeout=60, check=False)


def _control_planes(nodes: Sequence[Node]) -> list[Node]:
    """One control plane of each cluster."""
    return list({node.cluster: node for node in nodes if node.role == "control-plane"}.values())


def _mounts(nodes: Sequence[Node]) -> dict[str, tuple[Mount, ...]]:
    """The user's mounts of each node, by the container's id; none for a node that was removed in the meantime."""
    mounts = {container.node.container: container.mounts for container in containers.inspect(nodes)}
    return {node.container: mounts.get(node.container, ()) for node in nodes}


def _put(node: Node, files: Mapping[str, str], mounts: Sequence[Mount]) -> dict[str, Mount]:
    """Write the files into a node, but not through a mount. Returns the mounted ones that need the user's edit."""
    mounted = {path: mount for path in files for mount in mounts if mount.overlaps(f"/{path}")}
    try:
        if own := {path: text for path, text in files.items() if path not in mounted}:
            engine_images.put_texts(node.container, own, mode=0o600)
    except CommandFailed as error:
        raise ClusterError(f"the node {node.name} takes no files", evidence=error.tail) from None
    return {path: mount for path, mount in mounted.items() if not _has_host(node, f"/{path}", files[path])}


def _has_host(node: Node, path: str, wanted: str) -> bool:
    """Whether the user's file has the same host as ours would; the rest of it is the user's choice."""
    (host,) = tomllib.loads(wanted)["host"]
    try:
        hosts = tomllib.loads((read(node.container, path) or b"").decode()).get("host")
    except ValueError:  # not TOML, or not text
        return False
    return isinstance(hosts, dict) and host in hosts


def _apply_config_map(node: Node, wanted: Mapping[str, Any]) -> None:
    """Apply the ConfigMap, unless somebody else has created it."""
    get = ["get", "configmap", CONFIG_MAP, "--ignore-not-found", "--output=json"]
    try:
        output = execute(node.container, *KUBECTL, *get, timeout=60).stdout
        present = json.loads(output) if output.strip() else None
        if present is not None and present["metadata"].get("labels", {}).get(MANAGED_BY) != MANAGER:
            note(f"the ConfigMap {NAMESPACE}/{CONFIG_MAP} of the cluster {node.cluster} is not ours; it is not changed")
        elif present is None or present.get("data") != wanted["data"]:
            apply = ["apply", "--server-side", f"--field-manager={MANAGER}", "--filename=-"]
            execute(node.container, *KUBECTL, *apply, stdin=json.dumps(wanted), timeout=60)
    except CommandFailed as error:
        note(
            f"the cluster {node.cluster} does not answer, so it is not configured for the registry: {error.tail[-200:]}"
        )
