"""Hand over from a delivery that earlier settings declared to the one of today's settings. Nothing is pruned.

Flux takes the old objects over when the new Kustomization applies them. What only the old one had stays in the cluster
and is named: nobody can tell a renamed repository from a second project on the same cluster, so it is not deleted.
A changed branch, path or URL changes the same Kustomization, and Flux prunes what its new files lack, as always.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from threezone.clients.kubernetes.api import Api, Forbidden, Json
from threezone.clients.kubernetes.watch import key_of
from threezone.cluster.lab import WAIT_SECONDS, Lab
from threezone.core.errors import DeliveryError
from threezone.core.events import note, step
from threezone.core.labels import PREVIEW
from threezone.core.plan import Step, StepKind
from threezone.delivery import git_server, sync
from threezone.delivery.repository import Commit
from threezone.delivery.sync import Target
from threezone.flux import deletion, objects
from threezone.flux.objects import KUSTOMIZE, Entry

ALL_KUSTOMIZATIONS = f"/apis/{KUSTOMIZE}/v1/kustomizations"


@dataclass(frozen=True)
class Declared:
    """A delivery that threezone declared, with what Flux's objects say; "" for an object that is gone."""

    target: Target
    url: str = ""
    branch: str = ""
    path: str = ""

    def __str__(self) -> str:
        return f"{self.target.name} ({', '.join(filter(None, (self.url, self.branch, self.path)))})"


def observe(api: Api, target: Target) -> tuple[Declared, ...]:
    """The deliveries that threezone declared in the target's namespace; reads two lists."""
    return read((api.get(target.sources) or {}).get("items") or [], _kustomizations(api, target), target)


def _kustomizations(api: Api, target: Target) -> list[Json]:
    """Every Kustomization; those of the target's namespace for a login that may not list the others."""
    try:
        listed = api.get(ALL_KUSTOMIZATIONS)
    except Forbidden:
        listed = api.get(target.kustomizations)
    return list((listed or {}).get("items") or [])


def read(sources: Iterable[Json], kustomizations: Sequence[Json], target: Target) -> tuple[Declared, ...]:
    """The deliveries that threezone declared in the target's namespace. Pure.

    A source without its Kustomization is left out where only Flux objects of others read it: it serves them. Previews
    are no deliveries of earlier settings.
    """
    by_key = {key_of(item): item for item in kustomizations}
    ours = {item["metadata"]["name"]: item for item in sources if _is_delivery(item)}
    roots = {
        item["metadata"]["name"]: item
        for item in kustomizations
        if item["metadata"]["namespace"] == target.namespace and _is_delivery(item)
    }
    declared = []
    for name in sorted({*ours, *roots}):
        each = Target(name, target.namespace)
        owners = {owner(item, by_key) for item in readers(kustomizations, each)}
        if name in roots or not owners or owners & {key(each), key(target)}:
            source, root = ((items.get(name) or {}).get("spec") or {} for items in (ours, roots))
            branch, path = (source.get("ref") or {}).get("branch", ""), root.get("path", "")
            declared.append(Declared(each, str(source.get("url", "")), str(branch), _path(path) if path else ""))
    return tuple(declared)


def _is_delivery(item: Json) -> bool:
    return objects.declared_by_us(item["metadata"]) and PREVIEW not in (item["metadata"].get("labels") or {})


def _path(path: str) -> str:
    return str(PurePosixPath(path))


def key(target: Target) -> str:
    """`namespace/name` of the target's Kustomization."""
    return f"{target.namespace}/{target.name}"


def readers(kustomizations: Iterable[Json], target: Target) -> list[Json]:
    """The Kustomizations that apply the target's source. Pure."""
    wanted = ("GitRepository", target.name, target.namespace)
    return [
        item
        for item in kustomizations
        for ref in [item["spec"].get("sourceRef") or {}]
        if (ref.get("kind"), ref.get("name"), ref.get("namespace") or item["metadata"]["namespace"]) == wanted
    ]


def owner(item: Json, by_key: Mapping[str, Json]) -> str:
    """`namespace/name` of the Kustomization at the root of those that brought this one. Pure."""
    passed: set[str] = set()
    while True:
        labels, own = item["metadata"].get("labels") or {}, key_of(item)
        parent = f"{labels.get(f'{KUSTOMIZE}/namespace', '')}/{labels.get(f'{KUSTOMIZE}/name', '')}"
        if parent == "/" or own in passed:
            return own
        if parent not in by_key:
            return parent
        passed.add(own)
        item = by_key[parent]


def former(declared: Iterable[Declared], target: Target) -> tuple[Declared, ...]:
    """The deliveries that today's settings do not name."""
    return tuple(each for each in declared if each.target.name != target.name)


