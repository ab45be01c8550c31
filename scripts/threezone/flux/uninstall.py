"""Taking Flux out of a cluster so that nothing hangs: its objects while its controllers still run, then the rest.

As with `flux uninstall`, what Flux applied stays, unless pruning is asked for. The order is another one: that command
deletes the controllers first and strips every finalizer; here the controllers end their objects as they should, and a
finalizer is removed by us only where its controller does not serve.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from threezone.clients.kubernetes.api import MANAGER, Api, Json, Refused
from threezone.clients.kubernetes.watch import NAMESPACES, World, condition, wait_for
from threezone.core.errors import ClusterError, DeliveryError
from threezone.core.events import note, step
from threezone.core.plan import Plan, Step, StepKind
from threezone.flux import components
from threezone.flux import installation as flux_installation
from threezone.flux import objects as flux_objects
from threezone.flux.installation import Installation
from threezone.flux.manifests import PLACES
from threezone.flux.objects import Found

FINALIZER = ".fluxcd.io"  # in the names of Flux's finalizers (finalizers.fluxcd.io)
APPLIERS = ("Kustomization", "HelmRelease")  # they apply something, and take it away when they are deleted
NOT_FOUND = 404
ROUNDS = 5  # a reconcile under way may make new objects while ours are deleted
EVERYBODYS = {"kube-root-ca.crt"}  # the ConfigMap that Kubernetes puts into every namespace


@dataclass(frozen=True)
class Part:
    """An object of the installation itself: its kind, name and API path."""

    kind: str
    name: str
    path: str


@dataclass(frozen=True)
class Seen:
    """Everything of Flux in the cluster. `namespace` is the namespace object, None when there is none.

    `tenants` are pods in that namespace that are not Flux's, `kept` the Secrets and ConfigMaps that would go with it.
    """

    installation: Installation | None
    objects: tuple[Found, ...] = ()
    parts: tuple[Part, ...] = ()
    namespace: Json | None = None
    tenants: tuple[str, ...] = ()
    kept: tuple[str, ...] = ()

    @property
    def place(self) -> str:
        """The namespace's name."""
        return (self.installation.namespace if self.installation else "") or components.NAMESPACE


@dataclass(frozen=True)
class Entry:
    """An object that a Kustomization applied, from its inventory."""

    namespace: str
    name: str
    group: str
    version: str
    kind: str


def observe(api: Api) -> Seen:
    """Look at everything that Flux has in the cluster. Changes nothing."""
    installation = flux_installation.observe(api)
    seen = Seen(installation, flux_objects.observe(api))
    parts: list[Part] = []
    for kind, collection in PLACES.items():
        path = collection.format(namespace=seen.place)
        if kind != "Namespace":
            listed = _list(api, path, labelSelector=components.LABELLED)
            parts.extend(
                Part(kind, str(item["metadata"]["name"]), f"{path}/{item['metadata']['name']}") for item in listed
            )
    core = f"{NAMESPACES}/{seen.place}"
    namespace = api.get(core)
    if namespace is None:
        return Seen(installation, seen.objects, tuple(parts))
    tenants = [item for item in _list(api, f"{core}/pods") if not _of_flux(item)]
    kept = [item for what in ("secrets", "configmaps") for item in _list(api, f"{core}/{what}")]
    return Seen(installation, seen.objects, tuple(parts), namespace, _names(tenants), _names(kept))


def _list(api: Api, path: str, **query: str) -> list[Json]:
    return list((api.get(path, **query) or {}).get("items") or [])


def _names(items: Sequence[Json]) -> tuple[str, ...]:
    return tuple(str(item["metadata"]["name"]) for item in items if item["metadata"]["name"] not in EVERYBODYS)


def _of_flux(item: Json) -> bool:
    return bool((item["metadata"].get("labels") or {}).get(components.PART) == "flux")


