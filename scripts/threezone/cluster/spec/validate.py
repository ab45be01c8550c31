"""What the values of a cluster file must be beyond their types: what kind, the engine and the kubelet would refuse.

kind's own rules: pkg/internal/apis/config/validate.go. What only fails later is said here too, while it has a line.
"""

from __future__ import annotations

import ipaddress
import posixpath
import re
from collections.abc import Iterator
from itertools import combinations
from typing import Any, NoReturn

from threezone.cluster.spec import patches
from threezone.cluster.spec.decode import Draft, Spot, shown
from threezone.cluster.spec.schema import API_VERSION, CONTROL_PLANE
from threezone.core import names
from threezone.core.errors import UsageError

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
Keys = tuple[str | int, ...]

MAX_PORT = 65535
GATE = re.compile(r"[A-Za-z][A-Za-z0-9]*")
_CIDR = re.compile(r"[0-9A-Fa-f.:]+/[0-9]{1,3}")
_DEFAULT_SUBNETS = {  # kind, pkg/apis/config/v1alpha4/default.go
    "ipv4": ("10.244.0.0/16", "10.96.0.0/16"),
    "ipv6": ("fd00:10:244::/56", "fd00:10:96::/112"),
    "dual": ("10.244.0.0/16,fd00:10:244::/56", "10.96.0.0/16,fd00:10:96::/112"),
}
_LABEL_NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?")
_LABEL_PREFIX = re.compile(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*")
# What a kubelet may say of itself (k8s.io/kubelet, pkg/apis/well_known_labels.go); it ends with other ones.
_KUBELET_PREFIXES = ("kubelet.kubernetes.io", "node.kubernetes.io")
_KUBELET_LABELS = frozenset(
    f"{prefix}kubernetes.io/{name}"
    for prefix, names in {
        "": ("hostname", "os", "arch"),
        "beta.": ("os", "arch", "instance-type"),
        "node.": ("instance-type",),
        "topology.": ("zone", "region"),
        "failure-domain.beta.": ("zone", "region"),
    }.items()
    for name in names
)


def is_everywhere(address: str) -> bool:
    """Whether `address` means every address of the machine: 0.0.0.0, ::, in any spelling."""
    try:
        return ipaddress.ip_address(address).is_unspecified
    except ValueError:
        return False


def family(content: dict[str, Any]) -> str:
    """The cluster's IP family: ipv4, ipv6 or dual."""
    return str((content.get("networking") or {}).get("ipFamily") or "ipv4")


def loopback(content: dict[str, Any]) -> str:
    """The loopback address of the cluster's family, as kind chooses it for the API (v1alpha4/default.go)."""
    return "::1" if family(content) == "ipv6" else "127.0.0.1"


def subnets(networking: dict[str, Any], ip_family: str) -> dict[str, str]:
    """The subnets of pods and services, as declared or as kind chooses them."""
    keys = ("podSubnet", "serviceSubnet")
    return {key: networking.get(key) or own for key, own in zip(keys, _DEFAULT_SUBNETS[ip_family], strict=True)}


def check(draft: Draft) -> None:
    """Hold a whole cluster's values against the rules. Raises UsageError for the first that is broken."""
    content, spots = draft.content, draft.spots
    for key, wanted in (("kind", "Cluster"), ("apiVersion", API_VERSION)):
        if (found := content.get(key)) != wanted:
            seen = f"found {found!r}" if found else f"found no {key}"
            raise UsageError(f"{spots.at(key)}: expected kind: Cluster and apiVersion: {API_VERSION}, {seen}")
    if name := content.get("name"):
        _name(name, spots, [str(node.get("role", CONTROL_PLANE)) for node in content.get("nodes") or [{}]])
    _networking(content.get("networking") or {}, spots, family(content))
    for key in content.get("featureGates") or {}:
        if not GATE.fullmatch(key):
            _fail(spots, ("featureGates", key), f"expected a feature gate's name such as AllAlpha, found {key!r}")
    _nodes(content.get("nodes") or [], spots)
    _published(content, spots)
    patches.check(draft)


def _name(name: str, spots: Spot, roles: list[str]) -> None:
    if not names.is_cluster(name):
        _fail(spots, ("name",), f"expected {names.RULE}, at most 50, found {name[:80]!r}")
    if problem := names.too_long(name, roles):
        _fail(spots, ("name",), problem)


def _fail(spots: Spot, keys: Keys, problem: str) -> NoReturn:
    raise UsageError(f"{spots.at(*keys)}: {shown(*keys)}: {problem}")


def _networking(networking: dict[str, Any], spots: Spot, ip_family: str) -> None:
    port = networking.get("apiServerPort") or 0
    if not -1 <= port <= MAX_PORT:
        at: Keys = ("networking", "apiServerPort")
        _fail(spots, at, f"expected a port from 1 to 65535 (0: kind chooses, -1: the engine chooses), found {port}")
    if address := networking.get("apiServerAddress"):
        at = ("networking", "apiServerAddress")
        _address(spots, at, address)
        if is_everywhere(address):
            raise UsageError(
                f"{spots.at(*at)}: networking.apiServerAddress {address} would open the API server to the network",
                fix="leave it out; for containers without the socket: threezone.cluster.api: gateway in invoke.yaml",
            )
    parsed = []
    for key, subnet in subnets(networking, ip_family).items():
        parsed.append(_subnets(spots, ("networking", key), subnet, ip_family))
    for pod in parsed[0]:
        for service in parsed[1]:
            if pod.version == service.version and pod.overlaps(service):
                key = "podSubnet" if networking.get("podSubnet") else "serviceSubnet"
                _fail(
                    spots,
                    ("networking", key),
                    f"expected subnets apart, but pods' {pod} and services' {service} overlap",
                )


def _address(spots: Spot, keys: Keys, address: str) -> None:
    try:
        ipaddress.ip_address(address)
    except ValueError:
        _fail(spots, keys, f"expected an IP address, found {address!r}")


def _subnets(spots: Spot, keys: Keys, text: str, ip_family: str) -> list[Network]:
    networks: list[Network] = []
    for part in text.split(","):
        try:
            if not _CIDR.fullmatch(part):
                raise ValueError(part)  # noqa: TRY301  a netmask, a bare address: Python takes them, Go does not
            networks.append(ipaddress.ip_network(part, strict=False))
        except ValueError:
            _fail(spots, keys, f"expected a subnet such as 10.244.0.0/16, found {part!r}")
    versions = [network.version for network in networks]
    if ip_family == "dual":
        if len(versions) > 2 or len(set(versions)) < len(versions):  # noqa: PLR2004  one of each family
            _fail(spots, keys, f"expected one subnet, or one of each family, for ipFamily dual, found {text!r}")
    elif len(versions) > 1:
        _fail(
            spots, keys, f"expected one subnet for ipFamily {ip_family}, found {len(versions)}; two need ipFamily: dual"
        )
    elif f"ipv{versions[0]}" != ip_family:
        wanted = ip_family.replace("ipv", "IPv")
        _fail(spots, keys, f"expected an {wanted} subnet for ipFamily {ip_family}, found {text!r}")
    return networks


def _nodes(nodes: list[dict[str, Any]], spots: Spot) -> None:
    if nodes and not any(node.get("role", CONTROL_PLANE) == CONTROL_PLANE for node in nodes):
        _fail(spots, ("nodes",), f"expected at least one node of role {CONTROL_PLANE}, found only workers")
    for index, node in enumerate(nodes):
        for key, value in (node.get("labels") or {}).items():
            _label(spots, ("nodes", index, "labels", key), key, value)
        targets: dict[str, Keys] = {}
        for number, mount in enumerate(node.get("extraMounts") or []):
            at = ("nodes", index, "extraMounts", number)
            _mount(spots, at, mount)
            if (path := mount["containerPath"].rstrip("/")) in targets:
                first = spots.at(*targets[path])
                _fail(spots, (*at, "containerPath"), f"{path} is mounted already ({first}); expected each path once")
            targets[path] = (*at, "containerPath")


def _label(spots: Spot, keys: Keys, key: str, value: str) -> None:
    prefix, slash, name = key.rpartition("/")
    if not _LABEL_NAME.fullmatch(name) or (slash and not _LABEL_PREFIX.fullmatch(prefix)):
        _fail(spots, keys, f"expected a label's key such as tier or example.com/tier, found {key!r}")
    if value and not _LABEL_NAME.fullmatch(value):
        _fail(spots, keys, f"expected a label's value (letters, digits, - _ . inside, at most 63), found {value!r}")
    reserved = any(prefix == domain or prefix.endswith(f".{domain}") for domain in ("kubernetes.io", "k8s.io"))
    own = any(prefix == domain or prefix.endswith(f".{domain}") for domain in _KUBELET_PREFIXES)
    if reserved and not own and key not in _KUBELET_LABELS:
        _fail(
            spots,
            keys,
            "no kubelet gives itself this label, and ends; expected one outside kubernetes.io and k8s.io, or below "
            f"node.kubernetes.io (set it afterwards: kubectl label node NAME {key}={value})",
        )


def _mount(spots: Spot, at: Keys, mount: dict[str, Any]) -> None:
    for key in ("hostPath", "containerPath"):
        if not (path := mount.get(key)):
            _fail(spots, at, f"expected a {key}, found none")
        if ":" in path:
            _fail(spots, (*at, key), f"expected a path without a colon, which the engine cannot take, found {path!r}")
    path = mount["containerPath"]
    if not path.startswith("/") or not path.strip("/"):
        _fail(spots, (*at, "containerPath"), f"expected an absolute path below / in the node, found {path!r}")
    if re.fullmatch(r"/kind(/threezone-.*)?", posixpath.normpath(f"/{path.lstrip('/')}")):
        _fail(spots, (*at, "containerPath"), f"expected another path than {path}: kind and we keep files there")


def ports(content: dict[str, Any]) -> Iterator[tuple[Keys, str, int, str]]:
    """What is published on fixed ports: keys, address, port, protocol; the API server's last. "" is kind's default."""
    for index, node in enumerate(content.get("nodes") or []):
        for number, port in enumerate(node.get("extraPortMappings") or []):
            if (fixed := port.get("hostPort") or 0) > 0:
                at = ("nodes", index, "extraPortMappings", number)
                yield at, port.get("listenAddress") or "", fixed, port.get("protocol") or "TCP"
    networking = content.get("networking") or {}
    if (fixed := networking.get("apiServerPort") or 0) > 0:
        yield ("networking", "apiServerPort"), networking.get("apiServerAddress") or loopback(content), fixed, "TCP"


def _published(content: dict[str, Any], spots: Spot) -> None:
    for index, node in enumerate(content.get("nodes") or []):
        for number, port in enumerate(node.get("extraPortMappings") or []):
            at = ("nodes", index, "extraPortMappings", number)
            if not 1 <= (inner := port.get("containerPort") or 0) <= MAX_PORT:
                _fail(spots, (*at, "containerPort"), f"expected a port from 1 to 65535, found {inner or 'none'}")
            if not -1 <= (outer := port.get("hostPort") or 0) <= MAX_PORT:
                _fail(
                    spots,
                    (*at, "hostPort"),
                    f"expected a port from 1 to 65535 (0: kind chooses, -1: the engine chooses), found {outer}",
                )
            if address := port.get("listenAddress"):
                _address(spots, (*at, "listenAddress"), address)
    for one, other in combinations(ports(content), 2):
        if one[2:] == other[2:] and _meet(one[1] or "0.0.0.0", other[1] or "0.0.0.0"):  # noqa: S104  kind's default
            later, first = (one, other) if other[0][0] == "networking" else (other, one)
            keys: Keys = (*later[0], "hostPort")
            taken = f"{shown(*first[0])}, {spots.at(*first[0], 'hostPort')}"
            _fail(spots, keys, f"port {later[2]}/{later[3]} is taken already by {taken}; expected each port once")


def _meet(one: str, other: str) -> bool:
    """Whether two addresses cannot both have the same port. For Go, :: is 0.0.0.0 (kind does the same)."""
    return is_everywhere(one) or is_everywhere(other) or ipaddress.ip_address(one) == ipaddress.ip_address(other)
