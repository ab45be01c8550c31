"""Which namespaces a preview has, and what it may not bring. Pure.

What is in one namespace goes to another one by `targetNamespace`. Of several, each gets a suffix, by patches. The
Namespaces themselves are taken out: the preview's are made beforehand, and Flux may write nowhere else.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from threezone.clients.kubernetes.api import Json
from threezone.core.errors import UsageError
from threezone.core.labels import PREVIEW
from threezone.delivery.check.model import id_of, is_kustomization, meta
from threezone.delivery.preview.model import Preview, slug, suffixed
from threezone.delivery.sync import Target, manifest
from threezone.flux.objects import KUSTOMIZE

# Whether a kind is in namespaces; None for one that the cluster does not serve.
IsNamespaced = Callable[[Json], bool | None]
# What a preview takes from the Kustomization of main.
SHARED = ("decryption", "images", "components")
WITHOUT_NAMESPACES: Json = {
    "target": {"kind": "Namespace"},
    "patch": json.dumps({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "any"}, "$patch": "delete"}),
}
FIX = "preview a path without them: --path, with a kustomization that lists only what a branch may have twice"


@dataclass(frozen=True)
class Layout:
    """The preview's namespaces by main's names for them, with the labels and annotations of main's.

    `single` is the namespace for everything, "" where there are several; `patches` move objects then.
    """

    namespaces: Mapping[str, str]
    metadata: Mapping[str, Json] = field(default_factory=dict)
    single: str = ""
    patches: tuple[Json, ...] = ()


def decide(preview: Preview, objects: Sequence[Json], is_namespaced: IsNamespaced) -> Layout:
    """The layout for objects as they are rendered for main. Raises UsageError for what only main may have."""
    _refuse(objects, is_namespaced)
    made = {id_of(item).name: _labels(item) for item in objects if _is_namespace(item)}
    names = sorted({id_of(item).namespace for item in objects if not _is_namespace(item)} - {""} | made.keys())
    if len(names) <= 1:
        return Layout(dict.fromkeys(names or [""], preview.name), made, preview.name)
    if loose := [str(id_of(item)) for item in objects if not _is_namespace(item) and not id_of(item).namespace]:
        raise UsageError(
            "the path has several namespaces, and objects that name none of them",
            evidence="\n".join(loose),
            fix="set metadata.namespace, or the kustomization's own namespace",
        )
    namespaces = {name: suffixed(name, preview.branch) for name in names}
    if both := sorted(set(names) & set(namespaces.values())):
        raise UsageError(
            f"the namespace {both[0]} of the path has the name that the preview's own would have",
            fix="rename the branch",
        )
    return Layout(namespaces, made, patches=tuple(_moves(namespaces, objects)))


def _refuse(objects: Iterable[Json], is_namespaced: IsNamespaced) -> None:
    """Raise UsageError for objects that the whole cluster shares, and for what delivers outside of the preview."""
    shared = [item for item in objects if not _is_namespace(item) and is_namespaced(item) is False]
    if shared:
        raise UsageError(
            "the path has objects that the whole cluster shares: the preview would change them for main too",
            evidence="\n".join(str(id_of(item)) for item in shared),
            fix=FIX,
        )
    elsewhere = [item for item in objects if is_kustomization(item) or _is_release_elsewhere(item)]
    if elsewhere:
        raise UsageError(
            "the path has objects of Flux that deliver to namespaces of their own, outside of the preview",
            evidence="\n".join(str(id_of(item)) for item in elsewhere),
            fix=FIX,
        )


def _is_release_elsewhere(item: Json) -> bool:
    spec = item.get("spec") or {}
    return item.get("kind") == "HelmRelease" and any(spec.get(key) for key in ("targetNamespace", "storageNamespace"))


def _is_namespace(item: Json) -> bool:
    return id_of(item)[:2] == ("", "Namespace")


def _labels(item: Json) -> Json:
    """The labels and annotations of a Namespace, such as those of pod security, without Flux's own."""
    kept = {key: dict(meta(item).get(key) or {}) for key in ("labels", "annotations")}
    return {
        key: {name: value for name, value in values.items() if not name.startswith(KUSTOMIZE)}
        for key, values in kept.items()
    }


def _moves(namespaces: Mapping[str, str], objects: Sequence[Json]) -> Iterable[Json]:
    """The patches that move objects, and the subjects of RoleBindings with them."""
    for item in objects:
        found = id_of(item)
        operations = [
            {"op": "replace", "path": f"/subjects/{number}/namespace", "value": namespaces[subject["namespace"]]}
            for number, subject in enumerate(item.get("subjects") or ())
            if found.kind == "RoleBinding" and subject.get("namespace") in namespaces
        ]
        if operations:
            target = {"kind": found.kind, "name": found.name, "namespace": found.namespace}
            yield {"target": target, "patch": json.dumps(operations)}
    for old, new in namespaces.items():
        operation = {"op": "add", "path": "/metadata/namespace", "value": new}
        yield {"target": {"namespace": old}, "patch": json.dumps([operation])}


def kustomization(preview: Preview, target: Target, path: str, main: Json, layout: Layout | None = None) -> Json:
    """The preview's Kustomization, with what it shares with `main`'s spec; without a layout, as main would be.

    Flux applies as the preview's own ServiceAccount, which may change the preview's namespaces and nothing else.
    """
    item = manifest(target, path)
    spec = {**item["spec"], **{key: main[key] for key in SHARED if key in main}}
    post = dict(main.get("postBuild") or {})
    post["substitute"] = {**(post.get("substitute") or {}), "branch": preview.branch, "preview": preview.name}
    spec["postBuild"] = post
    patches = list(main.get("patches") or ())
    if layout is not None:
        spec |= {"serviceAccountName": target.name, "commonMetadata": {"labels": {PREVIEW: slug(preview.branch)}}}
        spec |= {"targetNamespace": layout.single} if layout.single else {}
        patches += [WITHOUT_NAMESPACES, *layout.patches]
    spec |= {"patches": patches} if patches else {}
    return {**item, "metadata": {**item["metadata"], "labels": {PREVIEW: slug(preview.branch)}}, "spec": spec}


def require_inside(layout: Layout, objects: Iterable[Json]) -> None:
    """Raise UsageError when Flux would apply something outside of the preview's namespaces."""
    allowed = set(layout.namespaces.values())
    if outside := [str(id_of(item)) for item in objects if id_of(item).namespace not in allowed]:
        raise UsageError(
            "the path has objects that cannot be moved into the preview's namespaces", evidence="\n".join(outside),
            fix=FIX,
        )  # fmt: skip
