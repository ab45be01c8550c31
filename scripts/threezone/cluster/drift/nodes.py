"""Each declared node compared with the live one: its container's ports and mounts, its labels. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from threezone.cluster.containers import KIND_BINDS
from threezone.cluster.drift.live import LiveCluster, LiveNode, address, mount
from threezone.cluster.drift.merge_patch import Json
from threezone.cluster.drift.rows import API, MOUNTS, PORTS, TOPOLOGY, Row, declared_nodes, mapping

PROPAGATION = {"HostToContainer": "rslave", "Bidirectional": "rshared"}


@dataclass(frozen=True)
class Labels:
    """A change of one node's labels: which to set, and which to remove."""

    node: str
    wanted: Mapping[str, str]
    gone: tuple[str, ...] = ()

    @property
    def command(self) -> str:
        """The command that does it."""
        parts = [f"{key}={value}" for key, value in self.wanted.items()] + [f"{key}-" for key in self.gone]
        return f"kubectl label node {self.node} --overwrite {' '.join(parts)}"


def compare_node(name: str, node: Json, declared: Json, live: LiveCluster, network: str) -> Iterator[Row]:
    """The rows of one declared node; `name` is the one that kind gives it."""
    actual = next((each for each in live.nodes if each.name == name), None)
    field = f"nodes[{list(declared_nodes(live.name, declared)).index(name)}]"
    if actual is None:
        yield Row(field, name, "missing", "new cluster", TOPOLOGY)
        return
    if actual.state == "running":
        yield Row(field, f"{name} running", f"{name} running", "same")
    else:
        yield Row(field, f"{name} running", f"{name} {actual.state}", "in place", "it is started")
    mapped = declared_ports(node, declared)
    # A control plane always publishes the API server too.
    api = api_port(actual.ports, mapped) if actual.role == "control-plane" else ""
    ports = [port for port in actual.ports if port != api]
    yield _list_row(f"{field}.extraPortMappings", mapped, ports, PORTS, _is_port)
    wanted = _declared_mounts(node)
    mounts = [each for each in actual.mounts if each in wanted or each not in KIND_BINDS]
    yield _list_row(f"{field}.extraMounts", wanted, mounts, MOUNTS)
    yield _label_row(f"{field}.labels", node, actual, declared, live)
    if network not in actual.networks:
        on = ", ".join(actual.networks) or "none"
        yield Row(f"{field}.network", network, on, "new cluster", "the node is no longer on the network of its cluster")


def label_changes(declared: Json, live: LiveCluster) -> tuple[Labels, ...]:
    """The changes that make the nodes' labels the declared ones. A label that is no longer declared is removed."""
    before = declared_nodes(live.name, live.last_applied.config) if live.last_applied else {}
    changes = []
    actual = {node.name: node.labels for node in live.nodes}
    for name, node in declared_nodes(live.name, declared).items():
        if (labels := actual.get(name)) is None:
            continue
        wanted, old = _labels(node), _labels(before.get(name, {}))
        missing = {key: value for key, value in wanted.items() if labels.get(key) != value}
        gone = tuple(key for key, value in old.items() if key not in wanted and labels.get(key) == value)
        if missing or gone:
            changes.append(Labels(name, missing, gone))
    return tuple(changes)


def _labels(node: Mapping[str, Any]) -> dict[str, str]:
    return {str(key): str(value) for key, value in sorted((node.get("labels") or {}).items())}


def _label_row(field: str, node: Json, actual: LiveNode, declared: Json, live: LiveCluster) -> Row:
    wanted = mapping(_labels(node))
    if actual.labels is None and (wanted != "none" or live.last_applied is not None):
        return Row(field, wanted, "?", "unknown", "the API server does not answer")
    change = next((each for each in label_changes(declared, live) if each.node == actual.name), None)
    if actual.labels is None or change is None:
        return Row(field, wanted, wanted, "same")
    relevant = (*_labels(node), *change.gone)
    present = mapping({key: actual.labels[key] for key in relevant if key in actual.labels})
    return Row(field, wanted, present, "in place", "a node's labels are set by the API server")


def _list_row(
    field: str,
    wanted: Sequence[str],
    live: Sequence[str],
    why: str,
    is_same: Callable[[str, str], bool] = lambda wanted, live: wanted == live,
) -> Row:
    unmatched = list(live)
    for item in wanted:
        if (match := next((each for each in unmatched if is_same(item, each)), None)) is not None:
            unmatched.remove(match)
    declared = ", ".join(wanted) or "none"
    if len(wanted) == len(live) and not unmatched:
        return Row(field, declared, declared, "same")
    return Row(field, declared, ", ".join(live) or "none", "new cluster", why)


def declared_ports(node: Json, declared: Json) -> list[str]:
    """The declared mappings as live ports are written; `*` for a port that the engine chooses."""
    default = "::" if (declared.get("networking") or {}).get("ipFamily") == "ipv6" else ""
    ports = []
    for mapped in node.get("extraPortMappings") or ():
        number = int(mapped.get("hostPort") or 0)
        on = address(str(mapped.get("listenAddress") or default))
        protocol = str(mapped.get("protocol") or "TCP").lower()
        ports.append(f"{on}:{number if number > 0 else '*'}->{mapped.get('containerPort')}/{protocol}")
    return sorted(ports)


def api_port(published: Sequence[str], mapped: Sequence[str]) -> str:
    """The published port that kind added for the API server, "" for none; a mapping may lead to 6443 too."""
    ports = [port for port in published if port.endswith(f"->{API}")]
    return next((port for port in ports if not any(_is_port(each, port) for each in mapped)), "".join(ports[:1]))


def _is_port(wanted: str, live: str) -> bool:
    address, _, inside = wanted.partition(":*->")
    return live.startswith(f"{address}:") and live.endswith(f"->{inside}") if inside else wanted == live


def _declared_mounts(node: Json) -> list[str]:
    mounts = []
    for declared in node.get("extraMounts") or ():
        options = [
            "ro" if declared.get("readOnly") else "",
            "Z" if declared.get("selinuxRelabel") else "",
            PROPAGATION.get(str(declared.get("propagation")), ""),
        ]
        source = Path(str(declared.get("hostPath"))).absolute()  # relative to the working directory, as in kind
        mounts.append(mount(f"{source}:{declared.get('containerPath')}:{','.join(filter(None, options))}"))
    return sorted(mounts)
