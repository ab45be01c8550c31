"""Drift between the declared and the live cluster: a cheap check for every `up`, and the whole comparison."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from threezone.clients import kind
from threezone.clients.kind import Node
from threezone.clients.kubernetes.api import Json
from threezone.cluster.drift import last_applied
from threezone.cluster.drift.fields import compare
from threezone.cluster.drift.live import LiveCluster
from threezone.cluster.drift.live import observe as observe_cluster
from threezone.cluster.drift.nodes import Labels, label_changes
from threezone.cluster.drift.rows import Row, declared_nodes
from threezone.cluster.lab import Lab
from threezone.cluster.lifecycle import NODES
from threezone.cluster.marks import mark as mark_node
from threezone.cluster.spec.declared import with_overlays
from threezone.core.errors import ThreezoneError
from threezone.core.events import step
from threezone.core.plan import Step, StepKind
from threezone.zones.locate import kind_network


@dataclass(frozen=True)
class Drift:
    """Every field's row, the labels to change in place, and the live cluster."""

    rows: tuple[Row, ...]
    labels: tuple[Labels, ...]
    live: LiveCluster

    @property
    def blocking(self) -> tuple[Row, ...]:
        """The fields that need a new cluster."""
        return tuple(row for row in self.rows if row.verdict == "new cluster")

    @property
    def differing(self) -> tuple[Row, ...]:
        """The fields that differ from their declaration."""
        return tuple(row for row in self.rows if row.verdict in ("new cluster", "in place"))

    @property
    def actions(self) -> tuple[Step, ...]:
        """The steps that change the rest in place."""
        steps = []
        if any(node.files and not node.files.marked for node in self.live.of("control-plane")):
            steps.append(Step(StepKind.WAIT_FOR_NODES, "wait until every node is Ready: an earlier run was killed"))
        if self.labels:
            names = ", ".join(change.node for change in self.labels)
            commands = "\n".join(change.command for change in self.labels)
            steps.append(Step(StepKind.LABEL_NODES, f"set the labels of {names}", commands))
        return tuple(steps)

    @property
    def notice(self) -> str:
        """The fields that need a new cluster, in one sentence; "" when there are none."""
        if not self.blocking:
            return ""
        fields = "; ".join(
            f"{row.field} is {row.running}, declared is {row.declared} ({row.why})" for row in self.blocking
        )
        return (
            f"the cluster differs from its declaration in fields that need a new one: {fields}. ./run invoke "
            "cluster.plan shows what would be lost; ./run invoke up --recreate asks, and replaces the cluster"
        )


def configuration(lab: Lab) -> dict[str, Any]:
    """The configuration that kind would get now, without the defaults that a cluster may lack."""
    binding = [overlay for overlay in lab.overlays if not overlay.defaults]
    return dict(json.loads(with_overlays(lab.declared, lab.name, binding)))


def digest(lab: Lab) -> str:
    """A digest of the file, the settings and the version; without what the host needs, which costs an engine call.

    The nodes carry the digest that they were created from. Where the two are the same, no field is compared.
    """
    return last_applied.digest(with_overlays(lab.declared, lab.name, lab.published), lab.kubernetes)


def mark(lab: Lab) -> str:
    """The mark's text for the nodes of a cluster that was just created."""
    return last_applied.write(configuration(lab), lab.kubernetes)


def annotate(lab: Lab, planes: Sequence[Node]) -> None:
    """Annotate the control planes with the digest of what is declared."""
    for node in planes:
        metadata = {"name": node.name, "annotations": {last_applied.ANNOTATION: digest(lab)}}
        lab.api.apply(f"{NODES}/{node.name}", {"apiVersion": "v1", "kind": "Node", "metadata": metadata})


def is_as_declared(lab: Lab, made_from: str, labels: Mapping[str, Mapping[str, str]]) -> bool:
    """The cheap check: whether the nodes have the digest of what is declared now, and the declared labels."""
    if made_from != digest(lab):
        return False
    return all(
        labels.get(name, {}).get(str(key)) == str(value)
        for name, node in declared_nodes(lab.name, lab.declared.content).items()
        for key, value in (node.get("labels") or {}).items()
    )


def drift_of(lab: Lab, nodes: Sequence[Node], labels: Mapping[str, Mapping[str, str]] | None = None) -> Drift:
    """Compare field by field. `nodes` are the cluster's containers, `labels` the API server's where they are known."""
    declared = configuration(lab)
    live = observe_cluster(lab.name, nodes, node_labels(lab) if labels is None else labels)
    return Drift(compare(declared, lab.kubernetes, live, kind_network()), label_changes(declared, live), live)


def notice(lab: Lab, nodes: Sequence[Node]) -> str:
    """The fields that need a new cluster, for a running one of ours; "" where there are none."""
    if not nodes or not nodes[0].ours or any(node.state != "running" for node in nodes):
        return ""
    return drift_of(lab, nodes).notice


def node_labels(lab: Lab) -> dict[str, Mapping[str, str]] | None:
    """The nodes' labels, from the API server; None when it does not answer."""
    try:
        nodes = (lab.api.get(NODES) or {}).get("items") or []
    except ThreezoneError:
        return None
    return {node["metadata"]["name"]: node["metadata"].get("labels") or {} for node in nodes}


def complete_labels(lab: Lab) -> None:
    """Set declared labels that a new cluster's nodes lack: kind drops them where a patch sets `node-labels` too."""
    declared = {name: node.get("labels") for name, node in declared_nodes(lab.name, lab.declared.content).items()}
    actual = node_labels(lab) or {} if any(declared.values()) else {}
    for name, labels in declared.items():
        missing = {key: value for key, value in (labels or {}).items() if actual.get(name, {}).get(key) != value}
        if missing:
            lab.api.merge(f"{NODES}/{name}", {"metadata": {"labels": missing}})


def relabel(lab: Lab) -> None:
    """Set the nodes' labels to the declared ones, and update the last applied configuration in the nodes."""
    nodes = kind.nodes(lab.name)
    drift = drift_of(lab, nodes)
    with step("set the labels of the nodes") as running:
        for change in drift.labels:
            labels: Json = {**change.wanted, **dict.fromkeys(change.gone)}
            lab.api.merge(f"{NODES}/{change.node}", {"metadata": {"labels": labels}})
        running.result = "; ".join(change.command.partition("--overwrite ")[2] for change in drift.labels)
    if applied := drift.live.last_applied:
        text = replace(applied, config=_with_labels(applied.config, configuration(lab))).text
        planes = [node for node in nodes if node.role == "control-plane"]
        for node in planes:
            mark_node(node, text)
        if not drift.blocking:
            annotate(lab, planes)


def _with_labels(config: Mapping[str, Any], declared: Mapping[str, Any]) -> dict[str, Any]:
    """The configuration `config` with the labels of `declared`. Pure."""
    wanted = declared_nodes("", declared)
    nodes = []
    for name, node in declared_nodes("", config).items():
        labels = wanted.get(name, node).get("labels")
        rest = {key: value for key, value in node.items() if key != "labels"}
        nodes.append({**rest, "labels": labels} if labels else rest)
    return {**config, "nodes": nodes}
