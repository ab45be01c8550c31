"""The live cluster, read from its containers and the nodes' own files: one engine call, and one per running node."""

from __future__ import annotations

import secrets
import tomllib
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from threezone.clients.docker.containers import execute
from threezone.clients.kind import BALANCER, Node
from threezone.cluster import containers, marks
from threezone.cluster.containers import Container
from threezone.cluster.drift import last_applied
from threezone.cluster.drift.last_applied import LastApplied
from threezone.cluster.drift.merge_patch import Json, documents
from threezone.core.errors import ClusterError

VERSION, KUBEADM, CONTAINERD = "/kind/version", "/kind/kubeadm.conf", "/etc/containerd/config.toml"
DNS_SEARCH = "KIND_DNS_SEARCH="
# Prints each existing file below a line that names it.
_READ = (
    'mark=$1; shift; for file; do [ -e "$file" ] || continue; '
    'printf "\n%s %s\n" "$mark" "$file"; cat "$file"; done 2>/dev/null; true'
)


@dataclass(frozen=True)
class Files:
    """The content of a running node's own files; without its mark, the creation of the cluster was not finished.

    `kubeadm` holds kubeadm's documents, with a token: never print them.
    """

    version: str = ""
    kubeadm: tuple[Json, ...] = field(default=(), repr=False)
    containerd: Json | None = field(default=None, repr=False)
    last_applied: LastApplied | None = None
    marked: bool = True


@dataclass(frozen=True)
class LiveNode:
    """A node's container: `ports` are published ones as `address:port->port/protocol`, `mounts` as docker takes them.

    `files` is None where they cannot be read (a stopped node, the balancer); `labels` are the API server's, None where
    it did not answer.
    """

    name: str
    role: str
    state: str
    ports: tuple[str, ...] = ()
    mounts: tuple[str, ...] = ()
    networks: tuple[str, ...] = ()
    dns_search: str = ""
    files: Files | None = None
    labels: Mapping[str, str] | None = None


@dataclass(frozen=True)
class LiveCluster:
    """A cluster as it exists now."""

    name: str
    nodes: tuple[LiveNode, ...]

    @property
    def last_applied(self) -> LastApplied | None:
        """The configuration that the cluster was created from, as its nodes keep it; None where it is not known."""
        return next((node.files.last_applied for node in self.nodes if node.files and node.files.last_applied), None)

    def of(self, role: str) -> tuple[LiveNode, ...]:
        """The nodes of a role."""
        return tuple(node for node in self.nodes if node.role == role)

    @property
    def kubernetes_nodes(self) -> tuple[LiveNode, ...]:
        """The nodes that run Kubernetes: all but the balancer."""
        return tuple(node for node in self.nodes if node.role != BALANCER)


def observe(name: str, nodes: Sequence[Node], labels: Mapping[str, Mapping[str, str]] | None = None) -> LiveCluster:
    """Read the containers of a cluster. `labels` are the nodes' labels from the API server by node, where known.

    Raises ClusterError when a container was removed in the meantime.
    """
    readable = [node.name for node in nodes if node.state == "running" and node.role != BALANCER]
    with ThreadPoolExecutor(max(1, len(readable)) + 1) as pool:
        inspected = pool.submit(containers.inspect, nodes)
        files = dict(zip(readable, pool.map(read_files, readable), strict=True))
    present = {container.node.name: container for container in inspected.result()}
    if gone := [node.name for node in nodes if node.name not in present]:
        raise ClusterError(
            f"the container {gone[0]} of the cluster {name} has just been removed",
            fix=f"./run invoke cluster.create --name {name}",
        )
    return LiveCluster(
        name,
        tuple(
            live_node(container, files.get(node), None if labels is None else labels.get(node, {}))
            for node, container in present.items()
        ),
    )


def live_node(container: Container, files: Files | None, labels: Mapping[str, str] | None) -> LiveNode:
    """A node from what `docker inspect` prints of its container. Pure."""
    data, env = container.data, container.data["Config"].get("Env") or ()
    return LiveNode(
        name=container.node.name,
        role=container.node.role,
        state=data["State"]["Status"],
        ports=tuple(sorted(_ports(data))),
        mounts=tuple(sorted(mount(bind) for bind in data["HostConfig"].get("Binds") or ())),
        networks=tuple(sorted((data.get("NetworkSettings") or {}).get("Networks") or {})),
        dns_search=next((entry.removeprefix(DNS_SEARCH) for entry in env if entry.startswith(DNS_SEARCH)), ""),
        files=files,
        labels=labels,
    )


def _ports(data: Json) -> list[str]:
    chosen = (data.get("NetworkSettings") or {}).get("Ports") or {}  # a running container's random ports are here only
    ports = []
    for key, bindings in (data["HostConfig"].get("PortBindings") or {}).items():
        for index, binding in enumerate(bindings or ()):
            number = binding.get("HostPort") or ""
            if number in ("", "0"):
                actual = chosen.get(key) or []
                number = actual[index]["HostPort"] if index < len(actual) else "?"
            ports.append(f"{address(binding.get('HostIp') or '')}:{number}->{key.lower()}")
    return ports


def address(text: str) -> str:
    """A listen address as docker writes it in front of a port; an empty one is every address."""
    plain = text.strip("[]") or "0.0.0.0"  # noqa: S104 - read, not bound
    return f"[{plain}]" if ":" in plain else plain


def mount(bind: str) -> str:
    """A mount as docker takes it, with its options sorted."""
    source, _, rest = bind.partition(":")
    target, _, options = rest.partition(":")
    ordered = ",".join(sorted(filter(None, options.split(",")))) if options != "rw" else ""
    return ":".join(filter(None, (source, target, ordered)))


def read_files(node: str) -> Files | None:
    """A running node's own files, in one call; None when that fails."""
    separator = secrets.token_hex(8)
    paths = (VERSION, KUBEADM, CONTAINERD, marks.MARK)
    done = execute(node, "sh", "-c", _READ, "sh", separator, *paths, check=False)
    return parse(done.stdout, separator) if done.exit_code == 0 else None


def parse(text: str, separator: str) -> Files:
    """The files in the output of `read_files`. Pure."""
    parts: dict[str, str] = {}
    for part in f"\n{text}".split(f"\n{separator} ")[1:]:
        name, _, content = part.partition("\n")
        parts[name] = content
    try:
        settings = tomllib.loads(parts.get(CONTAINERD, ""))
    except tomllib.TOMLDecodeError:
        settings = {}
    return Files(
        version=parts.get(VERSION, "").strip(),
        kubeadm=tuple(documents(parts.get(KUBEADM, ""))),
        containerd=settings or None,
        last_applied=last_applied.parse(parts.get(marks.MARK, "")),
        marked=marks.MARK in parts,
    )
