"""The cluster made: what is needed for that, its nodes, and the mark that says it was made to the end."""

from __future__ import annotations

from threezone.cluster import kind, kubeadm, lifecycle, local_registry
from threezone.cluster.drift import report
from threezone.cluster.lab import Lab
from threezone.cluster.spec import boot_tuning
from threezone.core.errors import ClusterError
from threezone.core.events import note
from threezone.core.plan import Action
from threezone.images import build, preload
from threezone.images.engine_images import Image
from threezone.images.load import cluster_image
from threezone.toolchain import install

HOW = {"release": "released files and images, by checksum", "source": "built from Go modules and Debian packages"}


def supplies(lab: Lab) -> tuple[Action, ...]:
    """What has to be fetched or built before a cluster can be made, with an estimate; empty when all is here."""
    actions = []
    programs = [name for name in install.NAMES if install.find(name, lab.asked, lab.root) is None]
    if programs:
        actions.append(Action("tools", f"get {', '.join(programs)} ({HOW[lab.channel]})", "./run invoke tools.install"))
    present = build.observe(lab.images, lab.channel)
    lacking = [name for name in lab.images if name not in present]
    if lacking:
        minutes = build.plan(lacking, lab.channel).seconds / 60
        how = f"{HOW[lab.channel]}, about {max(1, round(minutes))} min"
        command = f"./run invoke image.build {lacking[0] if len(lacking) == 1 else 'all'}"
        actions.append(Action("images", f"get the images {', '.join(lacking)} ({how})", command))
    elif not preload.observe(lab.images, lab.channel, present)[1]:
        sentence = (
            f"put Flux, the Git server and the sample app into the node image (once, about {preload.ABOUT_SECONDS} s)"
        )
        actions.append(Action("images", sentence, f"./run invoke image.build {preload.NAME}"))
    return tuple(actions)


def get_images(lab: Lab) -> None:
    """Get every image at once, so that what can overlap does, and the node image that holds the others."""
    preload.ensure(lab.images, lab.channel)


def delete(lab: Lab) -> None:
    """Remove the cluster's nodes."""
    lifecycle.delete(lab.name, lab.tools["kind"])


def create(lab: Lab) -> None:
    """Get the node image and create the cluster; nothing is asked of the user's kubeconfig here."""
    kind_path = lab.tools["kind"]
    lifecycle.preflight(lab.declared, lab.overlays, lab.engine)
    node, inside = examined(lab)
    image = cluster_image(node.reference, lab.name, lab.kubernetes, boot_tuning.files())
    lab.fresh = lifecycle.create(lab.name, lab.declared, lab.overlays, kind=kind_path, image=image, retain=lab.retain)
    lab.inside = inside
    if told := kubeadm.check_made(lab.declared, lab.name):
        note(told)


def examined(lab: Lab) -> tuple[Image, frozenset[str]]:
    """The node image with the names of the lab's images in it; its kubeadm and kubelet take what is declared."""
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
            kind.unmark(node)
    delete(lab)


def ready(lab: Lab) -> bool:
    """Wait until every node is Ready, then mark the cluster as created to the end. False: a pod network is lacking."""
    complete = nodes_ready(lab)
    mark(lab)
    return complete


def nodes_ready(lab: Lab) -> bool:
    """Wait until every node is Ready, and tell them of the local registry. False: a pod network is lacking.

    It is the user's to install where kind's own is declared off, so that it is not waited for.
    """
    world = lifecycle.wait_ready(
        lab.api,
        expected=len(lab.declared.nodes),
        version=lab.kubernetes,
        seconds=lab.settings.cluster.ready_timeout,
        pod_network=lab.declared.pod_network,
    )
    local_registry.tell(lab)
    waiting = [
        node["metadata"]["name"] for node in world[lifecycle.NODES].values() if lifecycle.only_lacks_network(node)
    ]
    if waiting:
        note(f"{', '.join(waiting)}: not Ready until you install a pod network, for disableDefaultCNI is declared")
    return not waiting


def mark(lab: Lab) -> None:
    """Mark the cluster as created to the end. Until then it counts as interrupted, and `up` makes it anew."""
    planes = [node for node in kind.nodes(lab.name) if node.role == "control-plane"]
    record = report.mark(lab) if lab.fresh else ""
    for node in planes:
        kind.mark(node, record)
    if lab.fresh:
        report.annotate(lab, planes)


def no_pod_network(lab: Lab) -> ClusterError:
    """Why nothing can run in a cluster whose nodes only lack their pod network."""
    return ClusterError(
        f"the cluster {lab.name} runs, but no pod can: its pod network is yours to install, for "
        f"disableDefaultCNI is declared ({lab.declared.spots.at('networking', 'disableDefaultCNI')})",
        fix=f"kubectl --context {lab.context} apply --filename YOUR-CNI.yaml && ./run invoke up",
    )
