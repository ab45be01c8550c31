"""Declared against running, field by field. Pure.

`declared` is what kind would be given now (the file, the settings, what the host needs); `running` is what is
seen. What containers and nodes show counts more than what was written down at creation; what neither tells is unknown.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from threezone.clients.kind import BALANCER
from threezone.cluster.drift import merge_patch
from threezone.cluster.drift.last_applied import PATCHES, plain
from threezone.cluster.drift.live import NodeSeen, Running, address
from threezone.cluster.drift.merge_patch import Json
from threezone.cluster.drift.nodes import compare_node
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
    place,
    row,
)

MERGED = "kubeadmConfigPatches"
# What kind puts into one of kubeadm's documents, from a configuration and what the document in the node looks like.
Start = Callable[[Json, Json], Json | None]
Sides = tuple[Json, Json | None, Running]  # declared, given to kind at creation (where known), running


def compare(declared: Json, kubernetes: str, running: Running, network: str = "kind") -> tuple[Row, ...]:
    """Every field that can be declared. `kubernetes` is the version that nodes shall run."""
    given = running.record.config if running.record else None
    nodes = declared_nodes(running.name, declared)
    sides = (declared, given, running)
    return (
        _kubernetes(kubernetes, running),
        _topology(nodes, running),
        *_published(declared, running),
        *_networking(sides),
        _dns(declared, running),
        _gates(sides),
        _runtime(sides),
        *_patches(sides, nodes),
        *(each for name, node in nodes.items() for each in compare_node(name, node, declared, running, network)),
    )


def _one(values: Iterable[str]) -> str | None:
    """The one value, or the several, of all nodes; None when there is none."""
    return " and ".join(dict.fromkeys(values)) or None


def _kubernetes(wanted: str, running: Running) -> Row:
    found = _one(node.files.version for node in running.kubernetes_nodes if node.files)
    return row("kubernetes", wanted, found, VERSION)


def _topology(nodes: Mapping[str, Json], running: Running) -> Row:
    wanted = _counted(node["role"] for node in nodes.values())
    return row("nodes", wanted, _counted(node.role for node in running.kubernetes_nodes), TOPOLOGY)


def _counted(roles: Iterable[str]) -> str:
    return ", ".join(f"{number} {role}" for role, number in sorted(Counter(roles).items())) or "none"


def _published(declared: Json, running: Running) -> tuple[Row, ...]:
    networking = declared.get("networking") or {}
    port = int(networking.get("apiServerPort") or 0)
    default = "::1" if networking.get("ipFamily") == "ipv6" else "127.0.0.1"
    wanted = address(str(networking.get("apiServerAddress") or default))
    # With several control planes the balancer is what is published; they have a port of their own beside it.
    doors = running.of(BALANCER) or running.of("control-plane")
    found = [each.removesuffix(f"->{API}") for door in doors[:1] for each in door.ports if each.endswith(f"->{API}")]
    seen = next((each for each in found if each == f"{wanted}:{port}"), found[0] if found else None)
    if seen is None:
        missing = "the API is published nowhere"
        return (Row("networking.apiServerPort", str(port), "none", "new cluster", missing),)
    on, _, number = seen.rpartition(":")
    shown = str(port) if port > 0 else f"any ({number})"
    return (
        row("networking.apiServerPort", shown, number if port > 0 else shown, PORTS),
        row("networking.apiServerAddress", wanted, on, PORTS),
    )


def _networking(sides: Sides) -> Iterable[Row]:
    declared, given, _ = sides

    def subnets(config: Json, _: Json) -> Json:
        return {"networking": {key: networking(config)[key] for key in ("podSubnet", "serviceSubnet")}}

    def mode(config: Json, _: Json) -> Json | None:
        chosen = networking(config)["kubeProxyMode"]
        return None if chosen == "none" else {"mode": chosen}  # kind writes no settings where there is no kube-proxy

    def subnet(key: str) -> Callable[[Json], str]:
        return lambda document: str((document.get("networking") or {}).get(key) or "")

    def family(document: Json) -> str:
        kinds = {":" in each for each in subnet("podSubnet")(document).split(",")}
        return "dual" if len(kinds) > 1 else "ipv6" if True in kinds else "ipv4"

    def told(field: str, kind: str, start: Start, read: Callable[[Json], str], why: str = NETWORK) -> Row:
        return _told(sides, f"networking.{field}", kind, start, read, why=why)

    yield told("ipFamily", "ClusterConfiguration", subnets, family)
    yield told("podSubnet", "ClusterConfiguration", subnets, subnet("podSubnet"))
    yield told("serviceSubnet", "ClusterConfiguration", subnets, subnet("serviceSubnet"))
    yield told("kubeProxyMode", "KubeProxyConfiguration", mode, lambda found: str(found.get("mode") or "none"), KUBEADM)
    before = None if given is None else networking(given)["disableDefaultCNI"]
    wanted = networking(declared)["disableDefaultCNI"]
    yield row("networking.disableDefaultCNI", wanted, before, NETWORK, NOT_RECORDED)


def networking(config: Mapping[str, Any]) -> dict[str, str]:
    """The section `networking` with kind's defaults (pkg/internal/apis/config/default.go), as text."""
    given = config.get("networking") or {}
    family = str(given.get("ipFamily") or "ipv4")
    pods = {"ipv4": "10.244.0.0/16", "ipv6": "fd00:10:244::/56", "dual": "10.244.0.0/16,fd00:10:244::/56"}
    services = {"ipv4": "10.96.0.0/16", "ipv6": "fd00:10:96::/112", "dual": "10.96.0.0/16,fd00:10:96::/112"}
    return {
        "ipFamily": family,
        "podSubnet": str(given.get("podSubnet") or pods.get(family, "")),
        "serviceSubnet": str(given.get("serviceSubnet") or services.get(family, "")),
        "kubeProxyMode": str(given.get("kubeProxyMode") or "iptables"),
        "disableDefaultCNI": "true" if given.get("disableDefaultCNI") else "false",
    }


