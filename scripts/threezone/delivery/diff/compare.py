"""Compare what Flux would apply with the live cluster, or with another revision."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from threezone.clients.kubernetes.api import Json
from threezone.cluster.lab import Lab
from threezone.core.errors import ClusterError
from threezone.core.events import step
from threezone.delivery.check.check import Place, connect, rendered
from threezone.delivery.check.cluster import Answer, Cluster
from threezone.delivery.check.content import not_rendered
from threezone.delivery.check.fields import applied
from threezone.delivery.check.model import Group, Id, Key, Rendering, annotated, id_of, is_masked, key_of, meta
from threezone.delivery.check.source import tree
from threezone.delivery.diff.changes import Change, Diff, change, cleaned, without_defaults
from threezone.flux.objects import KUSTOMIZE, Entry, inventory

LIVE = "the live cluster"


def diff(lab: Lab, revision: str = "", base: str = "") -> Diff:
    """What delivering a revision (the working tree) would change, in the live cluster or compared with `base`.

    Raises ClusterError without a cluster that answers, unless there is a `base`, which needs none.
    """
    path = lab.settings.gitops.path
    if base:
        place = Place(lab, None)
        with tree(lab.root, path, base) as files:
            old, old_label = rendered(place, files, strict=False), files.label
    else:
        place = connect(lab)
        if place.cluster is None:
            raise ClusterError(
                f"the cluster {lab.display_name} does not answer, so there is nothing to compare with",
                fix="./run invoke gitops.diff --base HEAD compares two revisions without a cluster",
            )
    with tree(lab.root, path, revision) as files:
        new, label = rendered(place, files, strict=False), files.label
    notes = [*(finding.message for finding in new.findings), *new.unchecked, *not_rendered(new)]
    if place.cluster is None:
        return Diff(old_label, label, tuple(between(old, new)), tuple(dict.fromkeys(notes)))
    with step("compare with the cluster"):
        changes, refused = _with_live(place, place.cluster, new)
    return Diff(LIVE, label, tuple(changes), tuple(dict.fromkeys([*notes, *refused])))


def between(old: Rendering, new: Rendering) -> Iterator[Change]:
    """The changes from one rendering to another. Pure."""
    before, after = old.by_id(), new.by_id()
    secrets = old.secrets | new.secrets
    for what, [(group, item), *_] in after.items():
        was = before[what][0][1] if what in before else None
        if was is None:
            yield change("create", group.key.name, None, item, secrets=secrets)
        elif cleaned(was) != cleaned(item):
            yield change("change", group.key.name, was, item, secrets=secrets)
    for what, [(group, item), *_] in before.items():
        if what not in after and group.key not in new.failed:
            yield change("delete", group.key.name, item, None, secrets=secrets)


def _with_live(place: Place, cluster: Cluster, new: Rendering) -> tuple[list[Change], list[str]]:
    pairs = applied(new)
    answers = cluster.dry_runs([item for _, item in pairs], with_live=True)
    changes, refused = [], []
    for (group, _), answer in zip(pairs, answers, strict=True):
        if answer.refusal is not None:
            refused.append(f"{id_of(answer.item)}: {answer.words}")
        elif found := of_answer(group, answer, new.secrets):
            changes.append(found)
    here = {id_of(item) for _, item in new.objects}
    changes += _deleted(place, cluster, new, here)
    return changes, refused


def of_answer(group: Group, answer: Answer, secrets: frozenset[str]) -> Change | None:
    """The change that a dry run shows; None for none. Pure."""
    live, item, by = answer.live, answer.item, group.key.name
    if live is None:  # defaults are not shown
        return change("create", by, None, item, secrets=secrets)
    if answer.merged is None or annotated(item, f"{KUSTOMIZE}/ssa").lower() == "ifnotpresent":
        return None
    merged = _with_live_values(answer.merged, live, item)
    before, after = cleaned(live), cleaned(merged)
    if before == after:
        return None
    before, after = without_defaults(before, after, {**item, "metadata": {**meta(item), "name": "", "namespace": ""}})
    names = {"apiVersion": item.get("apiVersion"), "kind": item.get("kind")}
    return change("change", by, {**before, **names}, {**after, **names}, secrets=secrets)


def _with_live_values(merged: Json, live: Json, item: Json) -> Json:
    """A Secret with the live values in place of encrypted ones, which are not known here."""
    if id_of(item)[:2] != ("", "Secret"):
        return merged
    encrypted = {
        name for part in ("data", "stringData") for name, value in (item.get(part) or {}).items() if is_masked(value)
    }
    old = live.get("data") or {}
    values = {
        name: old.get(name, value) if name in encrypted else value for name, value in merged.get("data", {}).items()
    }
    return {**merged, "data": values}


@dataclass(frozen=True)
class _Owned:
    """An object of a Kustomization's inventory."""

    by: Key
    entry: Entry

    @property
    def what(self) -> Id:
        """What tells it from others."""
        return Id(self.entry.group, self.entry.kind, self.entry.namespace, self.entry.name)


def _deleted(place: Place, cluster: Cluster, new: Rendering, here: set[Id]) -> Iterator[Change]:
    """The objects that Flux would prune: those in the inventories that no Kustomization brings any more."""
    groups = {group.key: group for group in new.groups}
    root = new.groups[0].kustomization if new.groups else None
    live = place.live(id_of(root)) if root else None
    for owned in _owned(cluster, live, groups, new):
        if owned.what in here:
            continue
        path_of = {
            "apiVersion": f"{owned.entry.group}/{owned.entry.version}" if owned.entry.group else owned.entry.version,
            "kind": owned.entry.kind,
            "metadata": {"name": owned.entry.name, "namespace": owned.entry.namespace},
        }
        path = cluster.path(path_of)
        item = cluster.api.get(path) if path else None
        if item is not None and annotated(item, f"{KUSTOMIZE}/prune") != "disabled":
            yield change("delete", owned.by.name, item, None, secrets=new.secrets)


def _owned(cluster: Cluster, root: Json | None, groups: dict[Key, Group], new: Rendering) -> Sequence[_Owned]:
    """The inventories of the Kustomizations below `root` that prune, as the commit declares them."""
    found: dict[Id, _Owned] = {}
    queue = [root] if root else []
    seen: set[Key] = set()
    while queue:
        item = queue.pop(0)
        key = key_of(item)
        if key in seen or key in new.failed or "kubeConfig" in (item.get("spec") or {}):
            continue
        seen.add(key)
        spec = groups[key].spec if key in groups else item.get("spec") or {}
        policy = spec.get("deletionPolicy", "MirrorPrune")
        prunes = spec.get("prune") if key in groups or policy == "MirrorPrune" else policy == "Delete"
        for entry in inventory(item):
            owned = _Owned(key, entry)
            if prunes:
                found.setdefault(owned.what, owned)
            if (entry.group, entry.kind) == (KUSTOMIZE, "Kustomization") and (child := cluster.live(owned.what)):
                is_known = key_of(child) in groups or owned.what not in {id_of(each) for _, each in new.objects}
                queue += [child] if is_known else []
    return list(found.values())
