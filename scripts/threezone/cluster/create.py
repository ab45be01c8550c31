"""Create a cluster: get the programs and images, run kind, wait for the nodes, mark them as complete."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path

from threezone.clients import kind
from threezone.clients.docker.engine import container_proxies
from threezone.clients.kubernetes.watch import wait_for
from threezone.cluster import containers, kubeadm, lifecycle, local_registry, node_images, preflight
from threezone.cluster.drift import detect
from threezone.cluster.lab import Lab
from threezone.cluster.lifecycle import NODES
from threezone.cluster.marks import mark as mark_node
from threezone.cluster.marks import unmark
from threezone.cluster.spec import boot_tuning
from threezone.cluster.spec.declared import with_overlays
from threezone.core import network_ca, paths
from threezone.core.errors import ClusterError, CommandFailed
from threezone.core.events import note, optional, step
from threezone.core.plan import Step, StepKind
from threezone.images import build, preload
from threezone.images.engine_images import Image
from threezone.images.load import cluster_image
from threezone.kubeconfig import store
from threezone.toolchain import install
from threezone.zones import connect as zone
from threezone.zones.admin_kubeconfig import kubeconfig as kubeconfig_of

PATIENCE = 60.0  # seconds: a started node's API server needs a few; a dead one shall not block us for long
HOW = {"release": "released files and images, by checksum", "source": "built from Go modules and Debian packages"}


def supplies(lab: Lab) -> tuple[Step, ...]:
    """The programs and images to fetch or build before a create, with an estimate; empty when all are here."""
    steps = []
    programs = [name for name in install.NAMES if install.find(name, lab.requested_channel, lab.root) is None]
    if programs:
        sentence = f"get {', '.join(programs)} ({HOW[lab.channel]})"
        steps.append(Step(StepKind.GET_TOOLS, sentence, "./run invoke tools.install"))
    present = build.observe(lab.images, lab.channel)
    missing = [name for name in lab.images if name not in present]
    if missing:
        minutes = max(1, round(build.plan(missing, lab.channel).seconds / 60))
        sentence = f"get the images {', '.join(missing)} ({HOW[lab.channel]}, about {minutes} min)"
        command = f"./run invoke image.build {missing[0] if len(missing) == 1 else 'all'}"
        steps.append(Step(StepKind.GET_IMAGES, sentence, command))
    elif not preload.observe(lab.images, lab.channel, present)[1]:
        images = "Flux, the Git server and the sample app"
        sentence = f"put {images} into the node image (once, about {preload.ABOUT_SECONDS} s)"
        steps.append(Step(StepKind.GET_IMAGES, sentence, f"./run invoke image.build {preload.NAME}"))
    return tuple(steps)


@dataclass(frozen=True)
class Created:
    """A cluster that kind has just made: the kubeconfig that it wrote (with keys), and the images in every node."""

    kubeconfig: str = field(repr=False)
    images: frozenset[str]


def create(lab: Lab, *, retain: bool = False) -> Created:
    """Get the node image and create the cluster; the user's kubeconfig is not involved.

    `retain` keeps the nodes of a failed create for inspection.
    """
    preflight.check(lab.declared, lab.overlays, lab.engine)
    if proxies := container_proxies():
        note(f"{proxies}; nodes that go to each other through it do not start")
    node, included = checked_node_image(lab)
    files = {**boot_tuning.files(), **network_ca.files(lab.network_ca)}
    image = cluster_image(node.reference, lab.name, lab.kubernetes, files)
    kubeconfig = run_kind(lab, image, retain=retain)
    hidden = containers.mounts(kind.nodes(lab.name), node_images.STORE)  # a mount there hides the image's content
    with optional("kubeadm could not be asked about fields that it does not know"):
        if warning := kubeadm.check_created(lab.declared, lab.name):
            note(warning)
    return Created(kubeconfig, frozenset() if hidden else included)


def run_kind(lab: Lab, image: str, *, retain: bool) -> str:
    """Run `kind create cluster`; returns the kubeconfig, with keys.

    On failure its logs are kept, and its nodes are removed unless `retain`.
    """
    program, name = lab.tools["kind"], lab.name
    with step(f"create the cluster {name}") as running:
        try:
            return kind.create(program, name, with_overlays(lab.declared, name, lab.overlays), image, running.say)
        except CommandFailed as error:
            raise _failed(error, lab, program, retain=retain) from None
        except KeyboardInterrupt:
            if not retain:
                running.say("interrupted: removing the nodes made so far")
                kind.delete(program, name)
            raise


def _failed(error: CommandFailed, lab: Lab, program: Path, *, retain: bool) -> ClusterError:
    name = lab.name
    logs = paths.state_dir() / "logs" / f"{name}-{time.strftime('%Y%m%d-%H%M%S')}"
    kind.export_logs(program, name, logs)
    if not retain:
        kind.delete(program, name)
    cause, fix = diagnosed(_text(logs, "serial.log"))
    if not cause:
        words, place = kubeadm.explain_failure(error.tail, _text(logs, "kubelet.log"), lab.declared)
        cause = "".join(f": {text}" for text in (place, words) if text and words)
        fix = f"correct {place.rpartition(':')[0] or place}" if place else ""
    if not cause and (proxies := container_proxies()):
        cause = f": nodes may have gone to each other through a proxy ({proxies})"
        fix = "take `proxies` out of that file while the cluster is made, or let its noProxy be *"
    kept = " and its nodes are kept" if retain else ""
    return ClusterError(
        f"kind could not create the cluster {name}{cause}; its logs are in {logs}{kept}",
        evidence=error.tail,
        fix=fix or f"./run invoke cluster.create --name {name} --retain keeps the nodes for inspection",
    )


def _text(logs: Path, name: str) -> str:
    return "\n".join(path.read_text(errors="replace") for path in sorted(logs.glob(f"*/{name}")))


def diagnosed(console: str) -> tuple[str, str]:
    """Why a node did not start, from its console, and the fix; empty for an unknown cause. Pure."""
    # kind's known issue "too many open files": every control plane holds some 25 inotify instances, and Linux allows
    # root 128 by default, for all clusters and the desktop's own programs together.
    if "inotify" in console and "Too many open files" in console:
        return ": the engine's host has no inotify instance left for another node", preflight.INOTIFY_FIX
    return "", ""


def connect(lab: Lab, kubeconfig: str = "") -> None:
    """Prove a route to the API server of a lab of ours and write it into the user's kubeconfig.

    `kubeconfig` is the text that kind wrote; without it kind is asked.
    """
    with step("prove a route to the API server") as running:
        text = kubeconfig or kubeconfig_of(lab.name, lab.tools["kind"])
        running.result = zone.connect(lab.name, text, engine=lab.engine, patience=PATIENCE).sentence


def checked_node_image(lab: Lab) -> tuple[Image, frozenset[str]]:
    """The node image, whose kubeadm and kubelet accept what is declared, and the names of the lab's images in it.

    Raises UsageError also where no kubeconfig entry could be written: before a cluster is deleted or created.
    """
    store.refuse_special()
    node, included = preload.ensure(lab.images, lab.channel)
    kubeadm.check(lab.declared, node.reference, lab.kubernetes)
    return node, included


def recreate(lab: Lab) -> None:
    """Delete a cluster that is to be made anew. From then on it counts as interrupted: any later `up` makes it anew."""
    nodes = kind.nodes(lab.name)
    preflight.check(lab.declared, lab.overlays, lab.engine, replaced=nodes)
    checked_node_image(lab)  # before the deletion: a cluster that cannot be made anew is kept
    for node in nodes:
        if node.role == "control-plane" and node.state == "running":
            unmark(node)
    lifecycle.delete(lab)


def ready(lab: Lab, *, new: bool) -> bool:
    """Wait until every node is Ready, then mark the cluster as complete. False: the pod network is missing."""
    complete = nodes_ready(lab)
    if new:
        detect.complete_labels(lab)
    mark(lab, new=new)
    local_registry.connect(lab)
    return complete


def nodes_ready(lab: Lab) -> bool:
    """Wait until every node is Ready. False: only the pod network is missing, which is declared to be the user's.

    kind's own --wait runs out with exit code 0, so it is not used.
    """
    expected, network = len(lab.declared.nodes), lab.declared.pod_network
    with step("wait for the nodes to be Ready") as running:
        world = wait_for(
            lab.api,
            [NODES],
            lambda world: lifecycle.nodes_missing(world, expected, lab.kubernetes, pod_network=network),
            seconds=lab.settings.cluster.ready_timeout,
            what="the cluster",
        )
        nodes = world[NODES].values()
        running.result = ", ".join(f"{node['metadata']['name']} {lifecycle.kubelet(node)}" for node in nodes)
    waiting = [node["metadata"]["name"] for node in nodes if lifecycle.only_lacks_network(node)]
    if waiting:
        note(f"{', '.join(waiting)}: not Ready until you install a pod network, for disableDefaultCNI is declared")
    return not waiting


def mark(lab: Lab, *, new: bool) -> None:
    """Mark the cluster as complete. Until then it counts as interrupted, and `up` makes it anew.

    A `new` one also gets the configuration that it was created from.
    """
    planes = [node for node in kind.nodes(lab.name) if node.role == "control-plane"]
    text = detect.mark(lab) if new else ""
    for node in planes:
        mark_node(node, text)
    if new:
        with optional("every later up compares the cluster field by field, for its nodes carry no digest"):
            detect.annotate(lab, planes)


def no_pod_network(lab: Lab) -> ClusterError:
    """The error for a cluster whose nodes lack only their pod network: nothing can run in it."""
    return ClusterError(
        f"the cluster {lab.name} runs, but no pod can: its pod network is yours to install, for "
        f"disableDefaultCNI is declared ({lab.declared.spots.at('networking', 'disableDefaultCNI')})",
        fix=f"kubectl --context {lab.context} apply --filename YOUR-CNI.yaml && ./run invoke up",
    )
