"""What would be lost with a cluster: volumes, images, commits that are only there, objects that no commit restores."""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from threezone.clients import kind
from threezone.clients.docker.containers import execute
from threezone.clients.git.checkout import Checkout
from threezone.clients.git.own import Own
from threezone.clients.kubernetes.api import Api, Json
from threezone.cluster.lab import Lab
from threezone.cluster.marks import IMAGES
from threezone.core.errors import ClusterError, ThreezoneError
from threezone.core.plan import Step, StepKind
from threezone.delivery import git_backup, git_server
from threezone.flux import components, manifests
from threezone.flux import objects as flux_objects

CLAIMS = "/api/v1/persistentvolumeclaims"
WORKLOADS = {
    "Deployment": "/apis/apps/v1/deployments",
    "StatefulSet": "/apis/apps/v1/statefulsets",
    "DaemonSet": "/apis/apps/v1/daemonsets",
    "CronJob": "/apis/batch/v1/cronjobs",
    "Job": "/apis/batch/v1/jobs",
    "Pod": "/api/v1/pods",
}
# What kubeadm, kind's node images and ours bring, in the next cluster again.
SYSTEM = {
    "kube-system/coredns",
    "kube-system/kube-proxy",
    "kube-system/kindnet",
    "kube-system/pod-network",
    "local-path-storage/local-path-provisioner",
}
OWN_IMAGES = ("docker.io/threezone/", "ghcr.io/fluxcd/")  # `up` brings them by itself
OF_HELM = "helm.toolkit.fluxcd.io/name"
CREATED_BY_FLUX = {"HelmChart", "ExternalArtifact"}
SHOWN = 6  # names in one sentence
_IMAGES = f"cat {IMAGES} 2>/dev/null; echo ---; ctr --namespace k8s.io images list --quiet"


@dataclass(frozen=True)
class Branch:
    """A branch or tag of a repository in the Git server, with the number of commits that the checkout does not have.

    `commits` is None where they cannot be counted.
    """

    repository: str
    ref: str
    commits: int | None

    @property
    def sentence(self) -> str:
        """For a person: `lab main: 3 commits`."""
        name = self.ref.removeprefix("refs/heads/").removeprefix("refs/")
        commits = "commits that cannot be counted" if self.commits is None else _count(self.commits, "commit")
        return f"{self.repository} {name}: {commits}"


@dataclass(frozen=True)
class DataLoss:
    """What would be lost with the cluster, and the Git server's `repositories`, which are backed up and restored."""

    volumes: tuple[str, ...] = ()
    images: tuple[str, ...] = ()
    objects: tuple[tuple[str, int], ...] = ()
    repositories: tuple[str, ...] = ()
    commits: tuple[Branch, ...] = ()

    @property
    def steps(self) -> tuple[Step, ...]:
        """The losses as lines of a plan, each of which asks."""
        lines = []
        if self.volumes:
            lines.append(f"lose {_count(len(self.volumes), 'volume')}: {_listed(self.volumes)}")
        if self.images:
            images = _count(len(self.images), "image")
            lines.append(f"lose {images} that the node image does not have: {_listed(self.images)}")
        if self.objects:
            kinds = ", ".join(_count(number, name) for name, number in self.objects)
            lines.append(f"lose what Flux does not deliver: {kinds}")
        return tuple(Step(StepKind.NOTE, line, asks=True) for line in lines)

    @property
    def backup_steps(self) -> tuple[Step, ...]:
        """The backup of the Git server as a line of a plan."""
        if not self.repositories:
            return ()
        only = f"; only there: {_listed([branch.sentence for branch in self.commits])}" if self.commits else ""
        sentence = f"keep what the Git server holds ({', '.join(self.repositories)}{only}), to be put back afterwards"
        return (Step(StepKind.BACK_UP_GIT, sentence),)

    @property
    def data(self) -> dict[str, Any]:
        """The same for programs; its keys are an interface."""
        commits = [asdict(branch) for branch in self.commits]
        return {
            "volumes": list(self.volumes),
            "images": list(self.images),
            "objects": dict(self.objects),
            "rescued": {"repositories": list(self.repositories), "commits": commits},
        }


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more


def observe(lab: Lab) -> DataLoss:
    """Read everything at once; changes nothing.

    Raises ClusterError when the API server or the Git server does not answer: nothing is deleted unread.
    """
    try:
        _ = lab.api, lab.tools  # created here, used in threads
        with ThreadPoolExecutor(2) as pool:
            commits = pool.submit(_commits, lab)
            images = pool.submit(_images, lab.name)
            claims, objects = _objects(lab.api)
            repositories, branches = commits.result()
            own = f"{git_server.NAMESPACE}/{git_server.NAME}" if repositories else ""
            return DataLoss(volumes(claims, own), images.result(), objects, repositories, branches)
    except ThreezoneError as error:
        raise ClusterError(
            f"cannot read what would be lost with the cluster {lab.name}, so it is not deleted: {error}",
            evidence=error.evidence,
            fix="./run invoke up repairs it; ./run invoke down deletes it with everything in it",
        ) from None


