"""Load images that a user names or that the lab needs into the nodes, and plan the removal of unused images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from threezone.clients import kind
from threezone.clients.docker.images import tag
from threezone.clients.kind import Node
from threezone.cluster import containers, lease
from threezone.cluster.lab import Lab
from threezone.core.errors import ClusterError, UsageError
from threezone.core.plan import Step
from threezone.images import build, debian_base, engine_images, load, preload, prune
from threezone.images.engine_images import Image

STORE = "/var/lib/containerd"  # containerd's image store in a node, by default
PULLED = (
    "push the image to a registry of that cluster and name it with --image, "
    "or set threezone.gitops.url in invoke.yaml to a repository that the cluster reaches"
)


def chosen(lab: Lab, names: Sequence[str]) -> list[Image]:
    """The images of these names: the lab's own by their short names, built if need be; any of the engine's by theirs.

    Raises UsageError for an image that the engine does not have.
    """
    short = [name for name in names if name in build.NAMES or build.is_node(name) or name == build.BALANCER]
    if unusable := [name for name in short if name not in build.NAMES[1:]]:
        raise UsageError(f"{unusable[0]} is an image of nodes, which is not loaded into them", fix="leave it out")
    images: list[Image] = []
    for name, group in build.ensure_all(short, lab.channel).items() if short else ():
        images += (*group, tag_hello(group[0])) if name == "hello" else group
    references = {name: _with_tag(name) for name in names if name not in short}
    present = engine_images.inspect(list(references.values()))
    if missing := [name for name, reference in references.items() if reference not in present]:
        fix = f"docker pull {missing[0]}, or build it, or name an archive: ./app.tar"
        raise UsageError(f"the engine has no image {missing[0]}", fix=fix)
    return [*images, *present.values()]


def tag_hello(hello: Image) -> Image:
    """Tag the sample app with the name that commits use: built images are named by their content."""
    tag(hello.reference, build.APP)
    return replace(hello, reference=build.APP)


def _with_tag(name: str) -> str:
    """A name as the engine shows it, with its tag. Raises UsageError for a digest, which nodes keep as no name."""
    if "@" in name:
        raise UsageError(
            f"{name}: an image that is named by its digest loses that name in an archive",
            fix=f"docker tag {name} {name.partition('@')[0].partition(':')[0]}:TAG, and load that",
        )
    return name if ":" in name.rpartition("/")[2] else f"{name}:latest"


def _kind_cluster(lab: Lab, fix: str, evidence: str = "") -> str:
    """The lab's kind cluster. Raises UsageError when its nodes are not on the engine here."""
    if lab.kind_cluster:
        return lab.kind_cluster
    message = (
        f"the nodes of {lab.display_name} are not kind nodes on the engine here, so no image can be loaded into them"
    )
    raise UsageError(message, evidence=evidence, fix=fix)


def into_nodes(lab: Lab, names: Sequence[str], archives: Sequence[Path]) -> tuple[Image, ...]:
    """Load images into every node of the lab's cluster that lacks any. Returns the loaded images."""
    nodes = running_nodes(lab)
    return _load(lab, nodes, chosen(lab, names), archives)


def engine_images_into_nodes(lab: Lab, images: Sequence[Image]) -> tuple[Image, ...]:
    """Load images of the engine into every node of the lab's cluster that lacks any. Returns the loaded images."""
    return _load(lab, running_nodes(lab), images)


def running_nodes(lab: Lab) -> list[Node]:
    """The Kubernetes nodes of the lab's cluster. Raises UsageError where they are not here, ClusterError if stopped."""
    cluster = _kind_cluster(lab, "push the image to a registry that the cluster pulls from")
    nodes = [node for node in kind.nodes(cluster) if node.in_kubernetes]
    if not nodes:
        raise ClusterError(f"there is no cluster named {cluster}", fix=f"./run invoke cluster.create --name {cluster}")
    if stopped := [node.name for node in nodes if node.state != "running"]:
        raise ClusterError(f"the node {stopped[0]} does not run", fix=f"./run invoke up --name {cluster}")
    return nodes


def load_missing(
    lab: Lab, wanted: Sequence[Image], fix: str = PULLED, *, present: frozenset[str] = frozenset()
) -> None:
    """Load images into every node that lacks them; `present` are those that every node is known to have.

    Raises UsageError when the cluster's nodes are not on the engine here.
    """
    cluster = _kind_cluster(lab, fix, f"needed there: {', '.join(image.reference for image in wanted)}")
    if missing := [image for image in wanted if image.reference.partition("@")[0] not in present]:
        _load(lab, [node for node in kind.nodes(cluster) if node.in_kubernetes], missing)


def _load(lab: Lab, nodes: Sequence[Node], images: Sequence[Image], archives: Sequence[Path] = ()) -> tuple[Image, ...]:
    mounts = containers.mounts(nodes, STORE)  # the user's directories in which nodes keep their images
    mounted = {node.name: mounts[node.container].source for node in nodes if node.container in mounts}
    names = [node.name for node in nodes]
    return load.load(lab.tools["kind"], lab.kind_cluster, names, images, archives, mounted=mounted)


def plan_prune(lab: Lab, *, everything: bool) -> tuple[Step, ...]:
    """The removal of our images that neither the lab nor a cluster uses, and of what killed runs left."""
    clusters = {node.cluster for node in kind.nodes()}
    in_use = clusters | lease.holders()  # a cluster that is being made may have no node yet
    images = prune.plan_images(prune.observe(), _current(lab), prune.used(), in_use, everything=everything)
    return (*images, *prune.plan_cache(everything=everything))


def _current(lab: Lab) -> set[str]:
    """The names of the images that the lab uses now."""
    names = {reference for name in lab.images for reference in build.references(name, lab.channel)}
    combination, _ = preload.observe(lab.images, lab.channel, build.observe(lab.images, lab.channel))
    if combination is not None:
        names.add(combination.reference)
    if lab.channel == "source":
        names.add(debian_base.reference())
    return {*names, build.APP, *build.references(build.REGISTRY, lab.channel)}