def plan(seen: Seen, *, prune: bool, keep_namespace: bool) -> Plan:
    """What has to be done, in order. Pure. Raises DeliveryError when pruning is asked for and nobody is there to do it.

    Asked about is what is not ours, what others declared, and what cannot be had back: workloads, and Secrets.
    """
    actions: list[Step] = []
    notices: list[str] = []
    appliers = [each for each in seen.objects if each.kind.kind in APPLIERS]
    absent = unserved(seen.installation, seen.objects)
    if prune and (idle := sorted({each.kind.controller for each in appliers} & set(absent))):
        raise DeliveryError(
            f"{', '.join(idle)} does not serve, so what it applied cannot be pruned",
            fix="./run invoke flux.install brings it back; without --prune the workloads stay",
        )
    if spared := [each for each in appliers if not (prune and prunes(each))]:
        names = ", ".join(each.what for each in spared)
        if not all(each.suspended for each in spared):
            actions.append(Step(StepKind.SUSPEND_OBJECTS, f"suspend {names}: what it applied stays"))
        if prune:
            notices.append(
                f"what these applied stays, for they are suspended, do not prune or hold Flux itself: {names}"
            )
    if seen.objects:
        actions.append(_objects(seen, prune=prune, absent=absent))
    if seen.parts:
        foreign = seen.installation is not None and not seen.installation.ours
        version = seen.installation.version if seen.installation else ""
        by = f", installed by {seen.installation.installer}" if seen.installation and foreign else ""
        kinds = ", ".join(dict.fromkeys(part.kind for part in seen.parts))
        words = f"remove Flux {version}".rstrip() + f"{by}: {len(seen.parts)} objects ({kinds})"
        actions.append(
            Step(
                StepKind.DELETE_COMPONENTS,
                words,
                f"flux uninstall --namespace={seen.place} --keep-namespace",
                asks=foreign,
            )
        )
    if seen.namespace is not None:
        namespace, notice = _namespace(seen, keep=keep_namespace)
        actions.extend(namespace)
        notices.extend(notice)
    return Plan(tuple(actions), tuple(notices))


def _objects(seen: Seen, *, prune: bool, absent: Sequence[str]) -> Step:
    names = ", ".join(each.what for each in seen.objects)
    words = [f"delete Flux's objects: {names}"]
    taken = [entry for each in seen.objects if prune and prunes(each) for entry in inventory(each.item)]
    if prune:
        shown = ", ".join(f"{entry.kind} {entry.namespace}/{entry.name}".replace(" /", " ") for entry in taken)
        words.append(f"and with them everything that they applied: {shown or 'nothing'}, and the Helm releases")
    if absent:
        words.append(f"remove their finalizers ourselves where {', '.join(absent)} does not serve")
    others = [each for each in seen.objects if not (declared_by_us(each.item) or derived(each))]
    return Step(StepKind.DELETE_OBJECTS, "; ".join(words), asks=prune or bool(others))


def _namespace(seen: Seen, *, keep: bool) -> tuple[list[Step], list[str]]:
    if keep:
        return [], []
    if seen.tenants:
        return [], [f"the namespace {seen.place} stays: pods of others run in it: {', '.join(seen.tenants)}"]
    if seen.namespace is None or not _of_flux(seen.namespace):
        return [], [f"the namespace {seen.place} stays: it was not made with Flux"] if seen.parts else []
    holding = f", with {', '.join(seen.kept)}" if seen.kept else ""
    command = f"kubectl delete namespace {seen.place}"
    return [
        Step(StepKind.DELETE_NAMESPACE, f"delete the namespace {seen.place}{holding}", command, asks=bool(seen.kept))
    ], []


def unserved(installation: Installation | None, objects: Sequence[Found]) -> tuple[str, ...]:
    """The controllers of these objects that do not serve. Pure."""
    names = installation.names if installation else ()
    down = installation.down if installation else ()
    needed = sorted({each.kind.controller for each in objects if each.item["metadata"].get("finalizers")})
    return tuple(name for name in needed if name not in names or name in down)


def declared_by_us(item: Json) -> bool:
    """Whether threezone declared an object. Pure."""
    entries = item["metadata"].get("managedFields") or []
    return any(each.get("manager") == MANAGER and each.get("operation") == "Apply" for each in entries)


def derived(found: Found) -> bool:
    """Whether Flux itself made an object, from a commit or for a HelmRelease, and would make it again. Pure."""
    labels = found.item["metadata"].get("labels") or {}
    return found.kind.kind == "HelmChart" or "kustomize.toolkit.fluxcd.io/name" in labels


