"""The tree that a commit moves: what a Kustomization brought, directly or through others, and what is not ready."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from threezone.clients.kubernetes.api import Api, Forbidden, Json
from threezone.clients.kubernetes.watch import World, condition, key_of
from threezone.delivery.revision import short
from threezone.flux import health, objects
from threezone.flux.objects import HELM, KUSTOMIZE, SOURCE, Entry, applied, artifact, attempted, inventory

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


@dataclass(frozen=True)
class Trouble:
    """Why one object of the tree is not ready. `path` is where a Flux object is asked to reconcile, "" for others.

    `final` says that waiting does not heal it.
    """

    what: str
    words: str
    final: bool = False
    path: str = ""

    def __str__(self) -> str:
        return f"{self.what}: {self.words}".replace("\n", " ")


def collection(entry: Entry) -> str:
    """The collection that an object is listed in, "" for a kind that is not looked at."""
    if plural := FLUX.get((entry.group, entry.kind)):
        return f"/apis/{entry.group}/{entry.version}/{plural}"
    is_job = (entry.group, entry.kind) == ("batch", "Job")
    return JOBS.format(namespace=entry.namespace) if is_job else health.collection(entry)


def _entries(root: Json, world: World) -> list[Entry]:
    """What the Kustomization brought, each once, as far as `world` shows; one with a kubeconfig applies elsewhere."""
    queue, entries = [root], dict[Entry, None]()
    while queue:
        for entry in inventory(queue.pop(0)):
            if entry in entries or (entry.kind, entry.key) == ("Kustomization", key_of(root)):
                continue
            entries[entry] = None
            item = world.get(collection(entry), {}).get(entry.key)
            if item and entry.kind == "Kustomization" and "kubeConfig" not in (item.get("spec") or {}):
                queue.append(item)
    return list(entries)


def members(root: Json, world: World) -> list[tuple[Entry, Json | None]]:
    """Each Flux object and workload of the tree that `world` lists; None for a missing one. Pure."""
    listed = [(entry, collection(entry)) for entry in _entries(root, world)]
    return [(entry, world[path].get(entry.key)) for entry, path in listed if path in world]


def paths(root: Json, world: World) -> set[str]:
    """The collections that show the tree, as far as `world` does. Pure."""
    entries = _entries(root, world)
    charts = {CHARTS} if any(entry.kind == "HelmRelease" for entry in entries) else set()
    return {path for entry in entries if (path := collection(entry))} | charts


def gather(api: Api, root: Json, listed: World) -> tuple[World, frozenset[str]]:
    """The tree, listed at once for each of its levels, and the collections that this login may not list."""
    world, forbidden = dict(listed), set[str]()

    def listing(path: str) -> tuple[str, dict[str, Json] | None]:
        try:
            return path, {key_of(item): item for item in (api.get(path) or {}).get("items") or []}
        except Forbidden:
            return path, None

    while asked := paths(root, world) - world.keys() - forbidden:
        with ThreadPoolExecutor(4) as pool:
            for path, items in pool.map(listing, sorted(asked)):
                if items is None:
                    forbidden.add(path)
                else:
                    world[path] = items
    return world, frozenset(forbidden)


def troubles(source: Json, root: Json, world: World, stamp: str = "") -> list[Trouble]:
    """What is not ready below the Kustomization `root`, as far as `world` shows. Pure.

    With the `stamp` of a request, a failure is final only when Flux has answered that request with it.
    """
    listed = members(root, world)
    sources = {
        (entry.kind, entry.namespace, entry.name): item for entry, item in listed if item and entry.group == SOURCE
    }
    meta = source["metadata"]
    sources[_source_kind(root), meta["namespace"], meta["name"]] = source
    unready: list[Trouble] = []
    for entry, item in listed:
        if item is None:
            unready += [Trouble(str(entry), "it does not exist")] if entry.kind != "Job" else []
        elif plural := FLUX.get((entry.group, entry.kind)):
            path = f"/apis/{entry.group}/{entry.version}/namespaces/{entry.namespace}/{plural}/{entry.name}"
            lag = _lag(entry, item, source, sources, world.get(CHARTS, {}))
            unready += _of_flux(item, str(entry), path, lag, stamp)
        else:
            unready += _of_workload(entry, item)
    return sorted(unready, key=lambda trouble: not trouble.final)


def of_root(source: Json, root: Json) -> list[Trouble]:
    """What is not ready of the root's source and of the root itself. Pure."""
    return [
        *_of_flux(source, f"{_source_kind(root)} {key_of(source)}", "", "" if artifact(source) else "it holds nothing"),
        *_of_flux(root, f"Kustomization {key_of(root)}", "", _behind(root, artifact(source))),
    ]


