"""The declared cluster compared with the live one, field by field. Pure.

`declared` is the configuration that kind would get now (the file, the settings, what the host needs). What containers
and nodes show overrules the record of the creation; what neither shows is unknown.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from threezone.clients.kind import BALANCER
from threezone.cluster.drift import merge_patch
from threezone.cluster.drift.last_applied import PATCHES, without_secrets
from threezone.cluster.drift.live import LiveCluster, LiveNode, address
from threezone.cluster.drift.merge_patch import Json
from threezone.cluster.drift.nodes import api_port, compare_node, declared_ports
from threezone.cluster.drift.rows import (
    API,
    CONTAINERD,
    KUBEADM,
    NETWORK,
    NOT_RECORDED,
    PORTS,
    ROOTLESS_GATE,
    TOPOLOGY,
    VERSION,
    Row,
    declared_nodes,
    mapping,
    row,
)
from threezone.cluster.spec import validate

MERGE, JSON_PATCH, TOML, TOML_JSON = PATCHES
RUNTIME = "runtime-config"  # kube-apiserver's argument


@dataclass(frozen=True)
class Sides:
    """The declared configuration, the last applied one (where known), and the live cluster."""

    declared: Json
    applied: Json | None
    live: LiveCluster

    @property
    def nodes(self) -> dict[str, Json]:
        """The declared nodes, by name."""
        return declared_nodes(self.live.name, self.declared)

    @property
    def has_json_patches(self) -> bool:
        """Whether a JSON 6902 patch may have changed kubeadm's documents: its effect is not computed here."""
        configs = [config for config in (self.declared, self.applied) if config]
        return any(part.get(JSON_PATCH) for config in configs for part in (config, *(config.get("nodes") or ())))


@dataclass(frozen=True)
class KubeadmField:
    """A field in one of kubeadm's documents, which a patch may have changed after kind.

    `start` is what kind puts there from a configuration, given the document in the node; `read` gets the field.
    """

    name: str
    kind: str
    start: Callable[[Json, Json], Json | None]
    read: Callable[[Json], str]
    why: str = NETWORK


def compare(declared: Json, kubernetes: str, live: LiveCluster, network: str = "kind") -> tuple[Row, ...]:
    """A row for every field that can be declared. `kubernetes` is the version that nodes shall run."""
    sides = Sides(declared, live.last_applied.config if live.last_applied else None, live)
    version = _one(node.files.version for node in live.kubernetes_nodes if node.files)
    roles = _counted(node["role"] for node in sides.nodes.values())
    cni = None if sides.applied is None else networking(sides.applied)["disableDefaultCNI"]
    dns = " ".join((declared.get("networking") or {}).get("dnsSearch") or ()) or "none"
    return (
        row("kubernetes", kubernetes, version, VERSION),
        row("nodes", roles, _counted(node.role for node in live.kubernetes_nodes), TOPOLOGY),
        *_published(declared, live),
        *(_kubeadm_row(sides, field) for field in KUBEADM_FIELDS),
        row("networking.disableDefaultCNI", networking(declared)["disableDefaultCNI"], cni, NETWORK, NOT_RECORDED),
        row("networking.dnsSearch", dns, _one(node.dns_search or "none" for node in live.kubernetes_nodes), NETWORK),
        *_patches(sides),
        *(each for name, node in sides.nodes.items() for each in compare_node(name, node, declared, live, network)),
    )


def _one(values: Iterable[str]) -> str | None:
    """The value of all nodes, or their different values; None when there is none."""
    return " and ".join(dict.fromkeys(values)) or None


def _counted(roles: Iterable[str]) -> str:
    return ", ".join(f"{number} {role}" for role, number in sorted(Counter(roles).items())) or "none"


