"""Images into the nodes, those that a user names and those that the lab needs, and out of the engine."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from threezone.clients import kind
from threezone.clients.docker.images import tag
from threezone.clients.kind import Node
from threezone.cluster import containers
from threezone.cluster.lab import Lab
from threezone.core.errors import ClusterError, UsageError
from threezone.core.plan import Step
from threezone.images import build, debian_base, engine_images, load, preload, prune
from threezone.images.engine_images import Image

STORE = "/var/lib/containerd"  # in a node: where containerd keeps images, unless it is told otherwise
PULLED = (
    "push the image to a registry of that cluster and name it with --image, "
    "or set threezone.gitops.url in invoke.yaml to a repository that the cluster reaches"
)


def chosen(lab: Lab, names: Sequence[str]) -> list[Image]:
    """The images that are meant: the lab's own by their short names, got if need be; any of the engine's by theirs.

    Raises UsageError for what the engine does not have.
    """
    short = [name for name in names if name in build.NAMES or build.is_node(name) or name == build.BALANCER]
    if no := [name for name in short if name not in build.NAMES[1:]]:
        raise UsageError(f"{no[0]} is what nodes are made from; it is not loaded into them", fix="leave it out")
    made = build.ensure_all(short, lab.channel) if short else {}
    images = [
        image for name, group in made.items() for image in (*group, *((lasting(group[0]),) if name == "hello" else ()))
    ]
    given = {name: _tagged(name) for name in names if name not in short}
    found = engine_images.inspect(list(given.values()))
    for name, reference in given.items():
        if reference not in found:
            raise UsageError(
                f"the engine has no image {name}", fix=f"docker pull {name}, or build it, or name an archive: ./app.tar"
            )
    return [*images, *found.values()]


def lasting(hello: Image) -> Image:
    """The sample app under the name that commits have for it: built images are named by their content."""
    tag(hello.reference, build.APP)
    return replace(hello, reference=build.APP)


def _tagged(name: str) -> str:
    """A name as the engine shows it, with its tag. Raises UsageError for a digest, which no node keeps as a name."""
    if "@" in name:
        raise UsageError(
            f"{name}: an image that is named by its digest loses that name in an archive",
            fix=f"docker tag {name} {name.partition('@')[0].partition(':')[0]}:TAG, and load that",
        )
    return name if ":" in name.rpartition("/")[2] else f"{name}:latest"


def into_nodes(lab: Lab, names: Sequence[str], archives: Sequence[Path]) -> tuple[Image, ...]:
    """Load them into every node of the session's cluster that lacks any. Returns what was loaded."""
    cluster = lab.kind_cluster
    if not cluster:
        raise UsageError(
            f"the nodes of {lab.called} are no nodes of kind's on the engine here: they get no image from it",
            fix="push the image to a registry that the cluster pulls from",
        )
    nodes = [node for node in kind.nodes(cluster) if node.in_kubernetes]
    if not nodes:
        raise ClusterError(f"there is no cluster named {cluster}", fix=f"./run invoke cluster.create --name {cluster}")
    if still := [node.name for node in nodes if node.state != "running"]:
        raise ClusterError(f"the node {still[0]} does not run", fix=f"./run invoke up --name {cluster}")
    images = chosen(lab, names)
    names_of = [node.name for node in nodes]
    return load.load(lab.tools["kind"], cluster, names_of, images, archives, mounted=_mounted(nodes))


def load_missing(
    lab: Lab, wanted: Sequence[Image], fix: str = PULLED, *, present: frozenset[str] = frozenset()
) -> None:
    """Put images into every node that lacks them; `present` are those that every node is known to have.

    Raises UsageError where the nodes are not the engine's here.
    """
    cluster = lab.kind_cluster
    if not cluster:
        names = ", ".join(image.reference for image in wanted)
        raise UsageError(
            f"the nodes of {lab.context} are no nodes of kind's on the engine here: they get no image from it",
            evidence=f"needed there: {names}",
            fix=fix,
        )
    if missing := [image for image in wanted if image.reference.partition("@")[0] not in present]:
        nodes = [n for n in kind.nodes(cluster) if n.in_kubernetes]
        load.load(lab.tools["kind"], cluster, [n.name for n in nodes], missing, mounted=_mounted(nodes))


def _mounted(nodes: Sequence[Node]) -> dict[str, str]:
    """The user's directories in which some of the nodes keep their images, by node."""
    mounts = containers.mounts(nodes, STORE)
    return {node.name: mounts[node.container].source for node in nodes if node.container in mounts}


def plan_prune(lab: Lab, *, everything: bool) -> tuple[Step, ...]:
    """What nobody needs: our images that are neither the lab's nor a cluster's, and what killed runs left."""
    clusters = {node.cluster for node in kind.nodes()}
    stale = prune.stale(prune.observe(), _current(lab), prune.used(), clusters, everything=everything)
    return prune.plan(stale, prune.leftovers(everything=everything))


def _current(lab: Lab) -> set[str]:
    """The names of what the lab here uses now."""
    present = build.observe(lab.images, lab.channel)
    names = {reference for name in lab.images for reference in build.references(name, lab.channel)}
    combination, _ = preload.observe(lab.images, lab.channel, present)
    if combination is not None:
        names.add(combination.reference)
    if lab.channel == "source":
        names.add(debian_base.reference())
    return {*names, build.APP, *build.references(build.REGISTRY, lab.channel)}
