"""The kind CLI and its nodes. kind writes to a private kubeconfig: only our store writes to the user's."""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

from threezone.clients.docker import containers, images
from threezone.core import labels, names, paths, process
from threezone.core.process import Completed

CREATE_SECONDS = 600.0
EXPORT_SECONDS = 120.0
NODE_IMAGE = "threezone/node"  # the repository of the images that are derived for a cluster
BALANCER = "external-load-balancer"
OLD_PRIVATE = ("create", "delete", "logs")  # in STATE/kind/NAME, by older releases
_FIELDS = (
    "ID", "Names", *map(containers.label, (labels.KIND_CLUSTER, labels.KIND_ROLE, labels.OWNER)),
    "State", "Image", "Ports", "Status", "Networks",
)  # fmt: skip
API_PORT = 6443  # of the API server in a node


@dataclass(frozen=True)
class Node:
    """A container of a kind cluster, as `docker ps` lists it."""

    container: str
    name: str
    cluster: str
    role: str
    state: str
    image: str
    ours: bool
    ports: str = ""  # as `docker ps` lists them; "" while it is stopped
    status: str = ""  # such as "Up 5 seconds"
    networks: tuple[str, ...] = ()

    @property
    def in_kubernetes(self) -> bool:
        """Whether it is a node of Kubernetes; kind's balancer is not."""
        return self.role in ("control-plane", "worker")

    @property
    def just_started(self) -> bool:
        """Whether it has run for less than a minute, by the engine's clock (go-units, HumanDuration)."""
        return self.state == "running" and self.status.startswith("Up ") and "second" in self.status

    @property
    def api(self) -> tuple[containers.Published, ...]:
        """The addresses at which the engine's host listens for its API server."""
        return tuple(port for port in containers.published(self.ports) if port[2:] == (API_PORT, "tcp"))

    @property
    def published(self) -> str:
        """The first address of its API server as ADDRESS:PORT; "" if none is published."""
        hosts = (f"[{port.address}]:{port.port}" if ":" in port.address else f"{port.address}:{port.port}"
                 for port in self.api)  # fmt: skip
        return next(hosts, "")


def nodes(cluster: str | None = None) -> tuple[Node, ...]:
    """The node containers of one cluster, or of all. Raises EngineError when the engine does not answer."""
    rows = containers.ls(
        f"label={labels.KIND_CLUSTER}" + (f"={cluster}" if cluster is not None else ""), fields=_FIELDS
    )
    listed = [
        Node(container, name, group, role, state, image, owner == group and names.is_cluster(group), ports, status,
             tuple(filter(None, networks.split(","))))
        for container, name, group, role, owner, state, image, ports, status, networks in rows
    ]  # fmt: skip
    # Nodes inherit the label of our image, but a balancer has another image. After an interrupted create or delete it
    # may be the only container: then it is ours if we derived an image for its cluster.
    our_clusters = {node.cluster for node in listed if node.ours}
    only_balancer = {node.cluster for node in listed} - {node.cluster for node in listed if node.role != BALANCER}
    our_clusters |= {
        name
        for name in only_balancer
        if names.is_cluster(name) and images.ids(f"label={labels.OWNER}={name}", repository=NODE_IMAGE)
    }
    return tuple(
        sorted(
            (replace(node, ours=node.cluster in our_clusters) for node in listed),
            key=lambda node: (node.cluster, node.role, node.name),
        )
    )


# All that we do uses Docker. A KIND_EXPERIMENTAL_PROVIDER of the shell would have kind look for nodes in Podman.
# Without it, kind takes Docker where Docker is (kind, pkg/cluster/internal/providers).
_ENGINE: Mapping[str, str | None] = {"KIND_EXPERIMENTAL_PROVIDER": None}


def kubeconfig(kind: Path, cluster: str) -> Completed:
    """Run `kind get kubeconfig`. Its output has private keys: never log it."""
    return process.run([kind, "get", "kubeconfig", "--name", cluster], timeout=60, check=False, env=_ENGINE)


@contextmanager
def private(cluster: str, what: str) -> Iterator[Path]:
    """A directory of this run alone for kind's private files, with keys. What killed runs left is removed first.

    Two engines may have clusters of one name, so other runs may be at work here: a run locks its directory, and the
    kernel ends that lock with the run.
    """
    parent = paths.make(paths.cluster_dir(cluster) / "kind")
    _remove_abandoned(parent)
    while True:
        place = Path(tempfile.mkdtemp(prefix=f"{what}-", dir=paths.make(parent)))
        lock = _lock(place, wait=True)
        if place.exists():  # another run may have removed it before it was locked
            break
    try:
        yield place
    finally:
        shutil.rmtree(place, ignore_errors=True)
        if lock is not None:
            os.close(lock)


def _lock(directory: Path, *, wait: bool = False) -> int | None:
    """Lock a directory until the descriptor is closed, or this process ends; None where it cannot be locked."""
    with suppress(OSError):
        descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except OSError:
            os.close(descriptor)
            return None
        return descriptor
    return None


def _remove_abandoned(parent: Path) -> None:
    """Remove the private directories of runs that have ended."""
    for place in parent.iterdir() if parent.is_dir() else ():
        if (lock := _lock(place)) is not None:
            shutil.rmtree(place, ignore_errors=True)
            os.close(lock)
    paths.remove_empty(parent)


def forget(cluster: str) -> None:
    """Remove this cluster's files of killed runs of kind."""
    directory = paths.cluster_dir(cluster)
    _remove_abandoned(directory / "kind")
    for left in (paths.state_dir() / "kind" / cluster / what for what in OLD_PRIVATE):
        shutil.rmtree(left, ignore_errors=True)
    paths.remove_empty(paths.state_dir() / "kind" / cluster)
    paths.remove_empty(directory)


def create(kind: Path, cluster: str, config: str, image: str, say: Callable[[str], None]) -> str:
    """Run `kind create cluster`; after a failure the nodes stay, because of their logs. Returns the kubeconfig."""
    with private(cluster, "create") as directory:
        file = directory / "kind.yaml"
        file.write_text(config, encoding="utf-8")
        kubeconfig = directory / "kubeconfig"
        process.run(
            [kind, "create", "cluster", "--name", cluster, "--config", file, "--image", image, "--retain",
             "--kubeconfig", kubeconfig],
            timeout=CREATE_SECONDS,
            env=_ENGINE,
            on_line=lambda line: say(line.strip(" •.")) if line.lstrip().startswith("•") else None,
        )  # fmt: skip
        return kubeconfig.read_text(encoding="utf-8")


def delete(kind: Path, cluster: str) -> None:
    """Run `kind delete cluster`. With a locked kubeconfig it fails after the nodes are deleted (#3781)."""
    with private(cluster, "delete") as directory:
        process.run(
            [kind, "delete", "cluster", "--name", cluster, "--kubeconfig", directory / "kubeconfig"],
            timeout=180,
            env=_ENGINE,
        )


def export_logs(kind: Path, cluster: str, directory: Path) -> Completed:
    """Run `kind export logs`; it reports missing logs on stderr."""
    directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    argv: list[str | Path] = [kind, "export", "logs", directory, "--name", cluster]
    return process.run(argv, timeout=EXPORT_SECONDS, check=False, env=_ENGINE)


def load(kind: Path, cluster: str, node: str, archives: Sequence[Path]) -> process.Running:
    """Start `kind load image-archive` for one node; use it as a context manager."""
    return process.Running([kind, "load", "image-archive", *archives, "--name", cluster, "--nodes", node], env=_ENGINE)