def _told(sides: Sides, field: str, kind: str, start: Start, read: Callable[[Json], str], *, why: str) -> Row:
    """A field that stands in one of kubeadm's documents, which a patch may have changed after kind.

    `start` makes what kind puts there from a configuration, given the document in the node; `read` gets the field.
    """
    declared, given, running = sides
    wanted = read(start(declared, {}) or {})
    if _by_path(declared, given):  # what such a patch makes of it is not worked out here
        return row(field, wanted, None if given is None else read(start(given, {}) or {}), why, NOT_RECORDED)
    nodes = declared_nodes(running.name, declared)
    seen = []
    for node in running.kubernetes_nodes:
        if node.files is None or not node.files.kubeadm:
            continue
        document = next((each for each in node.files.kubeadm if each.get("kind") == kind), {})
        begun = start(declared, document)
        named = {"kind": kind, "apiVersion": document.get("apiVersion")}
        texts = [*(declared.get(MERGED) or ()), *(nodes.get(node.name, {}).get(MERGED) or ())]
        expected = merge_patch.kubeadm([{**begun, **named}], texts)[0] if begun is not None else {}
        seen.append(wanted if read(document) == read(expected) else read(document))
    return row(field, wanted, _one(seen), why)


def _dns(declared: Json, running: Running) -> Row:
    wanted = " ".join((declared.get("networking") or {}).get("dnsSearch") or ()) or "none"
    seen = _one(node.dns_search or "none" for node in running.kubernetes_nodes)
    return row("networking.dnsSearch", wanted, seen, NETWORK)


def _gates(sides: Sides) -> Row:
    own = sides[0].get("featureGates") or {}

    def read(document: Json) -> str:  # kind adds a gate by itself on a rootless engine
        gates = document.get("featureGates") or {}
        return mapping({key: value for key, value in gates.items() if key != ROOTLESS_GATE or key in own})

    def start(config: Json, _: Json) -> Json:
        return {"featureGates": dict(config.get("featureGates") or {})}

    return _told(sides, "featureGates", "KubeletConfiguration", start, read, why=KUBEADM)


