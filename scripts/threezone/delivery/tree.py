"""The tree that a commit moves: what a Kustomization brought, directly or through others, and what is not ready."""

from __future__ import annotations

import re
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from threezone.clients.kubernetes.api import Api, Forbidden, Json
from threezone.clients.kubernetes.watch import World, condition, key_of
from threezone.delivery.revision import matches, short
from threezone.flux import health, objects
from threezone.flux.objects import HELM, KUSTOMIZE, SOURCE, Entry, applied, artifact, attempted, inventory

SUSPENDED = "it is suspended"
# Seconds for which a source or chart has failed before that is final: Flux tries again after moments.
RETRIED = 5.0
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

    `final` says that waiting does not heal it, once it has been so for `seconds`.
    """

    what: str
    words: str
    final: bool = False
    path: str = ""
    seconds: float = 0.0

    def __str__(self) -> str:
        return f"{self.what}: {self.words}".replace("\n", " ")


def collection(entry: Entry) -> str:
    """The collection that an object is listed in, "" for a kind that is not looked at."""
    if plural := FLUX.get((entry.group, entry.kind)):
        return f"/apis/{entry.group}/{entry.version}/{plural}"
    return health.collection(entry)


def entries(root: Json, world: World) -> list[Entry]:
    """What the Kustomization brought, each once, as far as `world` shows; one with a kubeconfig applies elsewhere."""
    queue, known = [root], dict[Entry, None]()
    while queue:
        for entry in inventory(queue.pop(0)):
            if entry in known or (entry.kind, entry.key) == ("Kustomization", key_of(root)):
                continue
            known[entry] = None
            item = world.get(collection(entry), {}).get(entry.key)
            if item and entry.kind == "Kustomization" and "kubeConfig" not in (item.get("spec") or {}):
                queue.append(item)
    return list(known)


def members(root: Json, world: World) -> list[tuple[Entry, Json | None]]:
    """Each Flux object and workload of the tree that `world` lists; None for a missing one. Pure."""
    listed = [(entry, collection(entry)) for entry in entries(root, world)]
    return [(entry, world[path].get(entry.key)) for entry, path in listed if path in world]


def paths(root: Json, world: World) -> set[str]:
    """The collections that show the tree, as far as `world` does. Pure."""
    brought = entries(root, world)
    charts = {CHARTS} if any(entry.kind == "HelmRelease" for entry in brought) else set()
    return {path for entry in brought if (path := collection(entry))} | charts


def followed(root: Json, world: World) -> set[str]:
    """The collections of all that may say why the tree is not ready, of kinds that we do not know too. Pure."""
    brought = entries(root, world)
    others = [entry for entry in brought if not collection(entry) and health.is_judged(entry)]
    events = {health.EVENTS.format(namespace=entry.namespace) for entry in others if entry.namespace}
    own = {entry.collection for entry in others}
    return paths(root, world) | own | events | set(health.collections(brought))


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


def troubles(source: Json, root: Json, world: World) -> list[Trouble]:
    """What is not ready below the Kustomization `root`, as far as `world` shows; what is final comes first. Pure.

    A failure is final when Flux was not asked to try again since, and its words are about the present change.
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
            chart = world.get(CHARTS, {}).get(str((item.get("status") or {}).get("helmChart", "")))
            lag, revision = _lag(entry, item, source, sources, chart)
            unready += _of_flux(item, str(entry), path, lag, revision=revision, chart=chart)
        else:
            unready += _of_workload(entry, item)
    return sorted(unready, key=lambda trouble: not trouble.final)


def voices(source: Json, root: Json, world: World) -> list[str]:
    """What everything below the Kustomization `root` says that it lacks, and the pods behind it; causes first. Pure."""
    others = [entry for entry in entries(root, world) if (entry.group, entry.kind) not in FLUX]
    return list(dict.fromkeys([*map(str, troubles(source, root, world)), *health.troubles(world, others)]))


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
    chart: Json | None,
) -> tuple[str, str]:
    """How a Flux object is behind the source of its content, and a Kustomization's revision there. Pure."""
    spec = item.get("spec") or {}
    if entry.kind == "Kustomization":
        origin = sources.get(_reference(spec.get("sourceRef") or {}, entry.namespace))
        revision = artifact(origin) if origin else ""
        return _behind(item, revision or attempted(item)), revision
    if entry.kind == "GitRepository" and all(spec.get(key) == source["spec"].get(key) for key in ("url", "ref")):
        held, wanted = artifact(item), artifact(source)
        return ("" if held == wanted else f"it holds {short(held) or 'nothing'}, not {short(wanted)}"), ""
    if entry.kind == "HelmRelease" and chart:
        origin = sources.get(_reference(chart["spec"]["sourceRef"], chart["metadata"]["namespace"]))
        built = (chart.get("status") or {}).get("observedSourceArtifactRevision")
        if origin and built != artifact(origin):
            return f"its chart is not built from {short(artifact(origin))} yet", ""
        # The digest of an OCI artifact does not count: helm-controller notes the version alone.
        if attempted(item) != artifact(chart):
            return f"it has {attempted(item) or 'nothing'}, not {artifact(chart)}", ""
    return "", ""


