"""cluster.inspect: the parts of a kind cluster.

Everything comes from the engine and the nodes' own files, so it works for a stopped cluster, too.
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
EXPIRES = "%Y-%m-%d %H:%M:%S UTC"
# kubeadm's bootstrap token admits nodes, its certificate key opens the uploaded certificates.
_SECRET = re.compile(r"^(\s*-?\s*(?:token|certificateKey|tlsBootstrapToken)\s*:\s*).+$", re.MULTILINE | re.IGNORECASE)
_TOKEN = re.compile(r"\b[a-z0-9]{6}\.[a-z0-9]{16}\b")  # bootstrap tokens have this form (bootstrapapi)


@dataclass(frozen=True)
class StaticPod:
    """A pod that the kubelet runs from a file."""

    name: str
    image: str


@dataclass(frozen=True)
class Certificate:
    """The API server's certificate: its names, and when it expires; empty where it has none."""

    names: tuple[str, ...]
    expires: str


@dataclass(frozen=True)
class InspectedNode:
    """A node's container and the content of its files. Addresses and start are empty while it is stopped."""

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
    """A cluster: its nodes, and the balancer's configuration with the path of its file, if it has a balancer."""

    name: str
    ours: bool
    nodes: tuple[InspectedNode, ...]
    balancer_file: str = ""
    balancer: str = ""

    def data(self) -> dict[str, Any]:
        """The data for JSON."""
        return asdict(self)


def inspect(nodes: Sequence[Node]) -> Inspected:
    """Inspect all nodes of one cluster in parallel; `nodes` is not empty. The result contains no secret."""
    present = containers.inspect(nodes)
    with ThreadPoolExecutor(max(1, len(present))) as pool:
        inspected = tuple(pool.map(_node, present))
    balancers = [container for container in present if container.node.role == BALANCER]
    files = [(path, text) for each in balancers for path in BALANCERS if (text := _text(each.node, path))]
    return Inspected(nodes[0].cluster, nodes[0].ours, inspected, *(files[0] if files else ()))


def _text(node: Node, path: str) -> str:
    return (read(node.container, path) or b"").decode(errors="replace")


def _node(container: Container) -> InspectedNode:
    node = container.node
    is_plane = node.role == "control-plane"
    pods = [static_pod(name, _text(node, f"/etc/kubernetes/manifests/{name}.yaml")) for name in MANIFESTS if is_plane]
    pem = read(node.container, CERTIFICATE) if is_plane else None
    return InspectedNode(
        name=node.name,
        role=node.role,
        state=node.state,
        image=node.image,
        container=node.container[:12],
        started=str(container.data["State"]["StartedAt"]) if container.started else "",
        addresses=container.addresses,
        ports=published(container),
        kubernetes=_text(node, VERSION).strip() if node.in_kubernetes else "",
        static_pods=tuple(pod for pod in pods if pod is not None),
        certificate=read_certificate(pem) if pem else None,
        kubeadm=redacted(_text(node, KUBEADM)) if node.in_kubernetes else "",
    )


def published(container: Container) -> tuple[str, ...]:
    """The ports that a container was created to publish: a stopped one still has them. Pure."""
    bound = (container.data.get("HostConfig") or {}).get("PortBindings") or {}
    return tuple(
        f"{binding.get('HostIp') or '0.0.0.0'}:{binding.get('HostPort') or 'any'} -> {port}"  # noqa: S104  Docker's default
        for port, bindings in sorted(bound.items())
        for binding in bindings or []
    )


def static_pod(name: str, manifest: str) -> StaticPod | None:
    """A static pod from its manifest; None without one. Pure."""
    image = re.search(r"^\s*image:\s*(\S+)", manifest, re.MULTILINE)
    return StaticPod(name, image[1]) if image else None


def read_certificate(pem: bytes) -> Certificate:
    """The names and the expiry of a certificate. Pure."""
    end = certificate.not_after(pem)
    return Certificate(certificate.names(pem), end.strftime(EXPIRES) if end else "")


def redacted(text: str) -> str:
    """kubeadm's configuration without tokens and keys. Pure."""  # noqa: D403
    return _TOKEN.sub("***", _SECRET.sub(r"\1***", text))


def page(inspected: Inspected, now: datetime | None = None) -> str:
    """The inspection as one page for a person. Pure, except for the clock."""
    now = now or datetime.now(UTC)
    lines = [f"cluster {inspected.name}" + ("" if inspected.ours else " (not made by threezone)")]
    for node in inspected.nodes:
        lines += ["", f"{node.name}  {node.role}, {node.state}", *(f"  {line}" for line in _facts(node, now))]
    if inspected.balancer:
        lines += ["", f"the balancer's {inspected.balancer_file}", *_indented(inspected.balancer)]
    plane = next((node for node in inspected.nodes if node.role == "control-plane" and node.kubeadm), None)
    if plane is not None:
        lines += ["", f"{KUBEADM} of {plane.name}", *_indented(plane.kubeadm)]
    return "\n".join(lines)


def _facts(node: InspectedNode, now: datetime) -> list[str]:
    facts = [("image", node.image), ("container", node.container)]
    if node.kubernetes:
        facts.append(("kubernetes", node.kubernetes))
    facts.append(("addresses", ", ".join(node.addresses) or "none while it is stopped"))
    facts.append(("ports", ", ".join(node.ports) or "none published"))
    facts += [("static pod", f"{pod.name}  {pod.image}") for pod in node.static_pods]
    if node.certificate is not None:
        facts.append(("API names", ", ".join(node.certificate.names)))
        facts.append(("valid until", node.certificate.expires + _days_left(node.certificate.expires, now)))
    return [f"{name:<12}{value}" for name, value in facts]


def _days_left(expires: str, now: datetime) -> str:
    if not expires:
        return ""
    days = (datetime.strptime(expires, EXPIRES).replace(tzinfo=UTC) - now).days
    return f" ({days} days)" if days >= 0 else " (EXPIRED)"


def _indented(text: str) -> list[str]:
    return [f"  {line}".rstrip() for line in text.strip().splitlines()]
