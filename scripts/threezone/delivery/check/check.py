"""Check what a commit will do: render it as Flux does, and look for what cannot work."""

from __future__ import annotations

from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass, replace

from threezone.clients import kind as kind_client
from threezone.clients.kubernetes.api import Json
from threezone.cluster.lab import Lab
from threezone.core.errors import ClusterError, ThreezoneError
from threezone.core.events import note, step
from threezone.delivery import git_server, sync
from threezone.delivery.check import content, fields, images, order, schemas
from threezone.delivery.check.cluster import Cluster
from threezone.delivery.check.fields import Found
from threezone.delivery.check.findings import Report, ordered
from threezone.delivery.check.masks import hide
from threezone.delivery.check.model import Group, Id, Rendering, id_of, meta, staying
from threezone.delivery.check.order import order_of
from threezone.delivery.check.place import Places
from threezone.delivery.check.render import render
from threezone.delivery.check.schemas import Kept
from threezone.delivery.check.source import Tree, tree
from threezone.delivery.check.variables import Unknown
from threezone.delivery.secrets import age_key
from threezone.flux.components import NAMESPACE
from threezone.flux.objects import SOURCE
from threezone.images import load

NO_LAB = "what exists in the cluster, and whether its API server takes the objects: no lab answers"
NO_SCHEMAS = "fields: no lab answers, and none has left its schemas in the cache"


@dataclass(frozen=True)
class Place:
    """What a check works on: the lab, and its cluster if that answers."""

    lab: Lab
    cluster: Cluster | None

    def live(self, wanted: Id) -> Json | None:
        """An object of the cluster, None for a missing one. Raises Unknown without a cluster."""
        if self.cluster is None:
            raise Unknown
        return self.cluster.live(wanted)

    def serves(self, version: str, kind: str) -> bool | None:
        """Whether the cluster serves a kind; None where nobody knows. Flux may not be installed yet."""
        served = self.cluster.serves(version, kind) if self.cluster else Kept().serves(version, kind)
        return served or (None if version.split("/", maxsplit=1)[0].endswith(".fluxcd.io") else served)

    def has(self, namespace: str) -> bool | None:
        """Whether a namespace exists; None without a cluster."""
        return namespace == NAMESPACE or (self.cluster.has(namespace) if self.cluster else None)


def connect(lab: Lab) -> Place:
    """The lab with its cluster, if that answers."""
    with suppress(ClusterError):
        cluster = Cluster(lab.api)
        _ = cluster.namespaces
        return Place(lab, cluster)
    return Place(lab, None)


def root_of(place: Place, path: str) -> Json:
    """The Kustomization that a push declares; what others have set on the live one stays, such as its decryption."""
    target = sync.target_of(place.lab)
    root = sync.manifest(target, path, decryption=age_key.name(place.lab))
    live = (place.cluster.api.get(target.paths[1]) if place.cluster else None) or {}
    spec = {**(live.get("spec") or {}), **root["spec"]}
    spec["decryption"] = {**((live.get("spec") or {}).get("decryption") or {}), **root["spec"]["decryption"]}
    if not ("secretRef" in spec["decryption"] or "serviceAccountName" in spec["decryption"]):
        del spec["decryption"]  # Flux would have no key
    return {**root, "spec": spec}


def rendered(place: Place, files: Tree, *, strict: bool = True) -> Rendering:
    """What Flux would apply from these files."""
    gitops = place.lab.settings.gitops
    url = gitops.url or git_server.url(gitops.repository)

    def is_ours(item: Json) -> bool:
        spec = item.get("spec") or {}
        same = spec.get("url") == url and (spec.get("ref") or {}).get("branch", gitops.branch) == gitops.branch
        return same and id_of(item)[:2] == (SOURCE, "GitRepository")

    root = root_of(place, files.path)
    return render(place.lab.tools["flux"], files, root, is_ours=is_ours, lookup=place.live, strict=strict)


def check(lab: Lab, revision: str = "", *, keep_schemas: bool = True, coming: Collection[str] = frozenset()) -> Report:
    """Check a revision, or the working tree. Raises UsageError for a revision that is not known.

    With `keep_schemas`, those that the lab serves are kept for checks without it. The images `coming` are being loaded
    into the nodes.
    """
    place = connect(lab)
    with tree(lab.root, lab.settings.gitops.path, revision) as files:
        rendering = rendered(place, files)
        with step("look for what cannot work"):
            report = _report(place, files, rendering, coming)
    if place.cluster and keep_schemas:
        with suppress(ThreezoneError):  # the next check tries again
            schemas.save(place.cluster.api)
    return report


