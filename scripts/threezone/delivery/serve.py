"""Serve Git in the cluster, and remove the Git server again.

On a kind cluster of ours a node's directory stores the repositories, on any other one a claim. In a new cluster a claim
would cost the start of a provisioner, and of a pod for the volume, before the server's own.
"""

from __future__ import annotations

from collections.abc import Container, Sequence

from threezone.clients import kind
from threezone.clients.docker.containers import execute
from threezone.clients.kind import Node
from threezone.cluster import containers, node_images
from threezone.cluster.lab import WAIT_SECONDS, Lab
from threezone.core.events import note, step
from threezone.core.plan import Step, StepKind
from threezone.delivery import git_backup, git_forward, git_server, handover, sync
from threezone.delivery.preview import cluster, stop
from threezone.images import build

DELETED = f"{git_server.STORE}.gone"


def serve(lab: Lab, repository: str = "", image: str = "") -> tuple[str, ...]:
    """Serve Git in the cluster, with `repository` beside those already served, and wait. Returns all of them."""
    repositories = start(lab, repository, image)
    git_server.wait_ready(lab.api, WAIT_SECONDS)
    git_server.wait_reachable(lab)
    for change in handover.changes(lab, handover.observe(lab.api, sync.target_of(lab)), None):
        note(f"gitops.push is to {change}")
    return repositories


def start(lab: Lab, repository: str = "", image: str = "", present: frozenset[str] = frozenset()) -> tuple[str, ...]:
    """Apply the Git server without waiting for it. Returns the repositories that it serves.

    Loads its image and the sample app's, so that a commit finds it in the node. With `image`, an image of the Git
    server that the cluster pulls itself, nothing is loaded. `present` are images that every node is known to have.
    """
    name = git_server.repository_name(repository or lab.settings.gitops.repository)
    if not image:
        built = build.ensure_all(("git-server", "hello"), lab.channel)
        (git,), (hello,) = built["git-server"], built["hello"]
        node_images.load_missing(lab, (git, node_images.tag_hello(hello)), present=present)
        image = git.reference
    secret = git_server.password(lab.api, lab.key)
    names = (name, *git_backup.repositories(lab.key))
    return git_server.apply(lab.api, image=image, names=names, secret=secret, node=prepare_storage(lab))


def choose_node(nodes: Sequence[Node], mounted: Container[str] = ()) -> str:
    """Return the node for a new Git server's repositories: the first worker, else the first control plane, else "".

    Leaves out nodes that are not ours, and those in `mounted` (container ids): the user mounted something at the path.
    The same nodes give the same choice.
    """
    ours = [node for node in nodes if node.ours and node.in_kubernetes and node.container not in mounted]
    return min(ours, key=lambda node: (node.role != "worker", node.name)).name if ours else ""


def prepare_storage(lab: Lab) -> str:
    """Return the node that stores the repositories, with a directory for a new server; "" for a claim."""
    if deployment := git_server.find_deployment(lab.api):
        return git_server.storage_node(deployment)
    nodes = () if lab.foreign else kind.nodes(lab.name)
    mounts = containers.mounts(nodes, git_server.STORE)
    node = choose_node(nodes, mounts)
    if node:
        owner = str(git_server.UID)
        _run(node, "install", "--directory", "--mode=0700", f"--owner={owner}", f"--group={owner}", git_server.STORE)
    elif mounts:
        sources = ", ".join(sorted({mount.source for mount in mounts.values()}))
        note(f"a claim stores the Git server's repositories: {git_server.STORE} is in a directory of yours ({sources})")
    return node


def plan_remove(lab: Lab) -> tuple[Step, ...]:
    """The step that removes the Git server. It asks: commits in it may exist nowhere else."""
    if not git_server.is_installed(lab.api):
        return ()
    names = ", ".join(git_server.served(lab.api)) or "none"
    sentence = f"remove the Git server of {lab.context} with its repositories ({names}) and what they delivered"
    return (Step(StepKind.REMOVE_GIT, sentence, f"kubectl delete namespace {git_server.NAMESPACE}", asks=True),)


def remove(lab: Lab) -> bool:
    """Remove the Git server, and what Flux applied from it; False when there is none of ours."""
    git_forward.close(lab.context)
    git_server.forget(lab.key)
    if not git_server.is_installed(lab.api):
        return False
    for preview in cluster.observe(lab):
        stop.stop(lab, preview)
    with step("remove the Git server and what it delivered"):
        # The Kustomization first: it prunes what it applied, as long as its source and Flux exist.
        target = sync.target_of(lab)
        for each in handover.observe(lab.api, target):
            if each.target == target or each.url == git_server.url(each.target.name):
                sync.forget(lab.api, each.target, WAIT_SECONDS)
        delete(lab)
    return True


def delete(lab: Lab) -> None:
    """Delete the Git server, and its repositories on a node that this engine runs.

    The repositories are renamed first: if this is interrupted, a later Git server does not find them.
    """
    name = git_server.storage_node(git_server.find_deployment(lab.api))
    nodes = [node for node in kind.nodes(lab.kind_cluster) if node.name == name] if lab.kind_cluster else []
    mounts = containers.mounts(nodes, git_server.STORE)
    for mount in mounts.values():
        note(f"the repositories stay in a directory of yours: {mount.on_host(git_server.STORE)}")
    ours = [node for node in nodes if node.container not in mounts]
    store = git_server.STORE
    for node in ours:
        _run(node.name, "sh", "-c", f"rm -rf {DELETED} && if [ -e {store} ]; then mv {store} {DELETED}; fi")
    git_server.delete(lab.api, WAIT_SECONDS)
    for node in ours:
        _run(node.name, "rm", "-rf", DELETED)


def _run(node: str, *argv: str) -> None:
    execute(node, *argv, timeout=60)