def changes(lab: Lab, declared: Iterable[Declared], commit: Commit | None) -> tuple[str, ...]:
    """Sentences about what the settings change in the declared deliveries, with old and new values. Pure."""
    gitops, target = lab.settings.gitops, sync.target_of(lab)
    path = _path(commit.path) if commit else ""  # the path in the repository is known with the commit
    new = Declared(target, gitops.url or git_server.url(gitops.repository), gitops.branch, path)
    sentences = []
    for old in declared:
        if old.target.name != target.name:
            sentences.append(f"replace the delivery {old} by {new}; its objects are taken over, none is deleted")
            continue
        values = (("url", old.url, new.url), ("branch", old.branch, new.branch), ("path", old.path, new.path))
        if different := [f"{name} {was} -> {now}" for name, was, now in values if was and now and was != now]:
            sentences.append(f"change the delivery {target.name}: {', '.join(different)}")
    return tuple(sentences)


def plan(lab: Lab, declared: Iterable[Declared], commit: Commit | None) -> tuple[Step, ...]:
    """A step for each change. On a cluster of others it asks: the old delivery may be that of a colleague."""
    return tuple(
        Step(StepKind.REPLACE_DELIVERY, sentence, asks=bool(lab.foreign)) for sentence in changes(lab, declared, commit)
    )


def release(api: Api, old: Sequence[Declared]) -> tuple[Entry, ...]:
    """Delete the old Kustomizations, without pruning, before the new one applies. Returns what they had applied.

    Once one is gone, its last run has ended too, so it cannot apply an old commit over the new one.
    """
    items = [item for each in old if (item := api.get(each.target.paths[1]))]
    with step(f"take over from {', '.join(each.target.name for each in old)}, without pruning"):
        return _release(api, items)


def _release(api: Api, items: Sequence[Json]) -> tuple[Entry, ...]:
    wanted: dict[str, list[str]] = {}
    paths = []
    for item in items:
        collection = sync.KUSTOMIZATION.format(namespace=item["metadata"]["namespace"])
        wanted.setdefault(collection, []).append(key_of(item))
        paths.append(f"{collection}/{item['metadata']['name']}")
    for path in paths:  # before any is deleted: a run of theirs would prune, or restore what is deleted
        api.merge(path, {"spec": {"suspend": True, "prune": False}})
    for path in paths:
        deletion.delete(api, path)
    deletion.wait_gone(api, wanted, WAIT_SECONDS, "the end of the old delivery")
    return tuple(entry for item in items for entry in objects.inventory(item))


def finish(api: Api, target: Target, old: Sequence[Declared], held: Sequence[Entry]) -> None:
    """Delete the old sources after the new delivery, and name the objects that only the old one had.

    Raises DeliveryError when the new delivery itself brings a Kustomization that reads an old source.
    """
    kept = list(held)
    for each in old:
        items = _kustomizations(api, target)
        by_key = {key_of(item): item for item in items}
        reading = {key_of(item): owner(item, by_key) for item in readers(items, each.target)}
        if own := [name for name, root in reading.items() if root == key(target)]:
            raise DeliveryError(
                f"{', '.join(own)} still applies the GitRepository {each.target.name}, which {target.name} replaces",
                fix=f"name {target.name} in its sourceRef, commit, and ./run invoke gitops.push",
            )
        children = [by_key[name] for name, root in reading.items() if root == key(each.target)]
        kept += _release(api, children)
        if others := [name for name, root in reading.items() if root != key(each.target)]:
            note(f"the GitRepository {each.target.name} stays, for {', '.join(others)} reads it")
            continue
        deletion.delete(api, each.target.paths[0])
        deletion.wait_gone(api, {each.target.sources: [key(each.target)]}, WAIT_SECONDS, "the end of the old source")
        secret = f"/api/v1/namespaces/{each.target.namespace}/secrets/{each.target.name}-git"
        if (item := api.get(secret)) and objects.declared_by_us(item["metadata"]):
            deletion.delete(api, secret)
    for entry in left(api, target, kept):
        note(f"{entry} stays: only the old delivery had it, and nothing delivers it now")


def left(api: Api, target: Target, held: Sequence[Entry]) -> list[Entry]:
    """What the old delivery had and the new one, with the Kustomizations that it brings, has not."""
    items = _kustomizations(api, target)
    by_key = {key_of(item): item for item in items}
    has = {
        (entry.kind, entry.group, entry.key)
        for item in items
        if owner(item, by_key) == key(target)
        for entry in objects.inventory(item)
    }
    gone = {(KUSTOMIZE, "Kustomization")}
    return [
        entry
        for entry in dict.fromkeys(held)
        if (entry.kind, entry.group, entry.key) not in has
        and not ((entry.group, entry.kind) in gone and entry.key not in by_key)
    ]