def suspended(source: Json, root: Json, world: World) -> tuple[str, ...]:
    """The suspended Flux objects of the tree, its root and the root's source included. Pure."""
    flux = [(f"{_source_kind(root)} {key_of(source)}", source), (f"Kustomization {key_of(root)}", root)]
    flux += [(str(entry), item) for entry, item in members(root, world) if item and (entry.group, entry.kind) in FLUX]
    return tuple(name for name, item in flux if objects.is_suspended(item))


def _source_kind(root: Json) -> str:
    return str(((root.get("spec") or {}).get("sourceRef") or {}).get("kind") or "GitRepository")


def _lag(
    entry: Entry,
    item: Json,
    source: Json,
    sources: Mapping[tuple[str, str, str], Json],
    charts: Mapping[str, Json],
) -> str:
    """How a Flux object is behind the source of its content; "" when it is not. Pure."""
    spec, status = item.get("spec") or {}, item.get("status") or {}
    if entry.kind == "Kustomization":
        origin = sources.get(_reference(spec.get("sourceRef") or {}, entry.namespace))
        return _behind(item, artifact(origin) if origin else attempted(item))
    if entry.kind == "GitRepository" and all(spec.get(key) == source["spec"].get(key) for key in ("url", "ref")):
        held, wanted = artifact(item), artifact(source)
        return "" if held == wanted else f"it holds {short(held) or 'nothing'}, not {short(wanted)}"
    if entry.kind == "HelmRelease" and (chart := charts.get(str(status.get("helmChart", "")))):
        origin = sources.get(_reference(chart["spec"]["sourceRef"], chart["metadata"]["namespace"]))
        built = (chart.get("status") or {}).get("observedSourceArtifactRevision")
        if origin and built != artifact(origin):
            return f"its chart is not built from {short(artifact(origin))} yet"
        # The digest of an OCI artifact does not count: helm-controller notes the version alone.
        if attempted(item) != artifact(chart):
            return f"it has {attempted(item) or 'nothing'}, not {artifact(chart)}"
    return ""


def _reference(reference: Json, namespace: str) -> tuple[str, str, str]:
    return str(reference.get("kind")), str(reference.get("namespace") or namespace), str(reference.get("name"))


def _behind(kustomization: Json, revision: str) -> str:
    # Both: Ready is written before lastAppliedRevision is, and may be said of the revision in between.
    if revision and attempted(kustomization) == applied(kustomization) == revision:
        return ""
    return f"it is at {short(applied(kustomization)) or 'nothing'}, not at {short(revision) or 'any revision'}"


def _of_flux(item: Json, what: str, path: str, lag: str, stamp: str = "") -> list[Trouble]:
    """What is not ready of one Flux object. Pure."""
    kind = what.partition(" ")[0]
    words = "" if objects.is_static(kind, item) else objects.unready(item) or lag
    if not words:
        return []
    if objects.is_suspended(item):
        return [Trouble(what, f"it is suspended ({words})", final=True)]
    answered = not stamp or objects.handled(item) == stamp
    if condition(item, "Ready").get("status") == "Unknown" and (failed := last_failure(item)):
        words = f"{failed}; Flux tries again ({words})"
    return [Trouble(what, words, answered and (objects.is_stalled(item) or objects.has_failed(kind, item)), path)]


def last_failure(kustomization: Json) -> str:
    """What the last health check or run of a Kustomization failed with, while Flux tries again; "" for none. Pure."""
    healthy, last = condition(kustomization, "Healthy"), objects.latest(kustomization)
    if healthy.get("status") == "False":
        return objects.said(healthy)
    revision = (last.get("metadata") or {}).get("revision", "")
    status = str(last.get("lastReconciledStatus", ""))
    return status if status.endswith("Failed") and revision in ("", attempted(kustomization)) else ""


def _of_workload(entry: Entry, item: Json) -> list[Trouble]:
    """What is not ready of a workload; one that only Flux can judge is left to it. Pure."""
    if entry.kind == "Job":
        failed = condition(item, "Failed")
        return [Trouble(str(entry), objects.said(failed), final=True)] if failed.get("status") == "True" else []
    generation = item["metadata"].get("generation")
    if (item.get("status") or {}).get("observedGeneration", generation) != generation:
        return [Trouble(str(entry), "its latest change is not taken up yet")]
    if entry.kind == "Deployment":
        available = condition(item, "Available")
        words = "" if available.get("status") == "True" else available.get("message") or "not available yet"
    else:
        words = "; ".join(health.rollout_gaps(entry.kind, item))
    return [Trouble(str(entry), words)] if words else []
