"""cluster.start: from stopped nodes to Ready pods, without the minute of back-off that a restart costs.

A node's API answers after some seconds, but its pods start before kube-proxy has written the rule for the API's service
address: those that need it crash and go into back-off (10 s, 20 s …), others wait half a minute for a dead
connection; and leaders wait until the leases of their own predecessors expire (35 s with Flux). So the node gets a
rule of the same effect until then, and leases whose holders ended with the node are released.
"""

from __future__ import annotations

import ipaddress
import itertools
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime

from threezone.clients.docker import containers as docker
from threezone.clients.docker import networks
from threezone.clients.kind import API_PORT, BALANCER, Node
from threezone.clients.kubernetes.api import Api, Json, Refused
from threezone.cluster import containers, preflight
from threezone.cluster.containers import Container, moment
from threezone.core.errors import ClusterError, CommandFailed
from threezone.core.events import note, step
from threezone.zones.locate import kind_network

LEASES = "/apis/coordination.k8s.io/v1/leases"
MANIFEST = "/etc/kubernetes/manifests/kube-apiserver.yaml"
OLD_ADDRESS = "/kind/old-ipv4"  # kind's entrypoint writes the node's address there
ORDER = ("control-plane", "worker", BALANCER)
_RULE_SECONDS = 120
_MAX_ADDRESSES = 64  # free ones to consider
_TAKEN = re.compile("port is already allocated|address already in use")  # moby, portallocator; bind(2)

# Runs in the node: routes the API's service address to an API server until kube-proxy does, for at most the given
# seconds. It first waits for kind's entrypoint, which rewrites the whole table: afterwards systemd is process 1. The
# rule is removed by the script itself, even if we are killed.
_ROUTE = r"""
set -u
until [ "$(cat /proc/1/comm)" = systemd ]; do sleep 0.1; done
rule() { for chain in PREROUTING OUTPUT; do
  "$1" --wait --table nat "$2" "$chain" --destination "$3" --protocol tcp --dport 443 \
    --jump DNAT --to-destination "$4"
done; }
rule "$1" --insert "$2" "$3"
for second in $(seq "$4"); do
  sleep 1
  "$1-save" --table nat | grep --quiet -- "-A KUBE-SERVICES -d $2/" && break
done
rule "$1" --delete "$2" "$3"
"""


def start(nodes: Sequence[Node]) -> None:
    """Start stopped nodes, and restart those without a kubelet. Raises ClusterError with the engine's message."""
    with step(f"start the nodes of {nodes[0].cluster}") as running:
        broken = [node for node in nodes if node.state == "running" and not has_kubelet(node)]
        for node in broken:
            note(f"{node.name} was stopping; it is stopped and started again")
            _run(node, lambda container: docker.stop(container, 10))
        stopped = [node for node in nodes if node.state != "running" or node in broken]
        several = len(nodes) > 1
        old = {node.name: _read(node, OLD_ADDRESS).strip() for node in stopped} if several else {}
        for node in in_order(stopped, old, _free_addresses() if several else ()):
            _run(node, docker.unpause if node.state == "paused" else docker.start)
        running.result = ", ".join(node.name for node in stopped)
    route_service_address(nodes, [node for node in nodes if node in stopped or node.just_started])


def in_order(nodes: Sequence[Node], old: Mapping[str, str], free: Sequence[str]) -> list[Node]:
    """The order in which to start nodes, given their `old` addresses and the `free` ones. Pure.

    The engine assigns the lowest free address, so that each node can get its old one back: etcd's members know each
    other by address. Nodes without an old address (the balancer) fill the gaps.
    """
    waiting = sorted(nodes, key=lambda node: (ORDER.index(node.role) if node.role in ORDER else 0, node.name))
    by_address = {address: node for node in waiting if (address := old.get(node.name))}
    others = [node for node in waiting if node not in by_address.values()]
    ordered: list[Node] = []
    for address in free:
        if not by_address:
            break
        if node := by_address.pop(address, None) or (others.pop(0) if others else None):
            ordered.append(node)
    return ordered + [node for node in waiting if node not in ordered]


def _free_addresses() -> tuple[str, ...]:
    """The lowest free IPv4 addresses of kind's network; none without the network."""
    network = networks.inspect(kind_network()) or {}
    try:
        ranges = [config for config in network["IPAM"]["Config"] if ":" not in config["Subnet"]]
        taken = {container["IPv4Address"].partition("/")[0] for container in network["Containers"].values()}
    except (KeyError, TypeError):
        return ()
    taken |= {str(config.get("Gateway", "")) for config in ranges}
    hosts = (str(host) for config in ranges for host in ipaddress.ip_network(config["Subnet"]).hosts())
    return tuple(itertools.islice((host for host in hosts if host not in taken), _MAX_ADDRESSES))


