"""What goes with a cluster: volumes, images, commits that are nowhere else, objects that no commit brings back."""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
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
from threezone.flux import components
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
# What comes with kubeadm, kind's node images and ours, and comes back with the next cluster.
SYSTEM = {
    "kube-system/coredns",
    "kube-system/kube-proxy",
    "kube-system/kindnet",
    "kube-system/pod-network",
    "local-path-storage/local-path-provisioner",
}
OWN_IMAGES = ("docker.io/threezone/", "ghcr.io/fluxcd/")  # `up` brings them by itself
OF_HELM = "helm.toolkit.fluxcd.io/name"
MADE_BY_FLUX = {"HelmChart", "ExternalArtifact"}
SHOWN = 6  # names in one sentence
_IMAGES = f"cat {IMAGES} 2>/dev/null; echo ---; ctr --namespace k8s.io images list --quiet"


@dataclass(frozen=True)
class Branch:
    """A branch or tag of a repository in the Git server, with the commits that the user's checkout does not have.

    `commits` is None where they cannot be counted.
    """

    repository: str
    ref: str
    commits: int | None

    @property
    def sentence(self) -> str:
        """For a person: `lab main: 3 commits`."""
        name = self.ref.removeprefix("refs/heads/").removeprefix("refs/")
        if self.commits is None:
            return f"{self.repository} {name}: commits that cannot be counted"
        return f"{self.repository} {name}: {self.commits} commit{'' if self.commits == 1 else 's'}"


@dataclass(frozen=True)
class Losses:
    """What would be lost with the cluster, and the Git server's `repositories`, which are backed up."""

    volumes: tuple[str, ...] = ()
    images: tuple[str, ...] = ()
    objects: tuple[tuple[str, int], ...] = ()
    repositories: tuple[str, ...] = ()
    commits: tuple[Branch, ...] = ()

    @property
    def actions(self) -> tuple[Step, ...]:
        """The losses as lines of a plan, each of which asks."""
        found = []
        if self.volumes:
            found.append(f"lose {_count(len(self.volumes), 'volume')}: {_some(self.volumes)}")
        if self.images:
            found.append(
                f"lose {_count(len(self.images), 'image')} that the node image does not have: {_some(self.images)}"
            )
        if self.objects:
            kinds = ", ".join(_count(number, name) for name, number in self.objects)
            found.append(f"lose what Flux does not deliver: {kinds}")
        return tuple(Step(StepKind.NOTE, sentence, asks=True) for sentence in found)

    @property
    def backup(self) -> tuple[Step, ...]:
        """The step that backs up the Git server's repositories."""
        if not self.repositories:
            return ()
        only = f"; only there: {_some([branch.sentence for branch in self.commits])}" if self.commits else ""
        named = ", ".join(self.repositories)
        return (
            Step(StepKind.BACK_UP_GIT, f"keep what the Git server holds ({named}{only}), to be put back afterwards"),
        )


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def _some(names: Sequence[str]) -> str:
    rest = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + rest


def look(lab: Lab) -> Losses:
    """Look at everything at once; changes nothing.

    Raises ClusterError when the API server or the Git server does not answer: then nothing may be thrown away unseen.
    """
    try:
        _ = lab.api, lab.tools  # made here, used in threads
        with ThreadPoolExecutor(2) as pool:
            commits = pool.submit(_commits, lab)
            images = pool.submit(_images, lab.name)
            held, objects = _objects(lab.api)
            repositories, branches = commits.result()
            own = f"{git_server.NAMESPACE}/{git_server.NAME}" if repositories else ""
            return Losses(volumes(held, own), images.result(), objects, repositories, branches)
    except ThreezoneError as error:
        raise ClusterError(
            f"what would be lost with the cluster {lab.name} cannot be seen, so it is left alone: {error}",
            evidence=error.evidence,
            fix="./run invoke up brings it back to health; ./run invoke down gives it up with everything in it",
        ) from None


def volumes(claims: Iterable[Json], own: str) -> tuple[str, ...]:
    """The volume claims with their sizes, without `own`, whose content is backed up. Pure."""
    found = []
    for claim in claims:
        name = f"{claim['metadata']['namespace']}/{claim['metadata']['name']}"
        size = ((claim.get("status") or {}).get("capacity") or claim["spec"]["resources"]["requests"]).get(
            "storage", "?"
        )
        if name != own:
            found.append(f"{name} ({size})")
    return tuple(sorted(found))


def _objects(api: Api) -> tuple[list[Json], tuple[tuple[str, int], ...]]:
    claims = (api.get(CLAIMS) or {}).get("items") or []
    listed: dict[str, list[Json]] = {name: (api.get(path) or {}).get("items") or [] for name, path in WORKLOADS.items()}
    for each in (found for found in flux_objects.discover(api) if found.kind not in MADE_BY_FLUX):
        listed[each.kind] = (api.get(each.path) or {}).get("items") or []
    return claims, undelivered(listed)


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
            if key not in delivered and not _comes_back(metadata):
                counted[name] += 1
    return tuple(sorted(counted.items()))


def _comes_back(metadata: Mapping[str, Any]) -> bool:
    namespace, labels = metadata["namespace"], metadata.get("labels") or {}
    return bool(
        metadata.get("ownerReferences")  # a static pod belongs to its node
        or OF_HELM in labels
        or namespace == git_server.NAMESPACE
        or (namespace == components.NAMESPACE and labels.get(components.PART) == "flux")
        or f"{namespace}/{metadata['name']}" in SYSTEM
        or flux_objects.declared_by_us(metadata)
    )


def _images(cluster: str) -> tuple[str, ...]:
    nodes = [n.name for n in kind.nodes(cluster) if n.state == "running" and n.in_kubernetes]

    def ask(node: str) -> str:
        return execute(node, "sh", "-c", _IMAGES, timeout=60).stdout

    with ThreadPoolExecutor(max(1, len(nodes))) as pool:
        return loaded(list(pool.map(ask, nodes)))


def loaded(answers: Sequence[str]) -> tuple[str, ...]:
    """The images that came into nodes later, by what each node has written down and what it has now. Pure.

    Only the control planes have it written down, and all nodes come from one image.
    """
    parts = [answer.partition("---\n")[::2] for answer in answers]
    before = {name for came, _ in parts for name in came.split()}
    now = {name for _, held in parts for name in held.split()}
    tagged = {name for name in now - before if "@sha256:" not in name and not name.startswith("sha256:")}
    names = {name.rpartition(":")[0] for name in tagged}
    by_digest = {name for name in now - before if "@sha256:" in name and name.partition("@")[0] not in names}
    return tuple(sorted(name for name in tagged | by_digest if not name.startswith((*OWN_IMAGES, "import-"))))


def _commits(lab: Lab) -> tuple[tuple[str, ...], tuple[Branch, ...]]:
    repositories = git_server.served(lab.api)
    if not repositories:
        return (), ()
    with tempfile.TemporaryDirectory(prefix="threezone-") as place:
        held = git_backup.fetch(lab, repositories, Path(place))
        branches = tuple(
            Branch(name, ref, number)
            for name, refs in held.items()
            for ref, number in unknown(Path(place, f"{name}.git"), refs, lab.root).items()
            if number != 0
        )
    return repositories, branches


def unknown(repository: Path, refs: Mapping[str, str], checkout: Path) -> dict[str, int | None]:
    """How many commits of each ref the user's `checkout` does not have; None where that cannot be counted."""
    own = Own(repository)
    known = Checkout(checkout).tips() if own.lend(checkout) else []
    return {ref: own.count(sha, known) for ref, sha in refs.items()}