def _runtime(sides: Sides) -> Row:
    name = "runtime-config"

    def read(document: Json) -> str:
        found = (document.get("apiServer") or {}).get("extraArgs") or {}
        if isinstance(found, list):  # kubeadm v1beta4
            found = {each.get("name"): each.get("value") for each in found}
        return ", ".join(sorted(filter(None, str(found.get(name) or "").split(",")))) or "none"

    def start(config: Json, document: Json) -> Json:
        value = ",".join(f"{key}={each}" for key, each in sorted((config.get("runtimeConfig") or {}).items()))
        listed = isinstance((document.get("apiServer") or {}).get("extraArgs"), list)
        return {"apiServer": {"extraArgs": [{"name": name, "value": value}] if listed else {name: value}}}

    return _told(sides, "runtimeConfig", "ClusterConfiguration", start, read, why=KUBEADM)


def _by_path(*configs: Json | None) -> bool:
    """Whether a JSON 6902 patch may have changed any of kubeadm's documents after the merge patches."""
    key = "kubeadmConfigPatchesJSON6902"
    return any(part.get(key) for config in configs if config for part in (config, *(config.get("nodes") or ())))


def _patches(sides: Sides, nodes: Mapping[str, Json]) -> Iterable[Row]:
    """The patches of the whole cluster, then each node's own."""
    declared, given, running = sides
    before = declared_nodes(running.name, given) if given is not None else {}
    wanted, scopes = plain(declared), [("", declared, given, running.kubernetes_nodes)]
    scopes += [
        (f"{place(name, nodes)}.", node, None if given is None else before.get(name, {}),
         tuple(seen for seen in running.nodes if seen.name == name))
        for name, node in nodes.items()
    ]  # fmt: skip
    for prefix, part, was, on in scopes:
        kept_part = wanted if not prefix else plain(part)
        for key in PATCHES:
            if prefix and not (part.get(key) or (was or {}).get(key)):
                continue
            holds = _evidence(sides, key, nodes, on, own=bool(prefix))
            yield _patch_row(f"{prefix}{key}", kept_part.get(key) or [], None if was is None else was.get(key) or [],
                             holds, CONTAINERD if key.startswith("containerd") else KUBEADM)  # fmt: skip


def _patch_row(field: str, wanted: list[Json], given: list[Json] | None, holds: bool | None, why: str) -> Row:
    declared = _about(wanted)
    if wanted and holds is False:
        return Row(field, declared, "not in force", "new cluster", f"the nodes' own files do not hold it; {why}")
    if given is not None:
        if [each["sha256"] for each in wanted] == [each["sha256"] for each in given]:
            return Row(field, declared, declared, "same")
        shown = _about(given)
        return Row(field, declared, f"{shown}, in other words" if shown == declared else shown, "new cluster", why)
    if wanted and holds:
        return Row(field, declared, declared, "same", "the nodes' own files hold it")
    return Row(field, declared, "?", "unknown", NOT_RECORDED)


def _about(kept: Sequence[Json]) -> str:
    return "; ".join(each["about"] for each in kept) or "none"


def _evidence(sides: Sides, key: str, nodes: Mapping[str, Json], on: Sequence[NodeSeen], *, own: bool) -> bool | None:
    """Whether the declared patches are in force on these nodes, by their own files; None where that cannot be seen.

    Asked are the nodes' `own` patches, or the cluster's.
    """
    declared, given, _ = sides
    readable = [node for node in on if node.files is not None]
    if not readable:
        return None
    if key == MERGED and not _by_path(declared, given):
        found = []
        for node in readable:
            has = node.files.kubeadm if node.files else ()
            # A node's own patches come after the cluster's, and may change what those have set.
            last = nodes.get(node.name, {}).get(key) or ()
            every = last if own else [*(declared.get(key) or ()), *last]
            found.append(merge_patch.kubeadm(has, every) == (list(has) if own else merge_patch.kubeadm(has, last)))
        return all(found)
    if key == "containerdConfigPatches" and not declared.get("containerdConfigPatchesJSON6902"):
        settings = [node.files.containerd for node in readable if node.files and node.files.containerd]
        return (
            all(merge_patch.containerd(each, declared.get(key) or ()) == each for each in settings)
            if settings
            else None
        )
    return None
