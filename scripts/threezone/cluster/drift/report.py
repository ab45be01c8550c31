"""How the running cluster stands to what is declared: a cheap look for every `up`, and the whole comparison."""

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
from threezone.cluster.drift.live import Running
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
class Standing:
    """A comparison: every field, what to change in place, and what was seen."""

    rows: tuple[Row, ...]
    labels: tuple[Labels, ...]
    running: Running

    @property
    def blocking(self) -> tuple[Row, ...]:
        """The fields that take a new cluster."""
        return tuple(row for row in self.rows if row.verdict == "new cluster")

    @property
    def differing(self) -> tuple[Row, ...]:
        """The fields that are not as they are declared."""
        return tuple(row for row in self.rows if row.verdict in ("new cluster", "in place"))

    @property
    def actions(self) -> tuple[Step, ...]:
        """What changes the rest in place."""
        found = []
        if any(node.files and not node.files.marked for node in self.running.of("control-plane")):
            found.append(
                Step(StepKind.WAIT_FOR_NODES, "wait until every node is Ready: a run that was killed before has not")
            )
        if self.labels:
            names = ", ".join(change.node for change in self.labels)
            commands = "\n".join(each.command for each in self.labels)
            found.append(Step(StepKind.LABEL_NODES, f"set the labels of {names}", commands))
        return tuple(found)

    @property
    def notice(self) -> str:
        """What takes a new cluster, in one sentence; "" when nothing does."""
        if not self.blocking:
            return ""
        each = "; ".join(
            f"{row.field} is {row.running}, declared is {row.declared} ({row.why})" for row in self.blocking
        )
        return (
            f"the cluster is not as it is declared, and takes a new one for that: {each}. ./run invoke cluster.plan "
            "shows what would be lost, and ./run invoke up --recreate asks and does it"
        )


def configuration(lab: Lab) -> dict[str, Any]:
    """What kind would be given now, as data; without what a cluster may lack and is as declared."""
    binding = [each for each in lab.overlays if not each.defaults]
    return dict(json.loads(with_overlays(lab.declared, lab.name, binding)))


def digest(lab: Lab) -> str:
    """A digest of what is declared: the file, the settings, the version; not what the host needs, which costs a call.

    The nodes carry the one that they were made from. Where the two are the same, nothing is compared field by field.
    """
    return last_applied.digest(with_overlays(lab.declared, lab.name, lab.published), lab.kubernetes)


def mark(lab: Lab) -> str:
    """What is to be written into the nodes of a cluster that this session has made."""
    return last_applied.write(configuration(lab), lab.kubernetes)


def annotate(lab: Lab, planes: Sequence[Node]) -> None:
    """Let the control planes carry the digest of what is declared."""
    for node in planes:
        metadata = {"name": node.name, "annotations": {last_applied.ANNOTATION: digest(lab)}}
        lab.api.apply(f"{NODES}/{node.name}", {"apiVersion": "v1", "kind": "Node", "metadata": metadata})


def is_as_declared(lab: Lab, made_from: str, labels: Mapping[str, Mapping[str, str]]) -> bool:
    """The cheap look: whether the nodes were made from what is declared now, and have the declared labels."""
    if made_from != digest(lab):
        return False
    wanted = declared_nodes(lab.name, lab.declared.content)
    return all(
        labels.get(name, {}).get(str(key)) == str(value)
        for name, node in wanted.items()
        for key, value in (node.get("labels") or {}).items()
    )


def look(lab: Lab, nodes: Sequence[Node], labels: Mapping[str, Mapping[str, str]] | None = None) -> Standing:
    """Compare field by field. `nodes` are the cluster's containers, `labels` the API server's where they are known."""
    declared = configuration(lab)
    running = observe_cluster(lab.name, nodes, node_labels(lab) if labels is None else labels)
    rows = compare(declared, lab.kubernetes, running, kind_network())
    return Standing(rows, label_changes(declared, running), running)


def notice(lab: Lab, nodes: Sequence[Node]) -> str:
    """What takes a new cluster, of one of ours that runs; "" where there is nothing to say."""
    if not nodes or not nodes[0].ours or any(node.state != "running" for node in nodes):
        return ""
    return look(lab, nodes).notice


def node_labels(lab: Lab) -> dict[str, Mapping[str, str]] | None:
    """The nodes' labels, from the API server; None when it does not answer."""
    try:
        found = (lab.api.get(NODES) or {}).get("items") or []
    except ThreezoneError:
        return None
    return {node["metadata"]["name"]: node["metadata"].get("labels") or {} for node in found}


def relabel(lab: Lab) -> None:
    """Make the nodes' labels what is declared, and write that down where the cluster's making is written."""
    nodes = kind.nodes(lab.name)
    before = look(lab, nodes)
    with step("set the labels of the nodes") as running:
        for change in before.labels:
            labels: Json = {**change.wanted, **dict.fromkeys(change.gone)}
            lab.api.merge(f"{NODES}/{change.node}", {"metadata": {"labels": labels}})
        running.result = "; ".join(change.command.partition("--overwrite ")[2] for change in before.labels)
    if made_from := before.running.record:
        text = last_applied.rewrite(replace(made_from, config=_with_labels(made_from.config, configuration(lab))))
        planes = [node for node in nodes if node.role == "control-plane"]
        for node in planes:
            mark_node(node, text)
        if not before.blocking:
            annotate(lab, planes)


def _with_labels(config: Mapping[str, Any], declared: Mapping[str, Any]) -> dict[str, Any]:
    """What a cluster was made from, with the labels that are declared now. Pure."""
    wanted = declared_nodes("", declared)
    nodes = []
    for name, node in declared_nodes("", config).items():
        rest = {key: value for key, value in node.items() if key != "labels"}
        labels = wanted.get(name, node).get("labels")
        nodes.append({**rest, "labels": labels} if labels else rest)
    return {**config, "nodes": nodes}
