"""Declared against running, one node at a time: its container's ports and mounts, its labels. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from threezone.cluster.drift.live import OWN_MOUNTS, NodeSeen, Running, address, mount
from threezone.cluster.drift.merge_patch import Json
from threezone.cluster.drift.rows import API, MOUNTS, PORTS, TOPOLOGY, Row, declared_nodes, mapping, place


@dataclass(frozen=True)
class Labels:
    """A change of one node's labels: what is to be set, and what is to be taken away again."""

    node: str
    wanted: Mapping[str, str]
    gone: tuple[str, ...] = ()

    @property
    def command(self) -> str:
        """The command that does it."""
        parts = [f"{key}={value}" for key, value in self.wanted.items()] + [f"{key}-" for key in self.gone]
        return f"kubectl label node {self.node} --overwrite {' '.join(parts)}"


def compare_node(name: str, node: Json, declared: Json, running: Running, network: str) -> Iterable[Row]:
    """The rows of one declared node; `name` is the one that kind gives it."""
    seen = next((each for each in running.nodes if each.name == name), None)
    at = place(name, declared_nodes(running.name, declared))
    if seen is None:
        yield Row(at, name, "missing", "new cluster", TOPOLOGY)
        return
    up = seen.state == "running"
    yield Row(
        at, f"{name} running", f"{name} {seen.state}", "same" if up else "in place", "" if up else "it is started"
    )
    yield _list_row(f"{at}.extraPortMappings", _wanted_ports(node, declared), _other_ports(seen), PORTS, _port_fits)
    own = OWN_MOUNTS - set(_wanted_mounts(node))
    mounts = [each for each in seen.mounts if each not in own]
    yield _list_row(f"{at}.extraMounts", _wanted_mounts(node), mounts, MOUNTS)
    yield _label_row(at, name, node, declared, running)
    if network not in seen.networks:
        on = ", ".join(seen.networks) or "none"
        yield Row(f"{at}.network", network, on, "new cluster", "the node has left the network that it was made on")


def label_changes(declared: Json, running: Running) -> tuple[Labels, ...]:
    """What makes the nodes' labels what is declared. A label that was declared before, and still stands, is removed."""
    before = declared_nodes(running.name, running.record.config) if running.record else {}
    changes = []
    by_name = {node.name: node for node in running.nodes}
    for name, node in declared_nodes(running.name, declared).items():
        seen = by_name.get(name)
        if seen is None or seen.labels is None:
            continue
        wanted = _labels(node)
        missing = {key: value for key, value in wanted.items() if seen.labels.get(key) != value}
        old = _labels(before.get(name, {}))
        gone = tuple(key for key, value in old.items() if key not in wanted and seen.labels.get(key) == value)
        if missing or gone:
            changes.append(Labels(name, missing, gone))
    return tuple(changes)


def _labels(node: Mapping[str, Any]) -> dict[str, str]:
    return {str(key): str(value) for key, value in sorted((node.get("labels") or {}).items())}


def _label_row(at: str, name: str, node: Json, declared: Json, running: Running) -> Row:
    field, wanted = f"{at}.labels", mapping(_labels(node))
    seen = next(each for each in running.nodes if each.name == name)
    if seen.labels is None:
        if wanted == "none" and running.record is None:
            return Row(field, wanted, wanted, "same")
        return Row(field, wanted, "?", "unknown", "the API server does not say")
    change = next((each for each in label_changes(declared, running) if each.node == name), None)
    if change is None:
        return Row(field, wanted, wanted, "same")
    relevant = (*_labels(node), *change.gone)
    has = mapping({key: seen.labels[key] for key in relevant if key in seen.labels})
    return Row(field, wanted, has, "in place", "a node's labels are set by the API server")


def _list_row(
    field: str,
    wanted: Sequence[str],
    seen: Sequence[str],
    why: str,
    fits: Callable[[str, str], bool] = lambda wanted, seen: wanted == seen,
) -> Row:
    left = list(seen)
    for each in wanted:
        if (match := next((one for one in left if fits(each, one)), None)) is not None:
            left.remove(match)
    same = len(wanted) == len(seen) and not left
    declared = ", ".join(wanted) or "none"
    if same:
        return Row(field, declared, declared, "same")
    return Row(field, declared, ", ".join(seen) or "none", "new cluster", why)


def _wanted_ports(node: Json, declared: Json) -> list[str]:
    everywhere = "::" if (declared.get("networking") or {}).get("ipFamily") == "ipv6" else ""
    found = []
    for each in node.get("extraPortMappings") or ():
        port = int(each.get("hostPort") or 0)
        on = address(str(each.get("listenAddress") or everywhere))
        protocol = str(each.get("protocol") or "TCP").lower()
        found.append(f"{on}:{port if port > 0 else '*'}->{each.get('containerPort')}/{protocol}")
    return sorted(found)


def _other_ports(seen: NodeSeen) -> list[str]:
    """What a node publishes beside the API server, which a control plane always does."""
    api = [each for each in seen.ports if each.endswith(f"->{API}")][:1] if seen.role == "control-plane" else []
    return [each for each in seen.ports if each not in api]


def _port_fits(wanted: str, seen: str) -> bool:
    if ":*->" not in wanted:
        return wanted == seen
    on, _, inside = wanted.partition(":*->")
    return seen.startswith(f"{on}:") and seen.endswith(f"->{inside}")


def _wanted_mounts(node: Json) -> list[str]:
    options = {"HostToContainer": "rslave", "Bidirectional": "rshared"}
    found = []
    for each in node.get("extraMounts") or ():
        chosen = [
            "ro" if each.get("readOnly") else "",
            "Z" if each.get("selinuxRelabel") else "",
            options.get(str(each.get("propagation")), ""),
        ]
        source = Path(str(each.get("hostPath"))).absolute()  # as kind does, from where it is started
        found.append(mount(f"{source}:{each.get('containerPath')}:{','.join(filter(None, chosen))}"))
    return sorted(found)
