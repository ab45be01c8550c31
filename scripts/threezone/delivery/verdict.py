"""The verdict on a delivery: whether all that a commit brings is at its revision, ready and healthy, or what is not."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime

from threezone.clients.kubernetes.api import Api, Forbidden, Json
from threezone.clients.kubernetes.watch import Overdue, World, condition, key_of, wait_for
from threezone.core.errors import DeliveryError
from threezone.core.events import step
from threezone.delivery import tree
from threezone.delivery import wait as arrival
from threezone.delivery.revision import short
from threezone.delivery.sync import Delivery, Target
from threezone.flux import health
from threezone.flux.objects import REQUESTED, SOURCE, Entry, handled, has_failed, inventory, unready
from threezone.flux.objects import artifact as holds

# Seconds in which Flux gives its verdict on what is healthy. kustomize-controller looks at once, and then every 5 s.
VERDICT = 8.0


@dataclass(frozen=True)
class Trouble:
    """Why one object of the tree is not well. `path` is where a Flux object is asked to reconcile, "" for others.

    `final` says that waiting does not heal it.
    """

    what: str
    words: str
    final: bool = False
    path: str = ""

    def __str__(self) -> str:
        return f"{self.what}: {self.words}".replace("\n", " ")


def read(source: Json, root: Json, world: World) -> Delivery:
    """The delivery from Flux's objects and the workloads behind them. Pure.

    A run that has not ended is no verdict: the one before it may have failed without a trace (a failed build leaves
    neither a condition nor an entry in `status.history` once the next run has begun). Then the delivery is `busy`.
    """
    leaves = troubles(source, root, world)
    own = [*_of_source(source), *_of_root(source, root)]
    if condition(root, "Ready").get("reason") in {"HealthCheckFailed", "Progressing"}:
        words = [*leaves[:1], *own[:1]]  # the Kustomization waits for the leaf, which knows the cause
    else:
        words = [*own, *leaves][:1]
    flux = [(_name(source, "GitRepository"), source), (_name(root), root)]
    flux += [
        (str(what), item) for what, item in tree.members(root, world) if item and (what.group, what.kind) in tree.FLUX
    ]
    return Delivery(
        url=str(source["spec"]["url"]),
        fetched=holds(source),
        applied=str((root.get("status") or {}).get("lastAppliedRevision", "")),
        ready=not words,
        message="; ".join(map(str, words)) or str(condition(root, "Ready").get("message", "")),
        suspended=tuple(name for name, item in flux if (item.get("spec") or {}).get("suspend")),
        busy=bool(own) and not leaves and not any(each.final for each in own) and _at_work(source, root),
    )


def observe(
    api: Api, at: Target, deployments: Sequence[Json] | None = None, *, patient: bool = True
) -> Delivery | None:
    """The lab's delivery as Flux reports it, or None when it is not declared.

    With `patient` a verdict that is at hand is waited for a moment. `deployments` are those of the whole cluster, where
    they are known.
    """
    source, root = (api.get(path) for path in at.paths)
    if not source or not root:
        return None
    seen = _with_tree(api, source, root, deployments)
    if not (seen.busy and patient) or _waiting(deployments):
        return seen

    def judge(world: World) -> list[str]:
        source, root = at.find(world)
        return ["Flux's verdict"] if source and root and read(source, root, {}).busy else []

    with suppress(Overdue):
        # What is read is the world in which the verdict stood: the next run may have begun already.
        world = wait_for(api, [at.sources, at.kustomizations], judge, seconds=VERDICT, what="Flux's verdict")
        source, root = at.find(world)
        return _with_tree(api, source, root, None) if source and root else None
    return seen


def wait(api: Api, at: Target, seconds: float) -> None:
    """Wait until everything that the applied Kustomization has brought is ready, after asking what is not.

    Raises DeliveryError with the object's own words as soon as that cannot happen, or after `seconds`.
    """
    source, root = (api.get(path) for path in at.paths)
    if not source or not root:
        return
    world, forbidden = tree.gather(api, root, {})
    behind = troubles(source, root, world)
    if not behind:
        return
    stamp = datetime.now(UTC).isoformat()
    for each in (each for each in behind if each.path):
        with suppress(Forbidden):  # it is waited for all the same
            api.merge(each.path, {"metadata": {"annotations": {REQUESTED: stamp}}})
    with step("wait until all that was delivered is ready"):
        try:
            wait_for(
                api,
                [at.sources, at.kustomizations],
                lambda world: _missing(world, at, forbidden, stamp),
                seconds=seconds,
                what="what was delivered",
                more=lambda world: _followed(world, at),
                fresh=True,
            )
        except arrival.Unhealthy as unhealthy:
            raise arrival.told(api, unhealthy) from None
        except Overdue as overdue:
            raise DeliveryError(
                f"not all that was delivered is ready after {seconds:.0f} s",
                evidence=overdue.evidence,
                fix="./run invoke flux.status",
            ) from None


def _missing(world: World, at: Target, forbidden: frozenset[str], stamp: str) -> list[str]:
    source, root = at.find(world)
    if source is None or root is None:
        return ["Flux's objects"]
    unseen = sorted(tree.paths(root, world) - world.keys() - forbidden)
    left = troubles(source, root, world, stamp)
    if final := next((each for each in left if each.final), None):
        raise DeliveryError(
            f"{final.what} is not ready",
            evidence="\n".join(map(str, left)),
            fix="correct what it names, commit, and ./run invoke gitops.push",
        )
    if stuck := health.stuck(world, [item for item, _ in tree.members(root, world)]):
        raise arrival.Unhealthy(holds(source), stuck)
    return [*map(str, left), *(f"the list of {path}" for path in unseen)]


def _followed(world: World, at: Target) -> Iterable[str]:
    root = at.find(world)[1]
    if root is None:
        return ()
    return tree.paths(root, world) | set(health.collections(item for item, _ in tree.members(root, world)))


def troubles(source: Json, root: Json, world: World, stamp: str = "") -> list[Trouble]:
    """What is not well below the Kustomization `root`, as far as `world` shows. Pure.

    With the `stamp` of a request, a failure is final only when Flux has answered that request with it.
    """
    found = list(tree.members(root, world))
    sources = {(each.kind, each.namespace, each.name): item for each, item in found if item and each.group == SOURCE}
    meta = source["metadata"]
    sources[source.get("kind") or "GitRepository", meta["namespace"], meta["name"]] = source
    charts = world.get(tree.CHARTS, {})
    listed: list[Trouble] = []
    for what, item in found:
        if item is None:
            listed += [Trouble(str(what), "it is not there")] if what.kind != "Job" else []
        elif (what.group, what.kind) not in tree.FLUX:
            listed += _of_workload(what, item)
        else:
            lag = _lag(what, item, source, sources, charts)
            listed += _of_flux(item, str(what), tree.object_path(what), lag, stamp)
    return sorted(listed, key=lambda each: not each.final)


def _lag(
    what: Entry,
    item: Json,
    source: Json,
    sources: Mapping[tuple[str, str, str], Json],
    charts: Mapping[str, Json],
) -> str:
    """How a Flux object is behind what it takes its content from; "" when it is not. Pure."""
    spec, status = item.get("spec") or {}, item.get("status") or {}
    if what.kind == "Kustomization":
        origin = sources.get(_reference(what, spec.get("sourceRef") or {}))
        return _behind(item, holds(origin) if origin else str(status.get("lastAttemptedRevision", "")))
    if what.kind == "GitRepository" and all(spec.get(key) == source["spec"].get(key) for key in ("url", "ref")):
        wanted = holds(source)
        return "" if holds(item) == wanted else f"it holds {short(holds(item)) or 'nothing'}, not {short(wanted)}"
    if what.kind == "HelmRelease" and (chart := charts.get(str(status.get("helmChart", "")))):
        built = chart.get("status") or {}
        version = (built.get("artifact") or {}).get("revision")
        origin = sources.get(_reference(what, chart["spec"]["sourceRef"], chart["metadata"]["namespace"]))
        if origin and built.get("observedSourceArtifactRevision") != holds(origin):
            return f"its chart is not built from {short(holds(origin))} yet"
        # The digest of an OCI artifact does not count: helm-controller notes the version alone.
        if status.get("lastAttemptedRevision") != version:
            return f"it has {status.get('lastAttemptedRevision') or 'nothing'}, not {version}"
    return ""


def _reference(what: Entry, reference: Json, namespace: str = "") -> tuple[str, str, str]:
    where = reference.get("namespace") or namespace or what.namespace
    return str(reference.get("kind")), str(where), str(reference.get("name"))


def _behind(kustomization: Json, revision: str) -> str:
    status = kustomization.get("status") or {}
    attempted, applied = (str(status.get(f"last{each}Revision", "")) for each in ("Attempted", "Applied"))
    # Both: Ready is written before lastAppliedRevision is, and may be said of the revision in between.
    if revision and attempted == applied == revision:
        return ""
    return f"it is at {short(applied) or 'nothing'}, not at {short(revision) or 'any revision'}"


def _of_source(source: Json) -> list[Trouble]:
    return _of_flux(source, _name(source, "GitRepository"), "", "" if holds(source) else "it holds nothing")


def _of_root(source: Json, root: Json) -> list[Trouble]:
    return _of_flux(root, _name(root), "", _behind(root, holds(source)))


def _name(item: Json, kind: str = "Kustomization") -> str:
    return f"{item.get('kind') or kind} {key_of(item)}"


def _of_flux(item: Json, what: str, path: str, lag: str, stamp: str = "") -> list[Trouble]:
    """What is not well with one Flux object. Pure."""
    spec, ready, kind = item.get("spec") or {}, condition(item, "Ready"), what.partition(" ")[0]
    if kind == "HelmRepository" and spec.get("type") == "oci":  # it is only read: nobody reconciles it
        return []
    words = unready(item) or lag
    if not words:
        return []
    if spec.get("suspend"):
        return [Trouble(what, f"it is suspended ({words})", final=True)]
    stalled = condition(item, "Stalled").get("status") == "True"
    answered = not stamp or handled(item) == stamp
    if ready.get("status") == "Unknown" and (failed := _last_failure(item)):
        words = f"{failed}; Flux tries again ({words})"
    return [Trouble(what, words, final=answered and (stalled or has_failed(kind, item)), path=path)]


def _last_failure(kustomization: Json) -> str:
    """What the last health check or run of a Kustomization failed with, while Flux tries again; "" for none. Pure."""
    healthy, status = condition(kustomization, "Healthy"), kustomization.get("status") or {}
    if healthy.get("status") == "False":
        return f"{healthy.get('reason', '')}: {healthy.get('message', '')}"
    history = status.get("history") or []
    last = history[0] if isinstance(history, list) and history else {}
    of = (last.get("metadata") or {}).get("revision", "")
    failed = str(last.get("lastReconciledStatus", ""))
    return failed if failed.endswith("Failed") and of in ("", status.get("lastAttemptedRevision")) else ""


def _at_work(source: Json, root: Json) -> bool:
    """Whether Flux is about to give its verdict: a run is under way, and the one before it did not fail. Pure."""
    if condition(source, "Ready").get("status") == "False" or (root.get("spec") or {}).get("suspend"):
        return False
    status, ready = root.get("status") or {}, condition(root, "Ready").get("status")
    fetching = condition(source, "Reconciling").get("status") == "True"
    if ready == "True":
        return fetching or status.get("lastAppliedRevision") != holds(source)
    return ready == "Unknown" and not _last_failure(root)


def _of_workload(what: Entry, item: Json) -> list[Trouble]:
    """What is not well with a workload; one that Flux alone can judge is left to it. Pure."""
    if what.kind == "Job":
        failed = condition(item, "Failed")
        words = f"{failed.get('reason', '')}: {failed.get('message', '')}"
        return [Trouble(str(what), words, final=True)] if failed.get("status") == "True" else []
    if what.kind == "Deployment":
        available = condition(item, "Available")
        well = available.get("status") == "True"
        words = str(available.get("message", "")) or "not available yet"
    else:
        gaps = health.rollout_gaps(what.kind, item)
        well, words = not gaps, ", ".join(gaps)
    generation = item["metadata"].get("generation")
    if (item.get("status") or {}).get("observedGeneration", generation) != generation:
        well, words = False, "its latest change is not taken up yet"
    return [] if well else [Trouble(str(what), words)]


def _with_tree(api: Api, source: Json, root: Json, deployments: Sequence[Json] | None) -> Delivery:
    known: World = {}
    if deployments is not None:
        for each in inventory(root):
            if (each.group, each.kind) == ("apps", "Deployment"):
                inside = {key_of(d): d for d in deployments if d["metadata"]["namespace"] == each.namespace}
                known[tree.path_of(each)] = inside
    return read(source, root, tree.gather(api, root, known)[0])


def _waiting(deployments: Sequence[Json] | None) -> bool:
    return any(condition(each, "Available").get("status") != "True" for each in deployments or ())