def volumes(claims: Iterable[Json], own: str) -> tuple[str, ...]:
    """The volume claims with their sizes, without `own`, whose content is backed up. Pure."""
    sizes = {}
    for claim in claims:
        resources = (claim.get("status") or {}).get("capacity") or claim["spec"]["resources"]["requests"]
        sizes[f"{claim['metadata']['namespace']}/{claim['metadata']['name']}"] = resources.get("storage", "?")
    return tuple(sorted(f"{name} ({size})" for name, size in sizes.items() if name != own))


def _objects(api: Api) -> tuple[list[Json], tuple[tuple[str, int], ...]]:
    def items(path: str) -> list[Json]:
        return (api.get(path) or {}).get("items") or []

    listed = {name: items(path) for name, path in WORKLOADS.items()}
    listed |= {kind.kind: items(kind.path) for kind in flux_objects.discover(api) if kind.kind not in CREATED_BY_FLUX}
    return items(CLAIMS), undelivered(listed)


def undelivered(listed: Mapping[str, Sequence[Json]]) -> tuple[tuple[str, int], ...]:
    """How many objects of each kind neither Flux nor a controller made, and `up` does not make. Pure.

    `listed` has the objects of every kind that counts; Flux's Kustomizations among them name what they delivered.
    """
    delivered = {
        (entry["id"].split("_")[0], entry["id"].split("_")[1], entry["id"].rsplit("_", 1)[-1])
        for each in listed.get("Kustomization", ())
        for entry in ((each.get("status") or {}).get("inventory") or {}).get("entries") or ()
        if entry["id"].count("_") >= 3  # noqa: PLR2004 - namespace_name_group_kind (fluxcd/cli-utils, object metadata)
    }
    counted: Counter[str] = Counter()
    for name, items in listed.items():
        for item in items:
            metadata = item["metadata"]
            key = (metadata["namespace"], metadata["name"], name)
            if key not in delivered and not _is_restored_by_up(metadata):
                counted[name] += 1
    return tuple(sorted(counted.items()))


def _is_restored_by_up(metadata: Mapping[str, Any]) -> bool:
    namespace, labels = metadata["namespace"], metadata.get("labels") or {}
    return bool(
        metadata.get("ownerReferences")  # a static pod belongs to its node
        or OF_HELM in labels
        or namespace == git_server.NAMESPACE
        or (namespace == components.NAMESPACE and labels.get(manifests.PART) == "flux")
        or f"{namespace}/{metadata['name']}" in SYSTEM
        or flux_objects.declared_by_us(metadata)
    )


def _images(cluster: str) -> tuple[str, ...]:
    nodes = [n.name for n in kind.nodes(cluster) if n.state == "running" and n.in_kubernetes]

    def ask(node: str) -> str:
        return execute(node, "sh", "-c", _IMAGES, timeout=60).stdout

    with ThreadPoolExecutor(max(1, len(nodes))) as pool:
        return loaded_later(list(pool.map(ask, nodes)))


def loaded_later(answers: Sequence[str]) -> tuple[str, ...]:
    """The images that were loaded after the nodes' creation, from each node's record and its present images. Pure.

    Only control planes have the record; all nodes come from one image.
    """
    parts = [answer.partition("---\n")[::2] for answer in answers]
    before = {name for recorded, _ in parts for name in recorded.split()}
    now = {name for _, present in parts for name in present.split()}
    tagged = {name for name in now - before if "@sha256:" not in name and not name.startswith("sha256:")}
    names = {name.rpartition(":")[0] for name in tagged}
    by_digest = {name for name in now - before if "@sha256:" in name and name.partition("@")[0] not in names}
    return tuple(sorted(name for name in tagged | by_digest if not name.startswith((*OWN_IMAGES, "import-"))))


def _commits(lab: Lab) -> tuple[tuple[str, ...], tuple[Branch, ...]]:
    repositories = git_server.served(lab.api)
    if not repositories:
        return (), ()
    with tempfile.TemporaryDirectory(prefix="threezone-") as directory:
        fetched = git_backup.fetch(lab, repositories, Path(directory))
        branches = tuple(
            Branch(name, ref, number)
            for name, refs in fetched.items()
            for ref, number in unknown_commits(Path(directory, f"{name}.git"), refs, lab.root).items()
            if number != 0
        )
    return repositories, branches


def unknown_commits(repository: Path, refs: Mapping[str, str], checkout: Path) -> dict[str, int | None]:
    """How many commits of each ref the user's `checkout` does not have; None where that cannot be counted."""
    own = Own(repository)
    known = Checkout(checkout).tips() if own.borrow_objects(checkout) else []
    return {ref: own.count(sha, known) for ref, sha in refs.items()}
