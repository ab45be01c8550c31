"""The running cluster as its containers and the nodes' own files show it: one engine call, and one per running node."""

from __future__ import annotations

import secrets
import tomllib
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from threezone.clients.docker import containers as docker
from threezone.clients.kind import BALANCER, Node
from threezone.cluster import marks
from threezone.cluster.drift import last_applied as record
from threezone.cluster.drift.last_applied import Record
from threezone.cluster.drift.merge_patch import Json, documents
from threezone.core.errors import ClusterError

VERSION, KUBEADM, CONTAINERD = "/kind/version", "/kind/kubeadm.conf", "/etc/containerd/config.toml"
# What kind mounts into every node by itself (pkg/cluster/internal/providers/docker/provision.go).
OWN_MOUNTS = {"/lib/modules:/lib/modules:ro", "/dev/mapper:/dev/mapper"}
DNS_SEARCH = "KIND_DNS_SEARCH="
# Each file that is there below a line that names it.
_READ = (
    'mark=$1; shift; for file; do [ -e "$file" ] || continue; '
    'printf "\n%s %s\n" "$mark" "$file"; cat "$file"; done 2>/dev/null; true'
)


@dataclass(frozen=True)
class Files:
    """What a running node's own files say; without its mark nobody finished its creation.

    `kubeadm` holds kubeadm's documents, with a token: never print them.
    """

    version: str = ""
    kubeadm: tuple[Json, ...] = field(default=(), repr=False)
    containerd: Json | None = field(default=None, repr=False)
    record: Record | None = None
    marked: bool = True


@dataclass(frozen=True)
class NodeSeen:
    """A node's container: `ports` are published ones as `address:port->port/protocol`, `mounts` as docker takes them.

    `files` is None where they cannot be read (a stopped node, the balancer); `labels` are the API server's, None where
    it did not say.
    """

    name: str
    role: str
    state: str
    image: str = ""
    ports: tuple[str, ...] = ()
    mounts: tuple[str, ...] = ()
    networks: tuple[str, ...] = ()
    dns_search: str = ""
    files: Files | None = None
    labels: Mapping[str, str] | None = None


@dataclass(frozen=True)
class Running:
    """A cluster as it runs."""

    name: str
    nodes: tuple[NodeSeen, ...]

    @property
    def record(self) -> Record | None:
        """What the cluster was made from, as its nodes have it; None where it is not known."""
        return next((node.files.record for node in self.nodes if node.files and node.files.record), None)

    def of(self, role: str) -> tuple[NodeSeen, ...]:
        """The nodes of a role."""
        return tuple(node for node in self.nodes if node.role == role)

    @property
    def kubernetes_nodes(self) -> tuple[NodeSeen, ...]:
        """The nodes that run Kubernetes: all but the balancer."""
        return tuple(node for node in self.nodes if node.role != BALANCER)


def observe(name: str, nodes: Sequence[Node], labels: Mapping[str, Mapping[str, str]] | None = None) -> Running:
    """Look at the containers of a cluster. `labels` are the nodes' labels from the API server, by node, where known.

    Raises ClusterError when a container went away in between.
    """
    readable = [node.name for node in nodes if node.state == "running" and node.role != BALANCER]
    with ThreadPoolExecutor(max(1, len(readable)) + 1) as pool:
        inspected = pool.submit(docker.inspect, *(node.name for node in nodes))
        files = dict(zip(readable, pool.map(read_files, readable), strict=True))
        containers = {document["Name"].lstrip("/"): document for document in inspected.result()}
    if gone := [node.name for node in nodes if node.name not in containers]:
        raise ClusterError(
            f"the container {gone[0]} of the cluster {name} has just gone",
            fix=f"./run invoke cluster.create --name {name}",
        )
    found = []
    for node in nodes:
        known = None if labels is None else labels.get(node.name, {})
        found.append(container(containers[node.name], node.role, files.get(node.name), known))
    return Running(name, tuple(found))


def container(document: Json, role: str, files: Files | None, labels: Mapping[str, str] | None) -> NodeSeen:
    """What `docker inspect` shows of a node. Pure."""
    host, config = document["HostConfig"], document["Config"]
    declared = {key: found for key, found in (host.get("PortBindings") or {}).items() if found}
    chosen = (document.get("NetworkSettings") or {}).get("Ports") or {}  # where the engine chose: while it runs
    ports = []
    for key, bindings in declared.items():
        port, _, protocol = key.partition("/")
        for index, each in enumerate(bindings):
            number = each.get("HostPort") or ""
            if number in ("", "0"):
                running = chosen.get(key) or []
                number = running[index]["HostPort"] if index < len(running) else "?"
            ports.append(f"{address(each.get('HostIp') or '')}:{number}->{port}/{protocol.lower()}")
    return NodeSeen(
        name=document["Name"].lstrip("/"),
        role=role,
        state=document["State"]["Status"],
        image=config["Image"],
        ports=tuple(sorted(ports)),
        mounts=tuple(sorted(mount(each) for each in host.get("Binds") or ())),
        networks=tuple(sorted((document.get("NetworkSettings") or {}).get("Networks") or {})),
        dns_search=next((e.removeprefix(DNS_SEARCH) for e in config.get("Env") or () if e.startswith(DNS_SEARCH)), ""),
        files=files,
        labels=labels,
    )


def address(text: str) -> str:
    """An address to listen on, as docker writes it in front of a port; none is every one."""
    plain = text.strip("[]") or "0.0.0.0"  # noqa: S104 - read, not bound
    return f"[{plain}]" if ":" in plain else plain


def mount(bind: str) -> str:
    """A mount as docker takes it, with its options in one order."""
    source, _, rest = bind.partition(":")
    target, _, options = rest.partition(":")
    ordered = ",".join(sorted(filter(None, options.split(",")))) if options != "rw" else ""
    return ":".join(filter(None, (source, target, ordered)))


def read_files(node: str) -> Files | None:
    """A running node's own files, in one call; None when it cannot be asked."""
    mark = secrets.token_hex(8)
    wanted = (VERSION, KUBEADM, CONTAINERD, marks.MARK)
    done = docker.execute(node, "sh", "-c", _READ, "sh", mark, *wanted, check=False)
    return parse(done.stdout, mark) if done.exit_code == 0 else None


def parse(text: str, mark: str) -> Files:
    """The files in what `read_files` was answered. Pure."""
    parts: dict[str, str] = {}
    for part in f"\n{text}".split(f"\n{mark} ")[1:]:
        name, _, content = part.partition("\n")
        parts[name] = content
    settings: dict[str, Any] | None
    try:
        settings = tomllib.loads(parts.get(CONTAINERD, ""))
    except tomllib.TOMLDecodeError:
        settings = None
    return Files(
        version=parts.get(VERSION, "").strip(),
        kubeadm=tuple(documents(parts.get(KUBEADM, ""))),
        containerd=settings or None,
        record=record.parse(parts.get(marks.MARK, "")),
        marked=marks.MARK in parts,
    )
