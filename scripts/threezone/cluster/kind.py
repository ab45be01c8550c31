"""The kind CLI and its labels. kind is always given a private kubeconfig: only our store touches the user's."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from threezone.clients.node import Node
from threezone.cluster import admin_kubeconfig
from threezone.core import labels, names, paths, process
from threezone.core.errors import ClusterError, CommandFailed
from threezone.engine.find import explain

SHOWN = (labels.KIND_CLUSTER, labels.KIND_ROLE, labels.OWNER)
FIELDS = 10  # of a container, as they are asked for in `nodes`
MARK = "/kind/threezone-created"  # in the node: written last, so that an interrupted create has none
IMAGES = "/kind/threezone-images"  # in the node: the names of the images that it came with
_MARK = (
    f"[ -e {IMAGES} ] || ctr --namespace k8s.io images list --quiet >{IMAGES}; cat >{MARK}.new && mv {MARK}.new {MARK}"
)
_MARK_AGAIN = f"[ -e {MARK} ] || mv {MARK}.was {MARK} 2>/dev/null || touch {MARK}"
# Of a file, or of a container that has gone meanwhile (moby, container/archive; docker/cli, docker cp).
_ABSENT = re.compile("could not find the file|could not be found|no such container", re.IGNORECASE)

CREATE_SECONDS = 600.0
EXPORT_SECONDS = 120.0
BALANCER = "external-load-balancer"
OLD_PRIVATE = ("create", "delete", "logs")  # in STATE/kind/NAME, by older releases


def nodes(cluster: str | None = None) -> tuple[Node, ...]:
    """The node containers of one cluster, or of all. Raises EngineError when the engine does not answer."""
    label = labels.KIND_CLUSTER + (f"={cluster}" if cluster is not None else "")
    shown = "\t".join(
        ("{{.ID}}", "{{.Names}}", *(f'{{{{.Label "{name}"}}}}' for name in SHOWN),
         "{{.State}}", "{{.Image}}", "{{.Ports}}", "{{.Status}}", "{{.Networks}}")
    )  # fmt: skip
    argv = ["docker", "ps", "--all", "--no-trunc", "--filter", f"label={label}", "--format", shown]
    seen = process.run(argv, timeout=30, check=False)
    if seen.exit_code != 0:
        raise explain(seen.stderr.strip())
    found = []
    for fields in (line.split("\t") for line in seen.stdout.splitlines()):
        if len(fields) != FIELDS:  # somebody's label has a tab or a line break in it
            continue
        container, name, of, role, owner, state, image, published, status, networks = fields
        ours = owner == of and names.is_cluster(of)
        found.append(Node(container, name, of, role, state, image, ours, published, status, networks))
    # An image's label is the same in all of its containers, but a balancer is not made from our image. Of a create or a
    # delete that was cut off it may be all that is left: it is ours where we had derived the image for its nodes.
    owned = {node.cluster for node in found if node.ours}
    alone = {node.cluster for node in found} - {node.cluster for node in found if node.role != BALANCER}
    owned |= {name for name in alone if names.is_cluster(name) and _is_derived_for(name)}
    return tuple(
        sorted(
            (Node(**{**node.__dict__, "ours": node.cluster in owned}) for node in found),
            key=lambda node: (node.cluster, node.role, node.name),
        )
    )


def _is_derived_for(cluster: str) -> bool:
    """Whether the engine has the node image that `cluster.create` derives for a cluster."""
    argv = ["docker", "image", "ls", "--quiet", "--filter", f"label={labels.OWNER}={cluster}", "threezone/node"]
    return bool(process.run(argv, timeout=30, check=False).stdout.strip())


def kubeconfig(cluster: str, kind: str | Path | None = None) -> str:
    """The kubeconfig that kind has for a cluster, as text with private keys: never log it."""
    seen = process.run([kind or _kind(), "get", "kubeconfig", "--name", cluster], timeout=60, check=False)
    if seen.exit_code != 0 and (other := admin_kubeconfig.kubeconfig(nodes(cluster))):
        return other
    if seen.exit_code != 0:
        raise ClusterError(
            f"kind has no kubeconfig for the cluster {cluster}",
            evidence=seen.stderr.strip(),
            fix=f"./run invoke cluster.create --name {cluster}",
        )
    return seen.stdout


def _kind() -> Path:
    from threezone.toolchain.install import find

    tool = find("kind")
    if tool is None:
        raise ClusterError("kind is not installed", fix="./run invoke tools.install")
    return tool.path


@contextmanager
def private(cluster: str, what: str) -> Iterator[Path]:
    """A directory for kind's private files, with keys. What a killed run left there goes first, and by `forget`."""
    place = paths.cluster_dir(cluster) / "kind" / what
    shutil.rmtree(place, ignore_errors=True)
    paths.make(place)
    try:
        yield place
    finally:
        shutil.rmtree(place, ignore_errors=True)


