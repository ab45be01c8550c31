"""cluster.inspect: what a kind cluster is made of, as the documents walk through it. No API server is asked.

Everything comes from the engine and from the nodes' own files, so it works for a cluster that is stopped as well.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

from threezone.clients.docker.containers import read
from threezone.clients.kind import BALANCER, Node
from threezone.cluster import containers
from threezone.cluster.containers import Container
from threezone.zones import certificate

MANIFESTS = ("etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler")
CERTIFICATE = "/etc/kubernetes/pki/apiserver.crt"
KUBEADM = "/kind/kubeadm.conf"
VERSION = "/kind/version"
# kind's balancer: HAProxy up to 0.31, Envoy since.
BALANCERS = ("/usr/local/etc/haproxy/haproxy.cfg", "/home/envoy/envoy.yaml")
# kubeadm's bootstrap token admits nodes, its certificate key opens the uploaded certificates.
_SECRET = re.compile(r"^(\s*-?\s*(?:token|certificateKey|tlsBootstrapToken)\s*:\s*).+$", re.MULTILINE | re.IGNORECASE)
_TOKEN = re.compile(r"\b[a-z0-9]{6}\.[a-z0-9]{16}\b")  # bootstrap tokens have this form (bootstrapapi)


@dataclass(frozen=True)
class StaticPod:
    """A pod that the kubelet runs from a file: its name, its image."""

    name: str
    image: str


@dataclass(frozen=True)
class Certificate:
    """The API server's certificate: whom it is for, and its last day; what it does not say is empty."""

    names: tuple[str, ...]
    expires: str


@dataclass(frozen=True)
class NodeSeen:
    """A node's container, with what its files tell. Addresses and start are empty while it is stopped."""

    name: str
    role: str
    state: str
    image: str
    container: str
    started: str
    addresses: tuple[str, ...]
    ports: tuple[str, ...]
    kubernetes: str
    static_pods: tuple[StaticPod, ...]
    certificate: Certificate | None
    kubeadm: str


@dataclass(frozen=True)
class Inspected:
    """A cluster: its nodes, and the balancer's file with its configuration, where there is one."""

    name: str
    ours: bool
    nodes: tuple[NodeSeen, ...]
    balancer_file: str = ""
    balancer: str = ""

    def data(self) -> dict[str, Any]:
        """The same as JSON has it."""
        return asdict(self)


def inspect(nodes: Sequence[Node]) -> Inspected:
    """Look at all nodes of one cluster at once; `nodes` has at least one. No secret is in what comes back."""
    seen = containers.inspect(nodes)
    with ThreadPoolExecutor(max(1, len(seen))) as pool:
        found = tuple(pool.map(_node, seen))
    file, text = _balancer(seen)
    return Inspected(nodes[0].cluster, nodes[0].ours, found, file, text)


def _node(seen: Container) -> NodeSeen:
    node = seen.node

    def text(path: str) -> str:
        return (read(node.container, path) or b"").decode(errors="replace")

    is_node = node.in_kubernetes
    is_plane = node.role == "control-plane"
    pods = [static_pod(name, text(f"/etc/kubernetes/manifests/{name}.yaml")) for name in MANIFESTS if is_plane]
    pem = read(node.container, CERTIFICATE) if is_plane else None
    return NodeSeen(
        name=node.name,
        role=node.role,
        state=node.state,
        image=node.image,
        container=node.container[:12],
        started=str((seen.data.get("State") or {}).get("StartedAt", "")) if seen.started else "",
        addresses=seen.addresses,
        ports=published(seen),
        kubernetes=text(VERSION).strip() if is_node else "",
        static_pods=tuple(pod for pod in pods if pod is not None),
        certificate=read_certificate(pem) if pem else None,
        kubeadm=redacted(text(KUBEADM)) if is_node else "",
    )


def _balancer(seen: Sequence[Container]) -> tuple[str, str]:
    for one in seen:
        if one.node.role == BALANCER:
            for path in BALANCERS:
                text = read(one.node.container, path)
                if text is not None:
                    return path, text.decode(errors="replace")
    return "", ""


def published(seen: Container) -> tuple[str, ...]:
    """The ports that a container publishes, as it was made with them: a stopped one has them still. Pure."""
    bound = (seen.data.get("HostConfig") or {}).get("PortBindings") or {}
    return tuple(
        f"{one.get('HostIp') or '0.0.0.0'}:{one.get('HostPort') or 'any'} -> {port}"  # noqa: S104  Docker's own default
        for port, places in sorted(bound.items())
        for one in places or []
    )


def static_pod(name: str, manifest: str) -> StaticPod | None:
    """A static pod from its manifest; None without one. Pure."""
    found = re.search(r"^\s*image:\s*(\S+)", manifest, re.MULTILINE)
    return StaticPod(name, found.group(1)) if found else None


def read_certificate(pem: bytes) -> Certificate:
    """Whom a certificate is for, and until when. Pure."""
    ends = certificate.not_after(pem)
    return Certificate(certificate.names(pem), ends.strftime("%Y-%m-%d %H:%M:%S UTC") if ends else "")


def redacted(text: str) -> str:
    """Kubeadm's configuration without what would let somebody in. Pure."""
    return _TOKEN.sub("***", _SECRET.sub(r"\1***", text))


def page(seen: Inspected, now: datetime | None = None) -> str:
    """The walk as one page for a person. Pure, but for the clock."""
    now = now or datetime.now(UTC)
    lines = [f"cluster {seen.name}" + ("" if seen.ours else " (not made by threezone)")]
    for node in seen.nodes:
        lines += ["", f"{node.name}  {node.role}, {node.state}", *(f"  {line}" for line in _facts(node, now))]
    if seen.balancer:
        lines += ["", f"the balancer's {seen.balancer_file}", *_indented(seen.balancer)]
    plane = next((node for node in seen.nodes if node.role == "control-plane" and node.kubeadm), None)
    if plane is not None:
        lines += ["", f"{KUBEADM} of {plane.name}", *_indented(plane.kubeadm)]
    return "\n".join(lines)


def _facts(node: NodeSeen, now: datetime) -> list[str]:
    facts = [("image", node.image), ("container", node.container)]
    if node.kubernetes:
        facts.append(("kubernetes", node.kubernetes))
    facts.append(("addresses", ", ".join(node.addresses) or "none while it is stopped"))
    facts.append(("ports", ", ".join(node.ports) or "none published"))
    facts += [("static pod", f"{pod.name}  {pod.image}") for pod in node.static_pods]
    if node.certificate is not None:
        facts.append(("API names", ", ".join(node.certificate.names)))
        facts.append(("valid until", node.certificate.expires + _left(node.certificate.expires, now)))
    return [f"{name:<12}{value}" for name, value in facts]


def _left(expires: str, now: datetime) -> str:
    try:
        end = datetime.strptime(expires, "%Y-%m-%d %H:%M:%S UTC").replace(tzinfo=UTC)
    except ValueError:
        return ""
    days = (end - now).days
    return f" ({days} days)" if days >= 0 else " (EXPIRED)"


def _indented(text: str) -> list[str]:
    return [f"  {line}".rstrip() for line in text.strip().splitlines()]