def _reference(reference: Json, namespace: str) -> tuple[str, str, str]:
    return str(reference.get("kind")), str(reference.get("namespace") or namespace), str(reference.get("name"))


def _behind(kustomization: Json, revision: str) -> str:
    # Both: Ready is written before lastAppliedRevision is, and may be said of the revision in between.
    if revision and attempted(kustomization) == applied(kustomization) == revision:
        return ""
    return f"it is at {short(applied(kustomization)) or 'nothing'}, not at {short(revision) or 'any revision'}"


def _of_flux(
    item: Json, what: str, path: str, lag: str, *, revision: str = "", chart: Json | None = None
) -> list[Trouble]:
    """What is not ready of one Flux object: of a Kustomization at that revision, of a HelmRelease with its chart."""
    kind = what.partition(" ")[0]
    words = "" if objects.is_static(kind, item) else objects.unready(item) or lag
    if not words:
        return []
    if objects.is_suspended(item):
        return [Trouble(what, f"{SUSPENDED} ({words})", final=True)]
    if condition(item, "Ready").get("status") == "Unknown" and (failed := last_failure(item)):
        words = f"{failed}; Flux tries again ({words})"
    if chart and (built := _of_flux(chart, f"HelmChart {key_of(chart)}", "", "")):
        # The release only says that its chart is not ready, and a chart without files waits for its source.
        final = built[0].final and condition(chart, "Ready").get("reason") != "NoSourceArtifact"
        return [Trouble(what, f"{words}; {built[0]}", final, path, RETRIED)]
    final = _is_current(item, revision, chart) and (objects.is_stalled(item) or objects.has_failed(kind, item))
    return [Trouble(what, words, final, path, RETRIED if kind in (*objects.SOURCES, "HelmChart") else 0.0)]


def _is_current(item: Json, revision: str, chart: Json | None) -> bool:
    """Whether what Flux says of an object is about its present change, and not from before a request. Pure."""
    ready, generation = condition(item, "Ready"), item["metadata"].get("generation")
    if not objects.answered(item) or ready.get("observedGeneration", generation) != generation:
        return False
    if chart is not None:  # of another chart it was said before; other failures come before it is taken up
        return attempted(item) == artifact(chart) or not ready.get("reason", "").endswith("Failed")
    return not revision or is_about(item, revision)


def is_about(kustomization: Json, revision: str) -> bool:
    """Whether the words of a Kustomization are about a revision. Pure.

    lastAttemptedRevision is set when the files are there; what fails before is told with the progress message.
    """
    progress = condition(kustomization, "Reconciling").get("message", "")
    named = re.findall(r"[^\s'\"]+:[0-9a-f]{40,64}", progress)
    return any(matches(each, revision) for each in (attempted(kustomization), *named))


def last_failure(kustomization: Json) -> str:
    """What the last health check or run of a Kustomization failed with, while Flux tries again; "" for none. Pure."""
    healthy, last = condition(kustomization, "Healthy"), objects.latest(kustomization)
    if healthy.get("status") == "False":
        return objects.condition_text(healthy)
    revision = (last.get("metadata") or {}).get("revision", "")
    status = str(last.get("lastReconciledStatus", ""))
    return status if status.endswith("Failed") and revision in ("", attempted(kustomization)) else ""


def _of_workload(entry: Entry, item: Json) -> list[Trouble]:
    """What is not ready of a workload; one that only Flux can judge is left to it. Pure."""
    if entry.kind == "Job":
        failed = condition(item, "Failed")
        return (
            [Trouble(str(entry), objects.condition_text(failed), final=True)] if failed.get("status") == "True" else []
        )
    if entry.kind == "Pod":
        ended = (item.get("status") or {}).get("phase") == "Failed"
        return [Trouble(str(entry), words, final=ended) for words in health.rollout_gaps("Pod", item)]
    generation = item["metadata"].get("generation")
    if (item.get("status") or {}).get("observedGeneration", generation) != generation:
        return [Trouble(str(entry), "its latest change is not taken up yet")]
    if entry.kind == "Deployment":
        available = condition(item, "Available")
        words = "" if available.get("status") == "True" else available.get("message") or "not available yet"
    else:
        words = "; ".join(health.rollout_gaps(entry.kind, item))
    return [Trouble(str(entry), words)] if words else []
