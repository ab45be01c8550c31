"""The cluster made: what is needed for that, its nodes, and the mark that says it was made to the end."""

from __future__ import annotations

from threezone.cluster import kind, kubeadm, lifecycle, local_registry
from threezone.cluster.context import Session
from threezone.cluster.drift import report
from threezone.cluster.spec import boot_tuning
from threezone.core.errors import ClusterError
from threezone.core.events import note
from threezone.core.plan import Action
from threezone.images import build, preload
from threezone.images.engine_images import Image
from threezone.images.load import cluster_image
from threezone.toolchain import install

HOW = {"release": "released files and images, by checksum", "source": "built from Go modules and Debian packages"}


def supplies(session: Session) -> tuple[Action, ...]:
    """What has to be fetched or built before a cluster can be made, with an estimate; empty when all is here."""
    actions = []
    programs = [name for name in install.NAMES if install.find(name, session.asked, session.lab.root) is None]
    if programs:
        actions.append(
            Action("tools", f"get {', '.join(programs)} ({HOW[session.channel]})", "./run invoke tools.install")
        )
    present = build.observe(session.images, session.channel)
    lacking = [name for name in session.images if name not in present]
    if lacking:
        minutes = build.plan(lacking, session.channel).seconds / 60
        how = f"{HOW[session.channel]}, about {max(1, round(minutes))} min"
        command = f"./run invoke image.build {lacking[0] if len(lacking) == 1 else 'all'}"
        actions.append(Action("images", f"get the images {', '.join(lacking)} ({how})", command))
    elif not preload.observe(session.images, session.channel, present)[1]:
        sentence = (
            f"put Flux, the Git server and the sample app into the node image (once, about {preload.ABOUT_SECONDS} s)"
        )
        actions.append(Action("images", sentence, f"./run invoke image.build {preload.NAME}"))
    return tuple(actions)


def get_images(session: Session) -> None:
    """Get every image at once, so that what can overlap does, and the node image that holds the others."""
    preload.ensure(session.images, session.channel)


def delete(session: Session) -> None:
    """Remove the cluster's nodes."""
    lifecycle.delete(session.lab.name, session.tools["kind"])


def create(session: Session) -> None:
    """Get the node image and create the cluster; nothing is asked of the user's kubeconfig here."""
    kind_path = session.tools["kind"]
    lifecycle.preflight(session.declared, session.overlays, session.engine)
    node, inside = examined(session)
    image = cluster_image(node.reference, session.lab.name, session.kubernetes, boot_tuning.files())
    session.fresh = lifecycle.create(
        session.lab.name, session.declared, session.overlays, kind=kind_path, image=image, retain=session.retain
    )
    session.inside = inside
    if told := kubeadm.check_made(session.declared, session.lab.name):
        note(told)


def examined(session: Session) -> tuple[Image, frozenset[str]]:
    """The node image with the names of the lab's images in it; its kubeadm and kubelet take what is declared."""
    node, inside = preload.ensure(session.images, session.channel)
    kubeadm.check(session.declared, node.reference, session.kubernetes)
    return node, inside


def recreate(session: Session) -> None:
    """Delete a cluster that is to be made anew. From here on it counts as interrupted: any later `up` makes it anew."""
    found = kind.nodes(session.lab.name)
    lifecycle.preflight(session.declared, session.overlays, session.engine, going=found)
    examined(session)  # what cannot be made costs no cluster
    for node in found:
        if node.role == "control-plane" and node.state == "running":
            kind.unmark(node)
    delete(session)


def ready(session: Session) -> bool:
    """Wait until every node is Ready, then mark the cluster as created to the end. False: a pod network is lacking."""
    complete = nodes_ready(session)
    mark(session)
    return complete


def nodes_ready(session: Session) -> bool:
    """Wait until every node is Ready, and tell them of the local registry. False: a pod network is lacking.

    It is the user's to install where kind's own is declared off, so that it is not waited for.
    """
    world = lifecycle.wait_ready(
        session.api,
        expected=len(session.declared.nodes),
        version=session.kubernetes,
        seconds=session.lab.settings.cluster.ready_timeout,
        pod_network=session.declared.pod_network,
    )
    local_registry.tell(session)
    waiting = [
        node["metadata"]["name"] for node in world[lifecycle.NODES].values() if lifecycle.only_lacks_network(node)
    ]
    if waiting:
        note(f"{', '.join(waiting)}: not Ready until you install a pod network, for disableDefaultCNI is declared")
    return not waiting


def mark(session: Session) -> None:
    """Mark the cluster as created to the end. Until then it counts as interrupted, and `up` makes it anew."""
    planes = [node for node in kind.nodes(session.lab.name) if node.role == "control-plane"]
    record = report.mark(session) if session.fresh else ""
    for node in planes:
        kind.mark(node, record)
    if session.fresh:
        report.annotate(session, planes)


def no_pod_network(session: Session) -> ClusterError:
    """Why nothing can run in a cluster whose nodes only lack their pod network."""
    return ClusterError(
        f"the cluster {session.lab.name} runs, but no pod can: its pod network is yours to install, for "
        f"disableDefaultCNI is declared ({session.declared.spots.at('networking', 'disableDefaultCNI')})",
        fix=f"kubectl --context {session.lab.context} apply --filename YOUR-CNI.yaml && ./run invoke up",
    )