def _published(declared: Json, live: LiveCluster) -> tuple[Row, ...]:
    port = int((declared.get("networking") or {}).get("apiServerPort") or 0)
    own = (declared.get("networking") or {}).get("apiServerAddress")
    wanted = address(str(own or validate.loopback(declared)))
    # With several control planes the balancer publishes the API; they have a random port beside it.
    nodes = live.of(BALANCER) or live.of("control-plane")
    own = declared_nodes(live.name, declared)
    mapped = [text for node in nodes[:1] for text in declared_ports(own.get(node.name, {}), declared)]
    published = [text for node in nodes[:1] for text in node.ports]
    exact = f"{wanted}:{port}->{API}"
    actual = exact if exact in published else api_port(published, mapped)
    if not actual:
        return (Row("networking.apiServerPort", str(port), "none", "new cluster", "the API is not published"),)
    on, _, number = actual.removesuffix(f"->{API}").rpartition(":")
    shown = str(port) if port > 0 else f"any ({number})"
    return (
        row("networking.apiServerPort", shown, number if port > 0 else shown, PORTS),
        row("networking.apiServerAddress", wanted, on, PORTS),
    )


def networking(config: Mapping[str, Any]) -> dict[str, str]:
    """The section `networking` with kind's defaults (pkg/internal/apis/config/default.go), as text."""
    section = config.get("networking") or {}
    return {
        **{key: str(value) for key, value in validate.subnets(section, validate.family(dict(config))).items()},
        "kubeProxyMode": str(section.get("kubeProxyMode") or "iptables"),
        "disableDefaultCNI": "true" if section.get("disableDefaultCNI") else "false",
    }


def _subnets(config: Json, _: Json) -> Json:
    return {"networking": {key: networking(config)[key] for key in ("podSubnet", "serviceSubnet")}}


def _subnet(key: str) -> Callable[[Json], str]:
    return lambda document: str((document.get("networking") or {}).get(key) or "")


def _family(document: Json) -> str:
    is_ipv6 = {":" in subnet for subnet in _subnet("podSubnet")(document).split(",")}
    return "dual" if len(is_ipv6) > 1 else "ipv6" if True in is_ipv6 else "ipv4"


def _proxy_mode(config: Json, _: Json) -> Json | None:
    mode = networking(config)["kubeProxyMode"]
    return None if mode == "none" else {"mode": mode}  # without kube-proxy kind writes no document for it


def _gates(config: Json, document: Json) -> Json:
    by_kind = {key: value for key, value in (document.get("featureGates") or {}).items() if key == ROOTLESS_GATE}
    return {"featureGates": {**by_kind, **(config.get("featureGates") or {})}}


def _runtime(config: Json, document: Json) -> Json:
    value = ",".join(f"{key}={item}" for key, item in sorted((config.get("runtimeConfig") or {}).items()))
    is_list = isinstance((document.get("apiServer") or {}).get("extraArgs"), list)  # kubeadm v1beta4
    return {"apiServer": {"extraArgs": [{"name": RUNTIME, "value": value}] if is_list else {RUNTIME: value}}}


def _read_runtime(document: Json) -> str:
    arguments = (document.get("apiServer") or {}).get("extraArgs") or {}
    if isinstance(arguments, list):
        arguments = {item.get("name"): item.get("value") for item in arguments}
    return ", ".join(sorted(filter(None, str(arguments.get(RUNTIME) or "").split(",")))) or "none"


KUBEADM_FIELDS = (
    KubeadmField("networking.ipFamily", "ClusterConfiguration", _subnets, _family),
    KubeadmField("networking.podSubnet", "ClusterConfiguration", _subnets, _subnet("podSubnet")),
    KubeadmField("networking.serviceSubnet", "ClusterConfiguration", _subnets, _subnet("serviceSubnet")),
    KubeadmField(
        "networking.kubeProxyMode",
        "KubeProxyConfiguration",
        _proxy_mode,
        lambda document: str(document.get("mode") or "none"),
        KUBEADM,
    ),
    KubeadmField(
        "featureGates",
        "KubeletConfiguration",
        _gates,
        lambda document: mapping(document.get("featureGates")),
        KUBEADM,
    ),
    KubeadmField("runtimeConfig", "ClusterConfiguration", _runtime, _read_runtime, KUBEADM),
)


