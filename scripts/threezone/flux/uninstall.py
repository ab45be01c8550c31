"""Remove Flux from a cluster so that nothing hangs: its objects while its controllers still run, then the rest.

As with `flux uninstall`, what Flux applied stays, unless pruning is asked for. The order is another one: that command
deletes the controllers first and strips every finalizer; here the controllers finalize their objects, and
we remove a finalizer only where its controller does not run.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from threezone.clients.kubernetes.api import Api, Json
from threezone.clients.kubernetes.watch import NAMESPACES, condition
from threezone.core.errors import ClusterError, DeliveryError
from threezone.core.events import note, step
from threezone.core.plan import Plan, Step, StepKind
from threezone.flux import installation as flux_installation
from threezone.flux import objects as flux_objects
from threezone.flux.components import LABELLED, NAMESPACE, Flux, is_part
from threezone.flux.deletion import delete, release, wait_gone
from threezone.flux.installation import Installation
from threezone.flux.manifests import COLLECTIONS
from threezone.flux.objects import Entry, FluxObject, inventory

APPLIERS = ("Kustomization", "HelmRelease")  # they apply objects, and remove them when they are deleted
ROUNDS = 5  # a reconcile under way may make new objects while ours are deleted
EVERYWHERE = {"kube-root-ca.crt"}  # the ConfigMap that Kubernetes puts into every namespace


@dataclass(frozen=True)
class Part:
    """An object of the installation itself: its kind, name and API path."""

    kind: str
    name: str
    path: str


@dataclass(frozen=True)
class FluxState:
    """Everything of Flux in the cluster. `namespace` is the namespace object, None when there is none.

    `tenants` are pods in that namespace that are not Flux's, `kept` the Secrets and ConfigMaps that would go with it.
    """

    installation: Installation | None
    objects: tuple[FluxObject, ...] = ()
    parts: tuple[Part, ...] = ()
    namespace: Json | None = None
    tenants: tuple[str, ...] = ()
    kept: tuple[str, ...] = ()

    @property
    def namespace_name(self) -> str:
        """The namespace's name."""
        return (self.installation.namespace if self.installation else "") or NAMESPACE


def observe(api: Api) -> FluxState:
    """Read everything of Flux in the cluster."""
    flux = FluxState(flux_installation.observe(api), flux_objects.observe(api))
    parts: list[Part] = []
    for kind, collection in COLLECTIONS.items():
        path = collection.format(namespace=flux.namespace_name)
        if kind != "Namespace":
            parts.extend(Part(kind, name, f"{path}/{name}") for name in _names(_list(api, path, LABELLED)))
    flux = replace(flux, parts=tuple(parts))
    core = f"{NAMESPACES}/{flux.namespace_name}"
    namespace = api.get(core)
    if namespace is None:
        return flux
    tenants = _names([item for item in _list(api, f"{core}/pods") if not is_part(item)])
    others = [item for plural in ("secrets", "configmaps") for item in _list(api, f"{core}/{plural}")]
    kept = _names([item for item in others if not is_part(item)])
    return replace(flux, namespace=namespace, tenants=tenants, kept=kept)


def _list(api: Api, path: str, selector: str = "") -> list[Json]:
    query = {"labelSelector": selector} if selector else {}
    return list((api.get(path, **query) or {}).get("items") or [])


def _names(items: Sequence[Json]) -> tuple[str, ...]:
    return tuple(str(item["metadata"]["name"]) for item in items if item["metadata"]["name"] not in EVERYWHERE)


def plan(flux: FluxState, *, prune: bool, keep_namespace: bool) -> Plan:
    """The steps, in order. Pure. Raises DeliveryError when pruning is asked for and its controller is down.

    A step asks when it removes what is not ours, or what cannot be restored: workloads and Secrets.
    """
    actions: list[Step] = []
    notices: list[str] = []
    appliers = [one for one in flux.objects if one.kind.kind in APPLIERS]
    absent = unserved(flux.installation, flux.objects)
    if prune and (idle := sorted({one.kind.controller for one in appliers} & set(absent))):
        raise DeliveryError(
            f"{', '.join(idle)} does not serve, so what it applied cannot be pruned",
            fix="./run invoke flux.install brings it back; without --prune the workloads stay",
        )
    if spared := [one for one in appliers if not (prune and prunes(one))]:
        names = ", ".join(one.what for one in spared)
        if not all(one.suspended for one in spared):
            actions.append(Step(StepKind.SUSPEND_OBJECTS, f"suspend {names}: what it applied stays"))
        if prune:
            notices.append(
                f"what these applied stays, because they are suspended, do not prune, or manage Flux itself: {names}"
            )
    if flux.objects:
        actions.append(_delete_objects_step(flux, prune=prune, absent=absent))
    if flux.parts:
        actions.append(_delete_components_step(flux))
    if not keep_namespace and flux.namespace is not None:
        if stays := _namespace_stays(flux):
            notices += [f"the namespace {flux.namespace_name} stays: {stays}"] if flux.parts or flux.tenants else []
        else:
            sentence = f"delete the namespace {flux.namespace_name}" + (
                f", with {', '.join(flux.kept)}" if flux.kept else ""
            )
            command = f"kubectl delete namespace {flux.namespace_name}"
            actions.append(Step(StepKind.DELETE_NAMESPACE, sentence, command, asks=bool(flux.kept)))
    return Plan(tuple(actions), tuple(notices))


