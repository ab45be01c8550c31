"""Zone 3 from observation to a cluster that answers: observe → plan (pure) → apply, and the way back."""

from __future__ import annotations

import shlex
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from threezone.clients import kind as kind_cli
from threezone.clients.docker import containers as docker_containers
from threezone.clients.docker import volumes as storage
from threezone.clients.kind import Node
from threezone.clients.kubernetes.api import Api, Json
from threezone.clients.kubernetes.watch import World, condition, wait_for
from threezone.cluster import containers, inotify, kubeadm, ports
from threezone.cluster.marks import is_marked
from threezone.cluster.spec import validate
from threezone.cluster.spec.declared import Declared, Overlay, as_typed, published, with_overlays
from threezone.core import names, paths
from threezone.core.errors import ClusterError, CommandFailed, EngineError, UsageError
from threezone.core.events import step
from threezone.core.plan import Step, StepKind
from threezone.engine.find import Engine
from threezone.zones.locate import engine_kind, locate

NODES = "/api/v1/nodes"
NAMED = "--name, or threezone.cluster.name in invoke.yaml"
GOING_SECONDS = 10.0  # for a node whose removal somebody else has begun
SPACE_NEEDED = 3 * 1024**3  # bytes: a node's volume with its images, and room for the kubelet not to evict

State = Literal["absent", "foreign", "interrupted", "stopped", "running"]


@dataclass(frozen=True)
class Observed:
    """A cluster as the engine's labels and the node's own files show it."""

    name: str
    state: State
    nodes: tuple[Node, ...] = ()


def observe(name: str) -> Observed:
    """Look for the cluster `name`. One engine call, one more per control plane when it is ours."""
    found = kind_cli.nodes(name)
    if not found:
        return Observed(name, "absent")
    if not found[0].ours:
        return Observed(name, "foreign", found)
    planes = [node for node in found if node.role == "control-plane"]
    if not planes or not all(is_marked(node) for node in planes):
        return Observed(name, "interrupted", found)
    return Observed(name, "running" if all(node.state == "running" for node in found) else "stopped", found)


def plan(seen: Observed, declared: Declared, added: Sequence[Overlay], image: str) -> tuple[Step, ...]:
    """What makes the declared cluster run. Pure.

    Raises ClusterError for a cluster that is not ours, UsageError for a name with which none can be created.
    """
    if seen.state == "foreign":
        raise ClusterError(
            f"a cluster named {seen.name} exists and was not made by threezone; it is left alone",
            evidence="\n".join(f"container {node.name} from {node.image}" for node in seen.nodes),
            fix="choose another name (threezone.cluster.name in invoke.yaml, or --name), "
            f"or delete it yourself: kind delete cluster --name {seen.name}",
        )
    if seen.state == "running":
        return ()
    if seen.state == "stopped":
        stopped = " ".join(node.name for node in seen.nodes if node.state != "running")
        return (
            Step(
                StepKind.START_NODES, f"start the stopped nodes of the cluster {seen.name}", f"docker start {stopped}"
            ),
        )
    names.new_cluster(seen.name, [str(node.get("role", "control-plane")) for node in declared.nodes])
    actions = []
    if seen.state == "interrupted":
        actions.append(
            Step(
                StepKind.DELETE_CLUSTER,
                f"remove what an interrupted create of the cluster {seen.name} left",
                f"kind delete cluster --name {seen.name}",
            )
        )
    if declared.name not in ("", seen.name):
        sentence = f"the file names the cluster {declared.name}; it is {seen.name} here ({NAMED})"
        actions.append(Step(StepKind.NOTE, sentence))
    actions.extend(Step(StepKind.NOTE, sentence) for sentence in declared.said)
    actions.extend(Step(StepKind.NOTE, overlay.sentence) for overlay in added)
    actions.append(
        Step(
            StepKind.CREATE_CLUSTER,
            f"create the cluster {seen.name} from {as_typed(declared.path)} "
            f"({len(declared.nodes)} node{'s' if len(declared.nodes) > 1 else ''}, API on "
            f"{published(declared, added)}:{declared.api_port or 'a free port'})",
            f"kind create cluster --name {seen.name} --config {as_typed(declared.path)} --image {image}",
        )
    )
    return tuple(actions)


def preflight(declared: Declared, added: Sequence[Overlay], engine: Engine, going: Sequence[Node] = ()) -> None:
    """What would make kind fail later, said before: the port, inotify, the disk. Raises UsageError or EngineError.

    What the nodes that are `going` publish is free as soon as they are gone.
    """
    if not engine.local:
        return  # a remote engine's ports and disks are not ours to see

    freed = {each[:2] for node in going for each in docker_containers.published(node.ports)}

    def is_taken(address: str, port: int) -> bool:
        return (address, port) not in freed and ports.is_taken(address, port)

    address = published(declared, added)
    if declared.api_port and is_taken(address, declared.api_port):
        raise UsageError(
            f"port {declared.api_port} on {address} is taken by {ports.holder(declared.api_port)}",
            fix=f"free it, or declare another networking.apiServerPort in {declared.path}",
        )
    for keys, address, port, protocol in validate.ports(declared.content):
        if keys[0] == "nodes" and protocol == "TCP" and is_taken(address, port):
            place = declared.spots.at(*keys, "hostPort")
            raise UsageError(
                f"{place}: port {port} on {address} is taken by {ports.holder(port)}",
                fix="free it, or declare another hostPort",
            )
    if locate(engine).kind == "host":  # elsewhere the engine's files are not ours to see
        _mounts_exist(declared)
    wanted = inotify.needed([str(node.get("role", "control-plane")) for node in declared.nodes])
    room = inotify.left() if engine_kind(engine) == "native" else None
    if room is not None and room < wanted:
        raise EngineError(
            f"the declared cluster needs about {wanted} inotify instances, and this machine has {room} left for root",
            fix=inotify.MORE,
        )
    root = engine.root
    if root and Path(root).exists() and (free := shutil.disk_usage(root).free) < SPACE_NEEDED:
        raise EngineError(
            f"the disk below {root} is nearly full: {free / 1024**3:.1f} GiB free, {SPACE_NEEDED / 1024**3:.0f} needed",
            fix="docker system prune, or make room",
        )


