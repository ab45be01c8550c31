"""The cluster made: what is needed for that, its nodes, and the mark that says it was made to the end."""

from __future__ import annotations

from dataclasses import dataclass, field

from threezone.clients import kind
from threezone.cluster import containers, kubeadm, lifecycle, local_registry, node_images
from threezone.cluster.drift import detect
from threezone.cluster.lab import Lab
from threezone.cluster.marks import mark as mark_node
from threezone.cluster.marks import unmark
from threezone.cluster.spec import boot_tuning
from threezone.core.errors import ClusterError
from threezone.core.events import note, optional, step
from threezone.core.plan import Step, StepKind
from threezone.images import build, preload
from threezone.images.engine_images import Image
from threezone.images.load import cluster_image
from threezone.kubeconfig import store
from threezone.toolchain import install
from threezone.zones import connect as zone
from threezone.zones.admin_kubeconfig import kubeconfig as kubeconfig_of

PATIENCE = 60.0  # a started node's API server needs a few seconds; a dead one shall not hold us for long
HOW = {"release": "released files and images, by checksum", "source": "built from Go modules and Debian packages"}


def supplies(lab: Lab) -> tuple[Step, ...]:
    """What has to be fetched or built before a cluster can be made, with an estimate; empty when all is here."""
    actions = []
    programs = [name for name in install.NAMES if install.find(name, lab.requested_channel, lab.root) is None]
    if programs:
        actions.append(
            Step(StepKind.GET_TOOLS, f"get {', '.join(programs)} ({HOW[lab.channel]})", "./run invoke tools.install")
        )
    present = build.observe(lab.images, lab.channel)
    lacking = [name for name in lab.images if name not in present]
    if lacking:
        minutes = build.plan(lacking, lab.channel).seconds / 60
        how = f"{HOW[lab.channel]}, about {max(1, round(minutes))} min"
        command = f"./run invoke image.build {lacking[0] if len(lacking) == 1 else 'all'}"
        actions.append(Step(StepKind.GET_IMAGES, f"get the images {', '.join(lacking)} ({how})", command))
    elif not preload.observe(lab.images, lab.channel, present)[1]:
        sentence = (
            f"put Flux, the Git server and the sample app into the node image (once, about {preload.ABOUT_SECONDS} s)"
        )
        actions.append(Step(StepKind.GET_IMAGES, sentence, f"./run invoke image.build {preload.NAME}"))
    return tuple(actions)


def get_images(lab: Lab) -> None:
    """Get every image at once, so that what can overlap does, and the node image that holds the others."""
    preload.ensure(lab.images, lab.channel)


def delete(lab: Lab) -> None:
    """Remove the cluster's nodes."""
    lifecycle.delete(lab.name, lab.tools["kind"])


@dataclass(frozen=True)
class Created:
    """A cluster that kind has just made: the kubeconfig that it wrote (with keys), and the images in every node."""

    kubeconfig: str = field(repr=False)
    images: frozenset[str]


def create(lab: Lab, *, retain: bool = False) -> Created:
    """Get the node image and create the cluster; nothing is asked of the user's kubeconfig here.

    `retain` keeps the nodes of a failed create for a look.
    """
    kind_path = lab.tools["kind"]
    lifecycle.preflight(lab.declared, lab.overlays, lab.engine)
    node, inside = examined(lab)
    image = cluster_image(node.reference, lab.name, lab.kubernetes, boot_tuning.files())
    kubeconfig = lifecycle.create(lab.name, lab.declared, lab.overlays, kind=kind_path, image=image, retain=retain)
    hidden = containers.mounts(kind.nodes(lab.name), node_images.STORE)  # such a mount hides what is inside
    with optional("kubeadm was not asked for fields that it does not know"):
        if told := kubeadm.check_made(lab.declared, lab.name):
            note(told)
    return Created(kubeconfig, frozenset() if hidden else inside)


def connect(lab: Lab, kubeconfig: str = "") -> None:
    """Prove a route to the API server of a lab of ours and write it into the user's kubeconfig.

    `kubeconfig` is the text that kind wrote; kind is asked for it where it is not given.
    """
    with step("prove a route to the API server") as running:
        text = kubeconfig or kubeconfig_of(lab.name, lab.tools["kind"])
        running.result = zone.connect(lab.name, text, engine=lab.engine, patience=PATIENCE).sentence


def examined(lab: Lab) -> tuple[Image, frozenset[str]]:
    """The node image with the names of the lab's images in it; its kubeadm and kubelet take what is declared.

    Raises UsageError, too, where no entry for the cluster could be written: that costs no cluster either.
    """
    store.refuse_special()
    node, inside = preload.ensure(lab.images, lab.channel)
    kubeadm.check(lab.declared, node.reference, lab.kubernetes)
    return node, inside


def recreate(lab: Lab) -> None:
    """Delete a cluster that is to be made anew. From here on it counts as interrupted: any later `up` makes it anew."""
    found = kind.nodes(lab.name)
    lifecycle.preflight(lab.declared, lab.overlays, lab.engine, going=found)
    examined(lab)  # what cannot be made costs no cluster
    for node in found:
        if node.role == "control-plane" and node.state == "running":
            unmark(node)
    delete(lab)


def ready(lab: Lab, *, new: bool) -> bool:
    """Wait until every node is Ready, then mark the cluster as created to the end. False: a pod network is lacking."""
    complete = nodes_ready(lab)
    mark(lab, new=new)
    local_registry.tell(lab)
    return complete


def nodes_ready(lab: Lab) -> bool:
    """Wait until every node is Ready. False: a pod network is lacking.

    It is the user's to install where kind's own is declared off, so that it is not waited for.
    """
    world = lifecycle.wait_ready(
        lab.api,
        expected=len(lab.declared.nodes),
        version=lab.kubernetes,
        seconds=lab.settings.cluster.ready_timeout,
        pod_network=lab.declared.pod_network,
    )
    waiting = [
        node["metadata"]["name"] for node in world[lifecycle.NODES].values() if lifecycle.only_lacks_network(node)
    ]
    if waiting:
        note(f"{', '.join(waiting)}: not Ready until you install a pod network, for disableDefaultCNI is declared")
    return not waiting


def mark(lab: Lab, *, new: bool) -> None:
    """Mark the cluster as created to the end. Until then it counts as interrupted, and `up` makes it anew.

    A `new` one also gets the record of what it was made from.
    """
    planes = [node for node in kind.nodes(lab.name) if node.role == "control-plane"]
    record = detect.mark(lab) if new else ""
    for node in planes:
        mark_node(node, record)
    if new:
        with optional("every later up compares the cluster field by field, for its nodes carry no digest"):
            detect.annotate(lab, planes)


def no_pod_network(lab: Lab) -> ClusterError:
    """Why nothing can run in a cluster whose nodes only lack their pod network."""
    return ClusterError(
        f"the cluster {lab.name} runs, but no pod can: its pod network is yours to install, for "
        f"disableDefaultCNI is declared ({lab.declared.spots.at('networking', 'disableDefaultCNI')})",
        fix=f"kubectl --context {lab.context} apply --filename YOUR-CNI.yaml && ./run invoke up",
    )