def _namespace_stays(flux: FluxState) -> str:
    """Why Flux's namespace must not be deleted; "" when it may be."""
    if flux.tenants:
        return f"pods of others run in it: {', '.join(flux.tenants)}"
    return "" if is_part(flux.namespace or {"metadata": {}}) else "it was not made with Flux"


def _delete_objects_step(flux: FluxState, *, prune: bool, absent: Sequence[str]) -> Step:
    words = [f"delete Flux's objects: {', '.join(one.what for one in flux.objects)}"]
    if prune:
        shown = ", ".join(map(str, _pruned(flux.objects)))
        words.append(f"and with them everything that they applied: {shown or 'nothing'}, and the Helm releases")
    if absent:
        words.append(f"remove their finalizers ourselves where {', '.join(absent)} does not serve")
    others = any(not (flux_objects.declared_by_us(one.item["metadata"]) or derived(one)) for one in flux.objects)
    return Step(StepKind.DELETE_OBJECTS, "; ".join(words), asks=prune or others)


def _delete_components_step(flux: FluxState) -> Step:
    installed = flux.installation
    foreign = installed is not None and not installed.ours
    name = f"Flux {installed.version}".rstrip() if installed else "Flux"
    by = f", installed by {installed.installer}" if installed and foreign else ""
    kinds = ", ".join(dict.fromkeys(part.kind for part in flux.parts))
    return Step(
        StepKind.DELETE_COMPONENTS,
        f"remove {name}{by}: {len(flux.parts)} objects ({kinds})",
        f"flux uninstall --namespace={flux.namespace_name} --keep-namespace",
        asks=foreign,
    )


def unserved(installation: Installation | None, objects: Sequence[FluxObject]) -> tuple[str, ...]:
    """The controllers of these objects that do not serve. Pure."""
    finalized = [one for one in objects if one.item["metadata"].get("finalizers")]
    return (installation or Flux("", ())).unserved(one.kind.controller for one in finalized)


def derived(target: FluxObject) -> bool:
    """Whether Flux itself created an object, from a commit or for a HelmRelease, and would create it again. Pure."""
    labels = target.item["metadata"].get("labels") or {}
    return target.kind.kind == "HelmChart" or f"{flux_objects.KUSTOMIZE}/name" in labels


def prunes(target: FluxObject) -> bool:
    """Whether deleting an object removes what it applied (kustomize-controller: finalizerShouldDeleteResources).

    Never one that manages Flux itself, as in a bootstrapped cluster: it would remove its own controller too early.
    """
    spec = target.item.get("spec") or {}
    if target.suspended or target.kind.kind not in APPLIERS:
        return False
    if target.kind.kind == "HelmRelease":
        return True
    if any((entry.kind, entry.name) == ("Deployment", "kustomize-controller") for entry in inventory(target.item)):
        return False
    policy = spec.get("deletionPolicy", "MirrorPrune")
    return policy in ("Delete", "WaitForTermination") or (policy == "MirrorPrune" and bool(spec.get("prune")))


def _pruned(objects: Sequence[FluxObject]) -> list[Entry]:
    """What goes with these objects when they are deleted with pruning."""
    return [entry for one in objects if prunes(one) for entry in inventory(one.item)]


def apply(api: Api, flux: FluxState, actions: Sequence[Step], *, prune: bool, seconds: float) -> None:
    """Carry a plan out and watch until all of it is gone. `seconds` is the time that one kind of thing may take.

    Raises DeliveryError when Flux cannot prune, in its words, ClusterError when something does not go.
    """
    for action in actions:
        if action.kind is StepKind.SUSPEND_OBJECTS:
            with step("suspend Flux's objects"):
                _suspend_appliers(api, flux.objects, prune=prune)
        elif action.kind is StepKind.DELETE_OBJECTS:
            with step("delete Flux's objects") as running:
                running.result = f"{_delete_objects(api, flux, prune=prune, seconds=seconds)} objects"
        elif action.kind is StepKind.DELETE_COMPONENTS:
            with step("remove Flux") as running:
                _delete_parts(api, flux, seconds)
                running.result = f"{len(flux.parts)} objects"
        elif action.kind is StepKind.DELETE_NAMESPACE:
            with step(f"delete the namespace {flux.namespace_name}"):
                delete(api, f"{NAMESPACES}/{flux.namespace_name}")
                wait_gone(
                    api, {NAMESPACES: [f"/{flux.namespace_name}"]}, seconds, f"the namespace {flux.namespace_name}"
                )