def prunes(found: Found) -> bool:
    """Whether deleting an object takes away what it applied (kustomize-controller: finalizerShouldDeleteResources).

    Never one that holds Flux itself, as a bootstrapped cluster has it: it would end its own controller half way.
    """
    spec = found.item.get("spec") or {}
    if found.suspended or found.kind.kind not in APPLIERS:
        return False
    if found.kind.kind == "HelmRelease":
        return True
    if any(entry.kind == "Deployment" and entry.name == "kustomize-controller" for entry in inventory(found.item)):
        return False
    policy = spec.get("deletionPolicy", "MirrorPrune")
    return policy in ("Delete", "WaitForTermination") or (policy == "MirrorPrune" and bool(spec.get("prune")))


def inventory(item: Json) -> tuple[Entry, ...]:
    """What a Kustomization applied. Pure. An id is namespace_name_group_kind (kustomize-controller, ResourceRef)."""
    entries = ((item.get("status") or {}).get("inventory") or {}).get("entries") or []
    found = []
    for each in entries:
        namespace, _, rest = str(each["id"]).partition("_")
        name, group, kind = rest.rsplit("_", 2)
        # cli-utils writes the colons in names of RBAC objects as two underscores.
        found.append(Entry(namespace, name.replace("__", ":"), group, str(each["v"]), kind))
    return tuple(found)


def apply(api: Api, seen: Seen, actions: Sequence[Step], *, prune: bool, seconds: float) -> None:
    """Carry a plan out and watch until all of it is gone. `seconds` is the time that one kind of thing may take.

    Raises DeliveryError when Flux cannot prune, in its words, ClusterError when something does not go.
    """
    for action in actions:
        if action.kind is StepKind.SUSPEND_OBJECTS:
            with step("suspend what applies"):
                _spare(api, seen.objects, prune=prune)
        elif action.kind is StepKind.DELETE_OBJECTS:
            with step("delete Flux's objects") as running:
                running.result = f"{_delete_objects(api, seen, prune=prune, seconds=seconds)} objects"
        elif action.kind is StepKind.DELETE_COMPONENTS:
            with step("remove Flux") as running:
                _delete_parts(api, seen, seconds)
                running.result = f"{len(seen.parts)} objects"
        elif action.kind is StepKind.DELETE_NAMESPACE:
            with step(f"delete the namespace {seen.place}"):
                delete(api, f"{NAMESPACES}/{seen.place}")
                _gone(api, {NAMESPACES: {f"/{seen.place}"}}, seconds, f"the namespace {seen.place}")


def _spare(api: Api, objects: Sequence[Found], *, prune: bool) -> None:
    """Suspend what shall not take away what it applied: neither controller does that for a suspended object."""
    for each in objects:
        if each.kind.kind in APPLIERS and not each.suspended and not (prune and prunes(each)):
            api.merge(each.path, {"spec": {"suspend": True}})


def _delete_objects(api: Api, seen: Seen, *, prune: bool, seconds: float) -> int:
    """Appliers first, then what they read from; again while a reconcile under way has made new ones."""
    count, objects = 0, seen.objects
    taken = [entry for each in objects if prune and prunes(each) for entry in inventory(each.item)]
    for _ in range(ROUNDS):
        if not objects:
            break
        absent = unserved(seen.installation, objects)
        _spare(api, objects, prune=prune)
        for stage in (
            [each for each in objects if each.kind.kind in APPLIERS],
            [each for each in objects if each.kind.kind not in APPLIERS],
        ):
            for each in stage:
                delete(api, each.path)
                if each.kind.controller in absent:
                    _release(api, each, f"{each.kind.controller} does not serve")
            _await_objects(api, stage, prune=prune, seconds=seconds)
            count += len(stage)
        objects = flux_objects.observe(api)
    if taken:
        _await_pruned(api, taken, seconds)
    return count


def _await_objects(api: Api, stage: Sequence[Found], *, prune: bool, seconds: float) -> None:
    wanted: dict[str, set[str]] = {}
    for each in stage:
        wanted.setdefault(each.kind.path, set()).add(f"{each.namespace}/{each.name}")
    try:
        _gone(api, wanted, seconds, "Flux's objects")
    except ClusterError:
        for each in stage:
            item = api.get(each.path)
            if item is None:
                continue
            words = str(condition(item, "Ready").get("message", ""))
            if prune and each.kind.kind in APPLIERS:
                raise DeliveryError(
                    f"{each.what} does not go: its controller cannot take away what it applied",
                    evidence=words,
                    fix="correct what it names, or run it again without --prune: the workloads stay",
                ) from None
            _release(api, each, f"it did not go within {seconds:.0f} s ({words})")
        _gone(api, wanted, seconds, "Flux's objects")


