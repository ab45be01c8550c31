"""cluster.start: from stopped nodes to pods that are Ready, without the minute of back-off that a restart costs.

What makes it slow is not the node (its API answers after some seconds) but what its pods meet: they start before
kube-proxy has written the rule for the API's service address, so those that look there at once crash and are held back
(10 s, 20 s …), others wait half a minute for a connection that led nowhere; and leaders wait for the leases of their
own predecessors to run out (35 s with Flux). So: a rule of the same effect stands in the node for the meantime, and
leases whose holders ended with the node are handed back.
"""

from __future__ import annotations

import ipaddress
import itertools
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime

from threezone.clients.docker import containers as docker
from threezone.clients.docker import networks
from threezone.clients.kind import BALANCER, Node
from threezone.clients.kubernetes.api import Api, Json, Refused
from threezone.cluster import containers, ports
from threezone.cluster.containers import Container, moment
from threezone.core.errors import ClusterError, CommandFailed
from threezone.core.events import note, step
from threezone.zones.locate import kind_network

LEASES = "/apis/coordination.k8s.io/v1/leases"
MANIFEST = "/etc/kubernetes/manifests/kube-apiserver.yaml"
OLD_ADDRESS = "/kind/old-ipv4"  # kind's entrypoint notes there which address the node had
ORDER = ("control-plane", "worker", BALANCER)
API_PORT = 6443  # in the node
_RULE_SECONDS = 120
_LOOKED_AT = 64  # free addresses
_TAKEN = re.compile("port is already allocated|address already in use")  # moby, portallocator; bind(2)

# In the node: lead the API's service address to an API server until kube-proxy does it, at most the given seconds.
# kind's entrypoint writes the whole table anew, so it has to be through: systemd is process 1 then. The rule goes by
# itself, whatever becomes of us.
_LEAD = r"""
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
    """Start what is stopped, and start anew what only looks as if it ran. Raises ClusterError in the engine's words."""
    cluster = nodes[0].cluster
    done: list[str] = []
    with step(f"start the nodes of {cluster}") as running:
        for node in nodes:
            if node.state == "running" and not works(node):
                note(f"{node.name} was about to stop; it is stopped and started")
                _tell(node, lambda container: docker.stop(container, 10))
                done.append(node.name)
        waiting = [node for node in nodes if node.state != "running" or node.name in done]
        old = {node.name: _old_address(node) for node in waiting} if len(nodes) > 1 else {}
        for node in in_order(waiting, old, _free() if len(nodes) > 1 else ()):
            _tell(node, docker.unpause if node.state == "paused" else docker.start)
        running.result = ", ".join(node.name for node in waiting)
    lead(nodes, [node for node in nodes if node in waiting or node.just_started])


def in_order(nodes: Sequence[Node], old: Mapping[str, str], free: Sequence[str]) -> list[Node]:
    """The order in which nodes are started, given the addresses that they had and those that are free. Pure.

    The engine gives out the lowest free address, so that each can have its old one back: etcd's members know each other
    by address. The balancer notes no address; it takes its turn where none of the others had the one that comes next.
    """
    waiting = sorted(nodes, key=lambda node: (ORDER.index(node.role) if node.role in ORDER else 0, node.name))
    of = {address: node for node in waiting if (address := old.get(node.name))}
    noting = [node for node in waiting if node.name not in {known.name for known in of.values()}]
    ordered = []
    for address in free:
        if node := of.pop(address, None) or (noting.pop(0) if of and noting else None):
            ordered.append(node)
        if not of:
            break
    return ordered + [node for node in waiting if node not in ordered]


def _free() -> tuple[str, ...]:
    """The free IPv4 addresses of kind's network, lowest first; as many as may be of use. None without the network."""
    network = networks.inspect(kind_network()) or {}
    try:
        ranges = [one for one in network["IPAM"]["Config"] if ":" not in one["Subnet"]]
        taken = {one["IPv4Address"].partition("/")[0] for one in network["Containers"].values()}
    except (KeyError, TypeError):
        return ()
    taken |= {str(one.get("Gateway", "")) for one in ranges}
    hosts = (str(host) for one in ranges for host in ipaddress.ip_network(one["Subnet"]).hosts())
    return tuple(itertools.islice((host for host in hosts if host not in taken), _LOOKED_AT))


def _old_address(node: Node) -> str:
    return (docker.read(node.container, OLD_ADDRESS) or b"").decode(errors="replace").strip()


