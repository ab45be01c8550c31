"""The tree that a commit moves: what the lab's Kustomization brought, directly or through other Flux objects."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

from threezone.clients.kubernetes.api import Api, Forbidden, Json
from threezone.clients.kubernetes.watch import World, key_of
from threezone.flux import health
from threezone.flux.health import APPS
from threezone.flux.objects import HELM, KUSTOMIZE, SOURCE, Entry, inventory

JOBS = "/apis/batch/v1/namespaces/{namespace}/jobs"
CHARTS = f"/apis/{SOURCE}/v1/helmcharts"
FLUX = {
    (KUSTOMIZE, "Kustomization"): "kustomizations",
    (HELM, "HelmRelease"): "helmreleases",
    (SOURCE, "GitRepository"): "gitrepositories",
    (SOURCE, "OCIRepository"): "ocirepositories",
    (SOURCE, "HelmRepository"): "helmrepositories",
    (SOURCE, "HelmChart"): "helmcharts",
    (SOURCE, "Bucket"): "buckets",
}


def members(root: Json, world: World) -> Iterator[tuple[Entry, Json | None]]:
    """Each Flux object and workload that the Kustomization brought, directly or through others; None for a lost one.

    What `world` does not list is left out. Pure.
    """
    queue, done = [root], {("Kustomization", key_of(root))}
    while queue:
        for each in inventory(queue.pop(0)):
            key = f"{each.namespace}/{each.name}"
            path = path_of(each)
            if (each.kind, key) in done or path not in world:
                continue
            done.add((each.kind, key))
            item = world[path].get(key)
            yield each, item
            if item and _is_here(each, item):
                queue.append(item)


def _is_here(what: Entry, item: Json) -> bool:
    """Whether it is a Kustomization that applies to this cluster; one with a kubeconfig applies to another."""
    return what.kind == "Kustomization" and "kubeConfig" not in (item.get("spec") or {})


def path_of(item: Entry) -> str:
    """The collection that an object is listed in, "" for a kind that is not looked at."""
    if plural := FLUX.get((item.group, item.kind)):
        return f"/apis/{item.group}/{item.version}/{plural}"
    if item.group == "apps" and item.kind in health.PLURALS:
        return APPS.format(namespace=item.namespace, plural=health.PLURALS[item.kind])
    return JOBS.format(namespace=item.namespace) if (item.group, item.kind) == ("batch", "Job") else ""


def paths(root: Json, world: World) -> set[str]:
    """The collections that show what the Kustomization brought, as far as `world` tells. Pure."""
    brought = [*inventory(root)]
    for what, item in members(root, world):
        if item and _is_here(what, item):
            brought += inventory(item)
    needed = {path_of(each) for each in brought} - {""}
    return needed | ({CHARTS} if any(each.kind == "HelmRelease" for each in brought) else set())


def gather(api: Api, root: Json, known: World) -> tuple[World, frozenset[str]]:
    """What the Kustomization brought, listed at once for each level of the tree, and what this login may not list."""
    world, forbidden = dict(known), set[str]()

    def listed(path: str) -> tuple[str, dict[str, Json] | None]:
        try:
            return path, {key_of(item): item for item in (api.get(path) or {}).get("items") or []}
        except Forbidden:
            return path, None

    while asked := paths(root, world) - world.keys() - forbidden:
        with ThreadPoolExecutor(4) as pool:
            for path, items in pool.map(listed, sorted(asked)):
                if items is None:
                    forbidden.add(path)
                else:
                    world[path] = items
    return world, frozenset(forbidden)


def object_path(item: Entry) -> str:
    """The API path of a Flux object of the tree."""
    plural = FLUX[item.group, item.kind]
    return f"/apis/{item.group}/{item.version}/namespaces/{item.namespace}/{plural}/{item.name}"