def _kubeadm_row(sides: Sides, field: KubeadmField) -> Row:
    wanted = field.read(field.start(sides.declared, {}) or {})
    if sides.has_json_patches:
        applied = None if sides.applied is None else field.read(field.start(sides.applied, {}) or {})
        return row(field.name, wanted, applied, field.why, NOT_RECORDED)
    live = []
    for node in sides.live.kubernetes_nodes:
        if node.files is None or not node.files.kubeadm:
            continue
        document = next((each for each in node.files.kubeadm if each.get("kind") == field.kind), {})
        start = field.start(sides.declared, document)
        expected: Json = {}
        if start is not None:
            start.update(kind=field.kind, apiVersion=document.get("apiVersion"))
            patches = [*(sides.declared.get(MERGE) or ()), *(sides.nodes.get(node.name, {}).get(MERGE) or ())]
            expected = merge_patch.kubeadm([start], patches)[0]
        live.append(wanted if field.read(document) == field.read(expected) else field.read(document))
    return row(field.name, wanted, _one(live), field.why)


def _patches(sides: Sides) -> Iterator[Row]:
    """The patches of the whole cluster, then each node's own."""
    applied_nodes = None if sides.applied is None else declared_nodes(sides.live.name, sides.applied)
    scopes = [("", sides.declared, sides.applied, sides.live.kubernetes_nodes)]
    for index, (name, node) in enumerate(sides.nodes.items()):
        applied = None if applied_nodes is None else applied_nodes.get(name, {})
        scopes.append((f"nodes[{index}].", node, applied, tuple(x for x in sides.live.nodes if x.name == name)))
    for prefix, part, applied, live in scopes:
        for key in PATCHES:
            if not prefix or part.get(key) or (applied or {}).get(key):
                wanted = without_secrets(part).get(key) or []
                in_force = _in_force(sides, key, live, own=bool(prefix))
                before = None if applied is None else applied.get(key) or []
                why = CONTAINERD if key.startswith("containerd") else KUBEADM
                yield _patch_row(f"{prefix}{key}", wanted, before, why, in_force=in_force)


def _patch_row(field: str, wanted: list[Json], applied: list[Json] | None, why: str, *, in_force: bool | None) -> Row:
    declared = _about(wanted)
    if wanted and in_force is False:
        return Row(field, declared, "not in force", "new cluster", f"the nodes' own files do not have it; {why}")
    if applied is not None:
        if [patch["sha256"] for patch in wanted] == [patch["sha256"] for patch in applied]:
            return Row(field, declared, declared, "same")
        before = _about(applied)
        return Row(field, declared, f"{before}, other content" if before == declared else before, "new cluster", why)
    if wanted and in_force:
        return Row(field, declared, declared, "same", "the nodes' own files have it")
    return Row(field, declared, "?", "unknown", NOT_RECORDED)


def _about(patches: Sequence[Json]) -> str:
    return "; ".join(patch["about"] for patch in patches) or "none"


def _in_force(sides: Sides, key: str, live: Sequence[LiveNode], *, own: bool) -> bool | None:
    """Whether the nodes' files show the patches of the cluster, or the nodes' `own`; None where that is not visible."""
    files = [(node.name, node.files) for node in live if node.files is not None]
    common = sides.declared.get(key) or ()
    if key == MERGE and files and not sides.has_json_patches:
        results = []
        for name, content in files:
            # A node's own patches come after the cluster's, and may change what those have set.
            last = sides.nodes.get(name, {}).get(key) or ()
            documents = list(content.kubeadm)
            with_own = merge_patch.kubeadm(documents, last)
            with_all = merge_patch.kubeadm(documents, [*common, *last])
            results.append(with_own == (documents if own else with_all))
        return all(results)
    if key == TOML and not sides.declared.get(TOML_JSON):
        settings = [content.containerd for _, content in files if content.containerd]
        return all(merge_patch.containerd(item, common) == item for item in settings) if settings else None
    return None
