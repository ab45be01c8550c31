"""The rules for values of a cluster file beyond their types: what kind, the engine or the kubelet would refuse.

kind's own rules: pkg/internal/apis/config/validate.go. What would fail only later is refused here too, with its line.
"""

from __future__ import annotations

import ipaddress
import posixpath
import re
from collections.abc import Iterator, Mapping
from itertools import combinations
from typing import Any

from threezone.cluster.spec import patches
from threezone.cluster.spec.decode import Draft, Keys, Spot, shown
from threezone.cluster.spec.schema import API_VERSION, CONTROL_PLANE
from threezone.core import names
from threezone.core.errors import UsageError

Network = ipaddress.IPv4Network | ipaddress.IPv6Network

MAX_PORT = 65535
# kind, pkg/cluster/internal/providers/docker/provision.go: an engine refuses a second mount at the same path.
KIND_MOUNTS = ("/tmp", "/run", "/lib/modules")  # noqa: S108 - paths in a node
GATE = re.compile(r"[A-Za-z][A-Za-z0-9]*")
_CIDR = re.compile(r"[0-9A-Fa-f.:]+/[0-9]{1,3}")
_DEFAULT_SUBNETS = {  # kind, pkg/apis/config/v1alpha4/default.go
    "ipv4": ("10.244.0.0/16", "10.96.0.0/16"),
    "ipv6": ("fd00:10:244::/56", "fd00:10:96::/112"),
    "dual": ("10.244.0.0/16,fd00:10:244::/56", "10.96.0.0/16,fd00:10:96::/112"),
}
_LABEL_NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?")
_LABEL_PREFIX = re.compile(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*")
# The labels that a kubelet may give itself (k8s.io/kubelet, pkg/apis/well_known_labels.go); it exits with others.
_KUBELET_PREFIX = re.compile(r"(.*\.)?(kubelet|node)\.kubernetes\.io")
_RESERVED_PREFIX = re.compile(r"(.*\.)?(kubernetes|k8s)\.io")
_KUBELET_LABEL = re.compile(
    r"kubernetes\.io/(hostname|os|arch)|beta\.kubernetes\.io/(os|arch|instance-type)"
    r"|node\.kubernetes\.io/instance-type|(topology|failure-domain\.beta)\.kubernetes\.io/(zone|region)"
)


def is_everywhere(address: str) -> bool:
    """Whether `address` means every address of the machine: 0.0.0.0, ::, in any spelling."""
    try:
        return ipaddress.ip_address(address).is_unspecified
    except ValueError:
        return False


def family(content: Mapping[str, Any]) -> str:
    """The cluster's IP family: ipv4, ipv6 or dual."""
    return str((content.get("networking") or {}).get("ipFamily") or "ipv4")


def loopback(content: Mapping[str, Any]) -> str:
    """The loopback address of the cluster's family, as kind chooses it for the API (v1alpha4/default.go)."""
    return "::1" if family(content) == "ipv6" else "127.0.0.1"


def subnets(networking: Mapping[str, Any], ip_family: str) -> dict[str, str]:
    """The subnets of pods and services, as declared or as kind chooses them."""
    keys = ("podSubnet", "serviceSubnet")
    return {key: networking.get(key) or own for key, own in zip(keys, _DEFAULT_SUBNETS[ip_family], strict=True)}


def check(draft: Draft) -> None:
    """Check the values of a whole cluster. Raises UsageError for the first that breaks a rule."""
    content, spots = draft.content, draft.spots
    for key, wanted in (("kind", "Cluster"), ("apiVersion", API_VERSION)):
        if (value := content.get(key)) != wanted:
            found = f"found {value!r}" if value else f"found no {key}"
            raise UsageError(f"{spots.at(key)}: expected kind: Cluster and apiVersion: {API_VERSION}, {found}")
    nodes = content.get("nodes") or []
    if name := content.get("name"):
        if not names.is_cluster(name):
            spots.fail(("name",), f"expected {names.RULE}, at most 50, found {name[:80]!r}")
        if problem := names.too_long(name, [str(node.get("role", CONTROL_PLANE)) for node in nodes or [{}]]):
            spots.fail(("name",), problem)
    _networking(content.get("networking") or {}, spots, family(content))
    for key in content.get("featureGates") or {}:
        if not GATE.fullmatch(key):
            spots.fail(("featureGates", key), f"expected a feature gate's name such as AllAlpha, found {key!r}")
    _nodes(nodes, spots)
    _published(content, spots)
    patches.check(draft)


def _networking(networking: dict[str, Any], spots: Spot, ip_family: str) -> None:
    _port(spots, ("networking", "apiServerPort"), networking.get("apiServerPort") or 0)
    if address := networking.get("apiServerAddress"):
        keys = ("networking", "apiServerAddress")
        _address(spots, keys, address)
        if is_everywhere(address):
            raise UsageError(
                f"{spots.at(*keys)}: networking.apiServerAddress {address} would open the API server to the network",
                fix="leave it out; for containers without the socket: threezone.cluster.api: gateway in invoke.yaml",
            )
    pods, services = (
        _subnets(spots, ("networking", key), subnet, ip_family)
        for key, subnet in subnets(networking, ip_family).items()
    )
    for pod in pods:
        for service in services:
            if pod.version == service.version and pod.overlaps(service):
                key = "podSubnet" if networking.get("podSubnet") else "serviceSubnet"
                problem = f"expected subnets apart, but pods' {pod} and services' {service} overlap"
                spots.fail(("networking", key), problem)


def _port(spots: Spot, keys: Keys, port: int) -> None:
    if not -1 <= port <= MAX_PORT:
        rule = "a port from 1 to 65535 (0: kind chooses, -1: the engine chooses)"
        spots.fail(keys, f"expected {rule}, found {port}")


def _address(spots: Spot, keys: Keys, address: str) -> None:
    try:
        ipaddress.ip_address(address)
    except ValueError:
        spots.fail(keys, f"expected an IP address, found {address!r}")


def _subnets(spots: Spot, keys: Keys, text: str, ip_family: str) -> list[Network]:
    networks: list[Network] = []
    for part in text.split(","):
        try:
            if not _CIDR.fullmatch(part):
                raise ValueError(part)  # noqa: TRY301  a netmask, a bare address: Python takes them, Go does not
            networks.append(ipaddress.ip_network(part, strict=False))
        except ValueError:
            spots.fail(keys, f"expected a subnet such as 10.244.0.0/16, found {part!r}")
    versions = [network.version for network in networks]
    rule = f"for ipFamily {ip_family}"
    if ip_family == "dual":
        if len(versions) > len(set(versions)):
            spots.fail(keys, f"expected one subnet, or one of each family, {rule}, found {text!r}")
    elif len(versions) > 1:
        spots.fail(keys, f"expected one subnet {rule}, found {len(versions)}; two need ipFamily: dual")
    elif f"ipv{versions[0]}" != ip_family:
        spots.fail(keys, f"expected an {ip_family.replace('ipv', 'IPv')} subnet {rule}, found {text!r}")
    return networks


def _nodes(nodes: list[dict[str, Any]], spots: Spot) -> None:
    if nodes and not any(node.get("role", CONTROL_PLANE) == CONTROL_PLANE for node in nodes):
        spots.fail(("nodes",), f"expected at least one node of role {CONTROL_PLANE}, found only workers")
    for index, node in enumerate(nodes):
        for key, value in (node.get("labels") or {}).items():
            _label(spots, ("nodes", index, "labels", key), key, value)
        targets: dict[str, Keys] = {}
        for number, mount in enumerate(node.get("extraMounts") or []):
            keys = ("nodes", index, "extraMounts", number)
            _mount(spots, keys, mount)
            target, target_keys = mount["containerPath"].rstrip("/"), (*keys, "containerPath")
            if target in targets:
                first = spots.at(*targets[target])
                spots.fail(target_keys, f"{target} is mounted already ({first}); expected each path once")
            targets[target] = target_keys


def _label(spots: Spot, keys: Keys, key: str, value: str) -> None:
    prefix, slash, name = key.rpartition("/")
    if not _LABEL_NAME.fullmatch(name) or (slash and not _LABEL_PREFIX.fullmatch(prefix)):
        spots.fail(keys, f"expected a label's key such as tier or example.com/tier, found {key!r}")
    if value and not _LABEL_NAME.fullmatch(value):
        spots.fail(keys, f"expected a label's value (letters, digits, - _ . inside, at most 63), found {value!r}")
    allowed = _KUBELET_PREFIX.fullmatch(prefix) or _KUBELET_LABEL.fullmatch(key)
    if _RESERVED_PREFIX.fullmatch(prefix) and not allowed:
        spots.fail(
            keys,
            "a kubelet may not give its node this label, and ends; expected one outside kubernetes.io and k8s.io, or "
            f"below node.kubernetes.io (set it afterwards: kubectl label node NAME {key}={value})",
        )


def _mount(spots: Spot, keys: Keys, mount: dict[str, Any]) -> None:
    for key in ("hostPath", "containerPath"):
        if not (path := mount.get(key)):
            spots.fail(keys, f"expected a {key}, found none")
        if ":" in path:
            spots.fail((*keys, key), f"expected a path without a colon, which the engine cannot take, found {path!r}")
    keys, path = (*keys, "containerPath"), mount["containerPath"]
    if not path.startswith("/") or not path.strip("/"):
        spots.fail(keys, f"expected an absolute path below / in the node, found {path!r}")
    if re.fullmatch(r"/kind(/threezone-.*)?", clean(path)):
        spots.fail(keys, f"expected another path than {path}: kind and we keep files there")
    if clean(path) in KIND_MOUNTS:
        spots.fail(keys, f"expected another path than {path}: kind mounts something there itself")


def clean(path: str) -> str:
    """An absolute path of a node without double slashes, dots or a slash at its end."""
    return posixpath.normpath(f"/{path.lstrip('/')}")


def mappings(content: Mapping[str, Any]) -> Iterator[tuple[Keys, dict[str, Any]]]:
    """The extraPortMappings of all nodes, with their keys."""
    for index, node in enumerate(content.get("nodes") or []):
        for number, port in enumerate(node.get("extraPortMappings") or []):
            yield ("nodes", index, "extraPortMappings", number), port


def ports(content: Mapping[str, Any]) -> Iterator[tuple[Keys, str, int, str]]:
    """The fixed published ports: keys, address, port, protocol; the API server's last. "" is kind's default address."""
    for keys, port in mappings(content):
        if (fixed := port.get("hostPort") or 0) > 0:
            yield keys, port.get("listenAddress") or "", fixed, port.get("protocol") or "TCP"
    networking = content.get("networking") or {}
    if (fixed := networking.get("apiServerPort") or 0) > 0:
        yield ("networking", "apiServerPort"), networking.get("apiServerAddress") or loopback(content), fixed, "TCP"


def _published(content: dict[str, Any], spots: Spot) -> None:
    for keys, port in mappings(content):
        if not 1 <= (inner := port.get("containerPort") or 0) <= MAX_PORT:
            spots.fail((*keys, "containerPort"), f"expected a port from 1 to 65535, found {inner or 'none'}")
        _port(spots, (*keys, "hostPort"), port.get("hostPort") or 0)
        if address := port.get("listenAddress"):
            _address(spots, (*keys, "listenAddress"), address)
    for one, other in combinations(ports(content), 2):
        if one[2:] == other[2:] and _conflict(one[1] or "0.0.0.0", other[1] or "0.0.0.0"):  # noqa: S104  kind's default
            later, first = (one, other) if other[0][0] == "networking" else (other, one)
            owner = f"{shown(*first[0])}, {spots.at(*first[0], 'hostPort')}"
            problem = f"port {later[2]}/{later[3]} is taken already by {owner}; expected each port once"
            spots.fail((*later[0], "hostPort"), problem)


def _conflict(one: str, other: str) -> bool:
    """Whether two addresses cannot both have the same port. For Go, :: is 0.0.0.0 (kind does the same)."""
    return is_everywhere(one) or is_everywhere(other) or ipaddress.ip_address(one) == ipaddress.ip_address(other)