def _release(api: Api, found: Found, why: str) -> None:
    """Take Flux's finalizer off an object whose controller will not do it; finalizers of others stay."""
    item = api.get(found.path)
    if item is None:
        return
    finalizers = item["metadata"].get("finalizers") or []
    others = [name for name in finalizers if FINALIZER not in name]
    if len(others) < len(finalizers):
        stays = "; what it applied stays" if found.kind.kind in APPLIERS else ""
        note(f"remove the finalizer of {found.what}: {why}{stays}")
        try:
            api.merge(found.path, {"metadata": {"finalizers": others or None}})
        except Refused as refused:
            if refused.status != NOT_FOUND:
                raise


def _await_pruned(api: Api, taken: Sequence[Entry], seconds: float) -> None:
    """Watch until what Flux has deleted is gone; what it left (annotated not to be pruned) is told."""
    wanted: dict[str, set[str]] = {}
    for entry in taken:
        collection, namespaced = _collection(api, entry)
        if not collection:
            continue
        where = f"namespaces/{entry.namespace}/" if namespaced else ""
        head, _, plural = collection.rpartition("/")
        item = api.get(f"{head}/{where}{plural}/{entry.name}")
        if item is None:
            continue
        if "deletionTimestamp" not in item["metadata"]:
            note(f"{entry.kind} {entry.namespace}/{entry.name} stays: Flux was told not to prune it")
            continue
        wanted.setdefault(collection, set()).add(f"{entry.namespace}/{entry.name}")
    if wanted:
        _gone(api, wanted, seconds, "what Flux had applied")


def _collection(api: Api, entry: Entry) -> tuple[str, bool]:
    """The API path of an entry's collection, and whether it is namespaced; "" when it is served no more."""
    base = f"/apis/{entry.group}/{entry.version}" if entry.group else f"/api/{entry.version}"
    for each in (api.get(base) or {}).get("resources") or []:
        if each["kind"] == entry.kind and "/" not in each["name"]:
            return f"{base}/{each['name']}", bool(each["namespaced"])
    return "", False


def _delete_parts(api: Api, seen: Seen, seconds: float) -> None:
    """Controllers first, and their pods gone: one that still runs would write to what goes next."""
    of_kind = {kind: [part for part in seen.parts if part.kind == kind] for kind in PLACES}
    for part in of_kind["Deployment"]:
        delete(api, part.path)
    pods = f"{NAMESPACES}/{seen.place}/pods"
    running = _list(api, pods, labelSelector=components.LABELLED)
    _gone(api, {pods: {f"{seen.place}/{name}" for name in _names(running)}}, seconds, "Flux's controllers")
    for kind, parts in of_kind.items():
        if kind not in ("Deployment", "CustomResourceDefinition"):
            for part in parts:
                delete(api, part.path)
    definitions = PLACES["CustomResourceDefinition"]
    for part in of_kind["CustomResourceDefinition"]:
        delete(api, part.path)
    names = {f"/{part.name}" for part in of_kind["CustomResourceDefinition"]}
    _gone(api, {definitions: names}, seconds, "Flux's resource definitions")


def delete(api: Api, path: str) -> None:
    """Delete one object; one that is not there any more is well."""
    try:
        api.send("DELETE", path, {"kind": "DeleteOptions", "apiVersion": "v1", "propagationPolicy": "Background"})
    except Refused as refused:
        if refused.status != NOT_FOUND:
            raise


def _gone(api: Api, wanted: dict[str, set[str]], seconds: float, what: str) -> None:
    if any(wanted.values()):
        wait_for(api, list(wanted), lambda world: left(world, wanted), seconds=seconds, what=what)


def left(world: World, wanted: dict[str, set[str]]) -> list[str]:
    """The judge of what is gone: a line for each wanted object that is still there, with what holds it. Pure."""
    lines = []
    for path, keys in wanted.items():
        for key in sorted(keys & set(world[path])):
            item = world[path][key]
            held = ", ".join(item["metadata"].get("finalizers") or (item.get("spec") or {}).get("finalizers") or [])
            lines.append(f"{path.rpartition('/')[2]} {key.lstrip('/')} to go" + (f" (held by {held})" if held else ""))
    return lines