def _tell(node: Node, command: Callable[[str], None]) -> None:
    try:
        command(node.container)
    except CommandFailed as error:
        raise explain(node, error.tail or error.message) from None


def explain(node: Node, words: str) -> ClusterError:
    """Why the engine did not start a node, from its own words."""
    if _TAKEN.search(words):
        published = re.search(r"[\d.\]]:(\d{2,5})\b", words)
        port = int(published.group(1)) if published else 0
        return ClusterError(
            f"the node {node.name} cannot be started: "
            + (f"port {port} is taken by {ports.holder(port)}" if port else "a port that it publishes is taken"),
            evidence=words,
            fix="free it, and run this again: a node keeps the port that it was made with",
        )
    return ClusterError(f"the node {node.name} cannot be started", evidence=words, fix=f"docker logs {node.name}")


def works(node: Node) -> bool:
    """Whether a running node has its kubelet: a stop that was cut off in the middle leaves one without."""
    if node.role == BALANCER:
        return True
    argv = ("systemctl", "is-active", "--quiet", "kubelet")
    try:
        return docker.execute(node.container, *argv, timeout=20, check=False).exit_code == 0
    except CommandFailed:
        return False


def service_address(manifest: str) -> str:
    """The address of the Service `kubernetes` by kube-apiserver's manifest: the first of its range, or "". Pure."""
    found = re.search(r"--service-cluster-ip-range=([^\s,\"']+)", manifest)
    try:
        return str(ipaddress.ip_network(found.group(1), strict=False)[1]) if found else ""
    except (ValueError, IndexError):
        return ""


def lead(nodes: Sequence[Node], started: Sequence[Node]) -> None:
    """Lead the API's service address to an API server in each started node until kube-proxy does. Best effort.

    A control plane asks itself, a worker the first control plane.
    """
    running = [node for node in nodes if node.in_kubernetes]
    seen = {one.node.name: one for one in containers.inspect(running)}
    planes = [node for node in running if node.role == "control-plane" and node.name in seen]
    if not planes:
        return
    service = service_address((docker.read(planes[0].container, MANIFEST) or b"").decode(errors="replace"))
    if not service:
        note("the service address of the API is not known: pods may crash once until kube-proxy leads there")
        return
    for node in (node for node in running if node in started):
        target = _target(seen.get(node.name if node.role == "control-plane" else planes[0].name), service)
        if target:
            table = "ip6tables" if ":" in service else "iptables"
            argv = ("sh", "-c", _LEAD, "lead", table, service, target, str(_RULE_SECONDS))
            docker.execute(node.container, *argv, detach=True, check=False)


def _target(container: Container | None, service: str) -> str:
    """The API server in this container, of the same address family as the service address."""
    for address in container.addresses if container else ():
        if (":" in address) == (":" in service):
            return f"[{address}]:{API_PORT}" if ":" in address else f"{address}:{API_PORT}"
    return ""


def stale(leases: Iterable[Json], here: Iterable[str], since: datetime) -> list[Json]:
    """The leases that were last renewed before `since` by one of `here` (names of pods and nodes). Pure.

    A leader's name is its host's with something random behind it (client-go): a pod's name, or its node's. A holder
    outside the cluster may live on, and is left its lease.
    """
    names = set(here)
    found = []
    for lease in leases:
        spec = lease.get("spec") or {}
        renewed = moment(str(spec.get("renewTime") or ""))
        holder = str(spec.get("holderIdentity") or "").partition("_")[0]
        if holder in names and "_" in str(spec["holderIdentity"]) and renewed is not None and renewed < since:
            found.append(lease)
    return found


def hand_back(api: Api, pods: Iterable[Json], nodes: Iterable[Json], since: datetime) -> tuple[str, ...]:
    """Hand back the leases of leaders that ended with the nodes, as client-go's leaders do when they may (`release`).

    `since` is when the first of all nodes was started: whoever led before that has ended. A lease that somebody has
    taken meanwhile is left alone: the change names the version that was seen.
    """
    names = [item["metadata"]["name"] for item in (*pods, *nodes)]
    done = []
    for lease in stale((api.get(LEASES) or {}).get("items") or [], names, since):
        meta = lease["metadata"]
        path = f"/apis/coordination.k8s.io/v1/namespaces/{meta['namespace']}/leases/{meta['name']}"
        change = {"metadata": {"resourceVersion": meta["resourceVersion"]}, "spec": {"holderIdentity": ""}}
        try:
            api.merge(path, change)
            done.append(meta["name"])
        except Refused:
            continue  # taken, or gone
    return tuple(done)
