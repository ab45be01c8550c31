"""A cluster's state, the plan that makes the declared cluster run, and its deletion."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from threezone.clients import kind
from threezone.clients.docker import volumes as docker_volumes
from threezone.clients.kind import Node
from threezone.clients.kubernetes.api import Json
from threezone.clients.kubernetes.watch import World, condition
from threezone.cluster import containers, lease
from threezone.cluster.lab import Lab
from threezone.cluster.lease import Lease
from threezone.cluster.marks import is_marked
from threezone.cluster.spec.declared import Declared, Overlay, as_typed, published
from threezone.core import names
from threezone.core.errors import ClusterError
from threezone.core.events import step
from threezone.core.plan import Step, StepKind

NODES = "/api/v1/nodes"
REMOVAL_SECONDS = 10.0  # for a node that somebody else is removing

State = Literal["absent", "foreign", "interrupted", "busy", "stopped", "running"]


@dataclass(frozen=True)
class Observed:
    """A cluster's state, by the engine's labels and the nodes' marks.

    A cluster that is not complete is busy while another run holds its lease, and interrupted when nobody does.
    """

    name: str
    state: State
    nodes: tuple[Node, ...] = ()
    lease: Lease | None = None  # of the run that is at work on it


def observe(name: str) -> Observed:
    """The state of the cluster `name`. One engine call, one per control plane of ours, one if it is not complete."""
    nodes = kind.nodes(name)
    if not nodes:
        holder = lease.read(name)
        return Observed(name, "busy" if holder else "absent", lease=holder)
    if not nodes[0].ours:
        return Observed(name, "foreign", nodes)
    planes = [node for node in nodes if node.role == "control-plane"]
    if not planes or not all(is_marked(node) for node in planes):
        holder = lease.read(name)
        return Observed(name, "busy" if holder else "interrupted", nodes, holder)
    return Observed(name, "running" if all(node.state == "running" for node in nodes) else "stopped", nodes)


def foreign(observed: Observed, fix: str) -> ClusterError:
    """The refusal to change a cluster that is not ours."""
    return ClusterError(
        f"the cluster {observed.name} was not made by threezone; it is left alone",
        evidence="\n".join(f"container {node.name} from {node.image}" for node in observed.nodes),
        fix=fix,
    )


def plan(observed: Observed, declared: Declared, added: Sequence[Overlay], image: str) -> tuple[Step, ...]:
    """The steps that make the declared cluster run. Pure.

    Raises ClusterError for a cluster that is not ours, UsageError for a name that no new cluster can have.
    """
    name = observed.name
    if observed.state == "foreign":
        another = "choose another name (threezone.cluster.name in invoke.yaml, or --name)"
        raise foreign(observed, f"{another}, or delete it yourself: kind delete cluster --name {name}")
    if observed.state == "running":
        return ()
    if observed.lease is not None:
        return (lease.wait_step(observed.lease),)
    if observed.state == "stopped":
        stopped = " ".join(node.name for node in observed.nodes if node.state != "running")
        sentence = f"start the stopped nodes of the cluster {name}"
        return (Step(StepKind.START_NODES, sentence, f"docker start {stopped}"),)
    names.new_cluster(name, [str(node.get("role", "control-plane")) for node in declared.nodes])
    steps = []
    if observed.state == "interrupted":
        sentence = f"remove the rest of an interrupted create of the cluster {name}"
        steps.append(Step(StepKind.DELETE_CLUSTER, sentence, f"kind delete cluster --name {name}"))
    notes = [*declared.changes, *(overlay.sentence for overlay in added)]
    if declared.name not in ("", name):
        setting = "--name, or threezone.cluster.name in invoke.yaml"
        notes.insert(0, f"the file names the cluster {declared.name}; it is {name} here ({setting})")
    steps += [Step(StepKind.NOTE, note) for note in notes]
    file, count = as_typed(declared.path), len(declared.nodes)
    api = f"{published(declared, added)}:{declared.api_port or 'a free port'}"
    sentence = f"create the cluster {name} from {file} ({count} node{'s' if count > 1 else ''}, API on {api})"
    command = f"kind create cluster --name {name} --config {file} --image {image}"
    return (*steps, Step(StepKind.CREATE_CLUSTER, sentence, command))


def delete(lab: Lab) -> None:
    """Delete the cluster's containers and volumes. The caller has made sure that it is ours."""
    name = lab.name
    with step(f"delete the cluster {name}"):
        volumes = [volume for each in containers.inspect(kind.nodes(name)) for volume in each.volumes]
        kind.delete(lab.tools["kind"], name)
        end = time.monotonic() + REMOVAL_SECONDS
        while (nodes := kind.nodes(name)) and time.monotonic() < end:
            time.sleep(0.2)  # somebody else removes it too: the engine lists it until then, and announces no end
        if nodes:
            raise ClusterError(
                f"nodes of {name} are still there after the deletion",
                evidence="\n".join(node.name for node in nodes),
                fix=f"docker rm --force --volumes {' '.join(node.name for node in nodes)}",
            )
        # Volumes are removed with their containers, except those of a container that the engine has lost.
        docker_volumes.remove(*volumes, check=False)


def nodes_missing(world: World, expected: int, version: str, *, pod_network: bool = True) -> list[str]:
    """What a ready cluster still lacks: every declared node Ready, with the wanted kubelet. Pure.

    Without a `pod_network` of kind's, a node that lacks nothing else counts as ready.
    """
    nodes = world[NODES].values()
    lines = [f"{expected - len(nodes)} of {expected} nodes to register"] if len(nodes) < expected else []
    for node in nodes:
        name, ready = node["metadata"]["name"], condition(node, "Ready")
        if ready.get("status") != "True" and (pod_network or not only_lacks_network(node)):
            lines.append(f"node {name} to be Ready ({ready.get('message') or 'no status yet'})"[:400])
        elif version and kubelet(node) != version:
            raise ClusterError(f"node {name} runs {kubelet(node)}, not {version}", fix="./run invoke image.build node")
    return lines


def only_lacks_network(node: Json) -> bool:
    """Whether a node that is not Ready says that it lacks its pod network, and nothing else."""
    ready = condition(node, "Ready")
    message = str(ready.get("message"))
    return ready.get("status") == "False" and "NetworkPluginNotReady" in message and ", " not in message


def kubelet(node: Json) -> str:
    """The kubelet's version on a node."""
    return str(node.get("status", {}).get("nodeInfo", {}).get("kubeletVersion", ""))