def forget(cluster: str) -> None:
    """Remove what killed runs of kind left of this cluster on this machine."""
    directory = paths.cluster_dir(cluster)
    for left in (directory / "kind", *(paths.state_dir() / "kind" / cluster / what for what in OLD_PRIVATE)):
        shutil.rmtree(left, ignore_errors=True)
    paths.remove_empty(paths.state_dir() / "kind" / cluster)
    paths.remove_empty(directory)


def create(kind: Path, cluster: str, config: str, image: str, say: Callable[[str], None]) -> str:
    """Run `kind create cluster`, keeping its nodes on failure (for their logs). Returns the kubeconfig it wrote."""
    with private(cluster, "create") as place:
        file = place / "kind.yaml"
        file.write_text(config, encoding="utf-8")
        kubeconfig = place / "kubeconfig"
        process.run(
            [kind, "create", "cluster", "--name", cluster, "--config", file, "--image", image, "--retain",
             "--kubeconfig", kubeconfig],
            timeout=CREATE_SECONDS,
            on_line=lambda line: say(line.strip(" •.")) if line.lstrip().startswith("•") else None,
        )  # fmt: skip
        return kubeconfig.read_text(encoding="utf-8")


def delete(kind: Path, cluster: str) -> None:
    """Run `kind delete cluster`. It exits non-zero when the kubeconfig is locked, after the nodes are gone (#3781)."""
    with private(cluster, "delete") as place:
        process.run([kind, "delete", "cluster", "--name", cluster, "--kubeconfig", place / "kubeconfig"], timeout=180)


def export_logs(kind: Path, cluster: str, directory: Path) -> process.Completed:
    """Run `kind export logs`; what it cannot get it leaves out, and says so on stderr."""
    directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    return process.run([kind, "export", "logs", directory, "--name", cluster], timeout=EXPORT_SECONDS, check=False)


def is_marked(node: Node) -> bool:
    """Whether `cluster.create` finished on this node (works on stopped containers too).

    Raises EngineError where the engine does not say: what counts as interrupted is deleted by the next create.
    """
    seen = process.run(["docker", "cp", f"{node.container}:{MARK}", "-"], timeout=30, check=False)
    if seen.exit_code != 0 and not _ABSENT.search(seen.stderr):
        raise explain(seen.stderr.strip())
    return seen.exit_code == 0


def unmark(node: Node) -> None:
    """Take the mark away again: what is left of the cluster from now on counts as interrupted, and `up` removes it."""
    script = f"[ ! -e {MARK} ] || mv --force {MARK} {MARK}.was"  # a run that was killed after this has taken it already
    process.run(["docker", "exec", node.container, "sh", "-c", script], timeout=30)


def mark(node: Node, record: str = "") -> None:
    """Note in the node itself that its cluster was created to the end, and from what; without it an earlier one stays.

    The first one comes with the names of the images that the node has: what is loaded later is the user's.
    """
    script = _MARK if record else _MARK_AGAIN
    try:
        process.run(["docker", "exec", "--interactive", node.container, "sh", "-c", script], stdin=record, timeout=30)
    except CommandFailed as error:
        raise ClusterError(f"the node {node.name} does not run", evidence=error.tail) from None