def require(lab: Lab, *, coming: Collection[str] = frozenset()) -> None:
    """Check HEAD before a push, and note what is found. Raises DeliveryError for a commit that cannot work."""
    report = check(lab, "HEAD", keep_schemas=False, coming=coming)
    if report.findings:
        note(report.text())
    report.require("./run invoke gitops.check shows all of it; --no-check pushes all the same")


def _report(place: Place, files: Tree, rendering: Rendering, coming: Collection[str]) -> Report:
    graph = order_of(rendering)

    def live(wanted: Id) -> Json | None:
        return staying(place.live(wanted), graph.groups)

    plain = [
        *rendering.findings,
        *content.duplicates(rendering),
        *content.secrets(rendering),
        *content.sources(rendering, live),
        *content.charts(rendering, files),
        *order.dependencies(graph, live),
        *order.needs(rendering, graph, place.serves, place.has),
    ]
    found, unchecked = _fields(place, rendering)
    found += _images(place, rendering, coming)
    places = Places(files.root)
    secrets = rendering.secrets
    located = [*(places.located(finding) for finding in plain), *(places.located(*each) for each in found)]
    notes = [*rendering.unchecked, *content.not_rendered(rendering), *unchecked, *_of_lab(place, rendering)]
    return Report(
        files.label,
        len(rendering.groups),
        sum(len(group.objects) for group in rendering.groups),
        ordered(replace(each, message=hide(each.message, secrets)) for each in located),
        tuple(dict.fromkeys(notes)),
    )


def _fields(place: Place, rendering: Rendering) -> tuple[list[Found], list[str]]:
    kept = Kept()
    if place.cluster:
        groups: list[Group] = []
        items: list[Json] = []
        for group, item in fields.applied(rendering):
            groups.append(group)
            items.append(item)
        brought = fields.brought_schemas(rendering)
        return fields.of_answers(groups, place.cluster.dry_runs(items), brought, kept)
    if not kept.index:
        return [], [NO_LAB, NO_SCHEMAS]
    found = list(fields.without_lab(rendering, kept))
    return [each for each in found if not isinstance(each, str)], [
        NO_LAB,
        *(each for each in found if isinstance(each, str)),
    ]


def _images(place: Place, rendering: Rendering, coming: Collection[str]) -> list[Found]:
    """The findings about images; without a cluster nobody knows what the nodes have."""
    cluster = place.cluster
    if cluster is None:
        return []
    mirrors = place.lab.settings.registry.mirrors
    wanted = [use for use in images.uses(rendering) if not images.is_of_lab(use.image, mirrors)]
    near = bool(place.lab.kind_cluster)
    names = {use.image for use in wanted}.difference(coming)
    held = {*coming, *(_stored(place, cluster, names) if names else ())}
    return list(images.findings(wanted, held, lambda image: images.served(image, near=near)))


def _stored(place: Place, cluster: Cluster, wanted: Collection[str]) -> Collection[str]:
    """The images that the nodes report; if that is not enough, those that kind's nodes here really have.

    A node reports at most 50 images, and late.
    """
    nodes = (cluster.api.get("/api/v1/nodes") or {}).get("items") or []
    reported = {name for node in nodes for image in node["status"].get("images") or [] for name in image["names"]}
    with suppress(ThreezoneError):
        if place.lab.kind_cluster and not reported.issuperset(wanted):
            for node in kind_client.nodes(place.lab.kind_cluster):
                if node.name in {str(meta(each)["name"]) for each in nodes}:
                    reported |= load.stored(node.name).keys()
    return reported


def _of_lab(place: Place, rendering: Rendering) -> list[str]:
    mirrors = place.lab.settings.registry.mirrors
    names = {use.image for use in images.uses(rendering) if images.is_of_lab(use.image, mirrors)}
    if place.cluster is None:
        return ["images: no lab answers"] if images.uses(rendering) else []
    return [f"the image {name}: the registry of the lab is not asked" for name in sorted(names)]