def _read(node: Node, path: str) -> str:
    return (docker.read(node.container, path) or b"").decode(errors="replace")


def _run(node: Node, command: Callable[[str], None]) -> None:
    try:
        command(node.container)
    except CommandFailed as error:
        raise explain(node, error.tail or error.message) from None


def explain(node: Node, message: str) -> ClusterError:
    """Why the engine did not start a node, from its message."""
    if not _TAKEN.search(message):
        what = f"the node {node.name} cannot be started"
        return ClusterError(what, evidence=message, fix=f"docker logs {node.name}")
    published = re.search(r"[\d.\]]:(\d{2,5})\b", message)
    protocol = "UDP" if "/udp" in message else "TCP"
    port = f"port {published[1]} is taken by {preflight.holder(int(published[1]), protocol)}" if published else ""
    return ClusterError(
        f"the node {node.name} cannot be started: {port or 'a port that it publishes is taken'}",
        evidence=message,
        fix="free it, and run this again: a node keeps the port that it was created with",
    )


def has_kubelet(node: Node) -> bool:
    """Whether a running node's kubelet is active: an interrupted stop leaves a node without."""
    if node.role == BALANCER:
        return True
    argv = ("systemctl", "is-active", "--quiet", "kubelet")
    try:
        return docker.execute(node.container, *argv, timeout=20, check=False).exit_code == 0
    except CommandFailed:
        return False


def service_address(manifest: str) -> str:
    """The address of the Service `kubernetes` by kube-apiserver's manifest: the first of its range, or "". Pure."""
    match = re.search(r"--service-cluster-ip-range=([^\s,\"']+)", manifest)
    try:
        return str(ipaddress.ip_network(match[1], strict=False)[1]) if match else ""
    except (ValueError, IndexError):
        return ""


def route_service_address(nodes: Sequence[Node], started: Sequence[Node]) -> None:
    """Route the API's service address to an API server in each started node until kube-proxy does. Best effort.

    A control plane uses its own API server, a worker the first control plane's.
    """
    kubernetes = [node for node in nodes if node.in_kubernetes]
    present = {container.node.name: container for container in containers.inspect(kubernetes)}
    planes = [node for node in kubernetes if node.role == "control-plane" and node.name in present]
    if not planes:
        return
    service = service_address(_read(planes[0], MANIFEST))
    if not service:
        note("the service address of the API is not known: pods may crash once until kube-proxy routes it")
        return
    for node in (node for node in kubernetes if node in started):
        if target := _target(present.get(node.name if node.role == "control-plane" else planes[0].name), service):
            table = "ip6tables" if ":" in service else "iptables"
            argv = ("sh", "-c", _ROUTE, "lead", table, service, target, str(_RULE_SECONDS))
            docker.execute(node.container, *argv, detach=True, check=False)


def _target(container: Container | None, service: str) -> str:
    """The API server in this container, of the same address family as the service address."""
    for address in container.addresses if container else ():
        if (":" in address) == (":" in service):
            return f"[{address}]:{API_PORT}" if ":" in address else f"{address}:{API_PORT}"
    return ""


def stale(leases: Iterable[Json], hosts: Iterable[str], since: datetime) -> list[Json]:
    """The leases that one of `hosts` (names of pods and nodes) last renewed before `since`. Pure.

    A holder's name is that of its host (a pod or node) with a random part behind it (client-go). A holder outside the
    cluster may still live, and keeps its lease.
    """
    names = set(hosts)
    stale_leases = []
    for lease in leases:
        spec = lease.get("spec") or {}
        renewed = moment(str(spec.get("renewTime") or ""))
        host, separator, _ = str(spec.get("holderIdentity") or "").partition("_")
        if separator and host in names and renewed is not None and renewed < since:
            stale_leases.append(lease)
    return stale_leases


def release_leases(api: Api, pods: Iterable[Json], nodes: Iterable[Json], since: datetime) -> tuple[str, ...]:
    """Release the leases of leaders that ended with the nodes, as client-go's leaders do (`release`); returns names.

    `since` is when the first node was started: whoever led before has ended. A lease that was taken in the meantime is
    left alone: the change carries the version that was read.
    """
    names = [item["metadata"]["name"] for item in (*pods, *nodes)]
    released = []
    for lease in stale((api.get(LEASES) or {}).get("items") or [], names, since):
        meta = lease["metadata"]
        path = f"/apis/coordination.k8s.io/v1/namespaces/{meta['namespace']}/leases/{meta['name']}"
        try:
            version = {"resourceVersion": meta["resourceVersion"]}
            api.merge(path, {"metadata": version, "spec": {"holderIdentity": ""}})
            released.append(meta["name"])
        except Refused:
            continue  # taken, or gone
    return tuple(released)