def _mounts_exist(declared: Declared) -> None:
    """The engine would make a missing directory, empty and root's. Raises UsageError for the first that is missing."""
    for index, node in enumerate(declared.nodes):
        for number, mount in enumerate(node.get("extraMounts") or []):
            if not Path(mount["hostPath"]).exists():
                place = declared.spots.at("nodes", index, "extraMounts", number, "hostPath")
                raise UsageError(
                    f"{place}: there is no {mount['hostPath']} here to mount at {mount['containerPath']}",
                    fix=f"mkdir -p {shlex.quote(mount['hostPath'])}, or correct hostPath",
                )


def create(
    name: str, declared: Declared, added: Sequence[Overlay], *, kind: Path, image: str, retain: bool = False
) -> str:
    """Create the cluster with kind; returns its kubeconfig, with keys.

    On failure its logs are kept, and its nodes are removed unless `retain`.
    """
    with step(f"create the cluster {name}") as running:
        try:
            return kind_cli.create(kind, name, with_overlays(declared, name, added), image, running.say)
        except CommandFailed as error:
            raise _failed(error, name, kind, declared, retain=retain) from None
        except KeyboardInterrupt:
            if not retain:
                running.say("interrupted: removing the nodes made so far")
                kind_cli.delete(kind, name)
            raise


def _failed(error: CommandFailed, name: str, kind: Path, declared: Declared, *, retain: bool) -> ClusterError:
    logs = paths.state_dir() / "logs" / f"{name}-{time.strftime('%Y%m%d-%H%M%S')}"
    kind_cli.export_logs(kind, name, logs)
    if not retain:
        kind_cli.delete(kind, name)
    console = "\n".join(path.read_text(errors="replace") for path in sorted(logs.glob("*/serial.log")))
    cause, fix = diagnosed(console)
    if not cause:
        kubelet = "\n".join(path.read_text(errors="replace") for path in sorted(logs.glob("*/kubelet.log")))
        words, place = kubeadm.blamed(error.tail, kubelet, declared)
        cause = f": {place}: {words}" if place else f": {words}" if words else ""
        fix = f"correct {place.rpartition(':')[0] or place}" if place else ""
    return ClusterError(
        f"kind could not create the cluster {name}{cause}; its logs are in {logs}"
        + (" and its nodes are kept" if retain else ""),
        evidence=error.tail,
        fix=fix or f"./run invoke cluster.create --name {name} --retain keeps the nodes for a look",
    )


def diagnosed(console: str) -> tuple[str, str]:
    """What a node's console says of why it did not come up, and the cure; empty where it says nothing known. Pure."""
    # kind's known issue "too many open files": every control plane holds some 25 inotify instances, and Linux grants
    # 128 to root by default, all clusters and the desktop's own programs together.
    if "inotify" in console and "Too many open files" in console:
        return (
            ": the engine's host has no inotify instance left for another node",
            inotify.MORE,
        )
    return "", ""


def delete(name: str, kind: Path) -> None:
    """Delete the cluster's containers and volumes. The caller has made sure that it is ours."""
    with step(f"delete the cluster {name}"):
        volumes = [volume for one in containers.inspect(kind_cli.nodes(name)) for volume in one.volumes]
        kind_cli.delete(kind, name)
        end = time.monotonic() + GOING_SECONDS
        while (left := kind_cli.nodes(name)) and time.monotonic() < end:
            time.sleep(0.2)  # somebody else removes it, too: the engine lists it until it is done, and tells no end
        if left:
            raise ClusterError(
                f"nodes of {name} are still there after the deletion",
                evidence="\n".join(node.name for node in left),
                fix=f"docker rm --force --volumes {' '.join(node.name for node in left)}",
            )
        # They go with their containers; those of a container that an engine lost do not.
        storage.remove(*volumes, check=False)


def nodes_missing(world: World, expected: int, version: str, *, pod_network: bool = True) -> list[str]:
    """The judge of a ready cluster: every declared node Ready, with the wanted kubelet. Pure.

    Without a `pod_network` of kind's, a node that lacks nothing else is as ready as it becomes.
    """
    seen = world[NODES].values()
    lines = [f"{expected - len(seen)} of {expected} nodes to register"] if len(seen) < expected else []
    for node in seen:
        name = node["metadata"]["name"]
        ready = condition(node, "Ready")
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


def wait_ready(api: Api, *, expected: int, version: str, seconds: float, pod_network: bool = True) -> World:
    """Watch until every declared node is Ready, or lacks nothing but a pod network that is not declared.

    kind's own --wait runs out with exit code 0, so it is not asked.
    """
    with step("wait for the nodes to be Ready") as running:
        world = wait_for(
            api,
            [NODES],
            lambda seen: nodes_missing(seen, expected, version, pod_network=pod_network),
            seconds=seconds,
            what="the cluster",
        )
        running.result = ", ".join(f"{n['metadata']['name']} {kubelet(n)}" for n in world[NODES].values())
    return world