def _suspend_appliers(api: Api, objects: Sequence[FluxObject], *, prune: bool) -> None:
    """Suspend the objects that must not prune: a controller deletes nothing for a suspended object."""
    for one in objects:
        if one.kind.kind in APPLIERS and not one.suspended and not (prune and prunes(one)):
            api.merge(one.path, {"spec": {"suspend": True}})


def _delete_objects(api: Api, flux: FluxState, *, prune: bool, seconds: float) -> int:
    """Delete appliers first, then their sources; again while a reconcile under way has made new ones."""
    count, objects = 0, flux.objects
    for _ in range(ROUNDS):
        if not objects:
            break
        absent = unserved(flux.installation, objects)
        _suspend_appliers(api, objects, prune=prune)
        for appliers in (True, False):
            stage = [one for one in objects if (one.kind.kind in APPLIERS) is appliers]
            for one in stage:
                delete(api, one.path)
                if one.kind.controller in absent:
                    _release(api, one, f"{one.kind.controller} does not serve")
            _wait_for_objects(api, stage, prune=prune, seconds=seconds)
            count += len(stage)
        objects = flux_objects.observe(api)
    if prune:
        _wait_for_pruned(api, _pruned(flux.objects), seconds)
    return count


def _wait_for_objects(api: Api, stage: Sequence[FluxObject], *, prune: bool, seconds: float) -> None:
    """Wait until the objects are gone; without pruning, remove the finalizers of those that do not go."""
    wanted: dict[str, set[str]] = {}
    for one in stage:
        wanted.setdefault(one.kind.path, set()).add(f"{one.namespace}/{one.name}")
    try:
        wait_gone(api, wanted, seconds, "Flux's objects")
    except ClusterError:
        for one in stage:
            item = api.get(one.path)
            if item is None:
                continue
            words = str(condition(item, "Ready").get("message", ""))
            if prune and one.kind.kind in APPLIERS:
                raise DeliveryError(
                    f"{one.what} is not deleted: its controller cannot remove what it applied",
                    evidence=words,
                    fix="correct what it names, or run it again without --prune: the workloads stay",
                ) from None
            _release(api, one, f"it did not go within {seconds:.0f} s ({words})")
        wait_gone(api, wanted, seconds, "Flux's objects")


def _release(api: Api, target: FluxObject, why: str) -> None:
    if release(api, target.path):
        stays = "; what it applied stays" if target.kind.kind in APPLIERS else ""
        note(f"removed the finalizer of {target.what}: {why}{stays}")


def _wait_for_pruned(api: Api, entries: Sequence[Entry], seconds: float) -> None:
    """Watch until what Flux has deleted is gone; note what it kept (annotated not to be pruned)."""
    wanted: dict[str, set[str]] = {}
    for entry in entries:
        collection, namespaced = _collection(api, entry)
        if not collection:
            continue
        where = f"namespaces/{entry.namespace}/" if namespaced else ""
        head, _, plural = collection.rpartition("/")
        item = api.get(f"{head}/{where}{plural}/{entry.name}")
        if item is None:
            continue
        if "deletionTimestamp" not in item["metadata"]:
            note(f"{entry} stays: Flux was told not to prune it")
            continue
        wanted.setdefault(collection, set()).add(entry.key)
    wait_gone(api, wanted, seconds, "what Flux had applied")


def _collection(api: Api, entry: Entry) -> tuple[str, bool]:
    """The API path of an entry's collection, and whether it is namespaced; "" when it is no longer served."""
    base = f"/apis/{entry.group}/{entry.version}" if entry.group else f"/api/{entry.version}"
    for resource in (api.get(base) or {}).get("resources") or []:
        if resource["kind"] == entry.kind and "/" not in resource["name"]:
            return f"{base}/{resource['name']}", bool(resource["namespaced"])
    return "", False


def _delete_parts(api: Api, flux: FluxState, seconds: float) -> None:
    """Delete the controllers first, and wait for their pods: a running one would still write to the other objects."""
    by_kind = {kind: [part for part in flux.parts if part.kind == kind] for kind in COLLECTIONS}
    definitions = by_kind.pop("CustomResourceDefinition")
    for part in by_kind.pop("Deployment"):
        delete(api, part.path)
    pods = f"{NAMESPACES}/{flux.namespace_name}/pods"
    running = [f"{flux.namespace_name}/{name}" for name in _names(_list(api, pods, LABELLED))]
    wait_gone(api, {pods: running}, seconds, "Flux's controllers")
    for part in [*(part for parts in by_kind.values() for part in parts), *definitions]:
        delete(api, part.path)
    names = [f"/{part.name}" for part in definitions]
    wait_gone(api, {COLLECTIONS["CustomResourceDefinition"]: names}, seconds, "Flux's resource definitions")
