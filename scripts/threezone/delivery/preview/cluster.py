"""The previews of a cluster: found by their label, with their namespaces and the rights of Flux in them."""

from __future__ import annotations

from collections.abc import Mapping

from threezone.clients.kubernetes.api import Api, Json
from threezone.clients.kubernetes.watch import NAMESPACES, wait_for_namespace_deletion
from threezone.cluster.lab import Lab
from threezone.core.errors import UsageError
from threezone.core.labels import PREVIEW
from threezone.delivery import sync
from threezone.delivery.preview import model
from threezone.delivery.preview.layout import Layout
from threezone.delivery.preview.model import Preview, meta, name_of, slug
from threezone.delivery.sync import Target

RBAC = "rbac.authorization.k8s.io"
BINDING = "threezone-preview"  # the name of the RoleBinding in each of the namespaces
OF = f"{PREVIEW}-of"  # the annotation of a namespace with main's name for it


def target_of(lab: Lab, branch: str) -> Target:
    """The Flux objects of a branch's preview, in the namespace of main's."""
    return Target(name_of(branch), sync.target_of(lab).namespace)


def observe(lab: Lab) -> tuple[Preview, ...]:
    """All previews, by name."""
    target = sync.target_of(lab)
    sources, roots = (
        (lab.api.get(path, labelSelector=PREVIEW) or {}).get("items") or []
        for path in (target.sources, target.kustomizations)
    )
    return model.read(sources, roots)


def find(lab: Lab, branch: str) -> Preview | None:
    """The preview of a branch."""
    return next((each for each in observe(lab) if each.branch == branch), None)


def namespaces(api: Api, branch: str) -> tuple[str, ...]:
    """The names of the namespaces that a branch's preview has."""
    listed = api.get(NAMESPACES, labelSelector=f"{PREVIEW}={slug(branch)}") or {}
    return tuple(item["metadata"]["name"] for item in listed.get("items") or [])


def account_path(target: Target) -> str:
    """The API path of the ServiceAccount as which Flux applies the preview."""
    return f"/api/v1/namespaces/{target.namespace}/serviceaccounts/{target.name}"


def require_free(api: Api, preview: Preview, target: Target, layout: Layout) -> None:
    """Raise UsageError when a namespace or an object of Flux has a name that the preview needs."""
    wanted = [*(f"{NAMESPACES}/{name}" for name in dict.fromkeys(layout.namespaces.values())), *target.paths]
    for path in (*wanted, account_path(target)):
        item = api.get(path)
        if item and (item["metadata"].get("labels") or {}).get(PREVIEW) != slug(preview.branch):
            kind, _, name = path.removeprefix("/").rpartition("/")
            raise UsageError(
                f"the preview of {preview.branch} needs the name {name}, which something else has",
                evidence=f"{kind.rpartition('/')[2]} {name} has no label {PREVIEW}={slug(preview.branch)}",
                fix="rename the branch, or remove that object if it is yours",
            )


def make(api: Api, preview: Preview, target: Target, layout: Layout) -> None:
    """Make the namespaces, and the ServiceAccount that may do everything in them and nothing elsewhere."""
    account = {"apiVersion": "v1", "kind": "ServiceAccount"}
    api.apply(
        account_path(target), {**account, "metadata": {**meta(preview, target.name), "namespace": target.namespace}}
    )
    for old, name in layout.namespaces.items():
        wait_for_namespace_deletion(api, name)
        api.apply(f"{NAMESPACES}/{name}", namespace(preview, name, old, layout.metadata.get(old) or {}))
        path = f"/apis/{RBAC}/v1/namespaces/{name}/rolebindings/{BINDING}"
        api.apply(path, binding(preview, name, target))


def namespace(preview: Preview, name: str, old: str, metadata: Mapping[str, Mapping[str, str]]) -> Json:
    """A namespace of the preview, in place of `old`. Pure."""
    own = meta(preview, name)
    labels = {**metadata.get("labels", {}), **own["labels"]}
    annotations = {**metadata.get("annotations", {}), OF: old}
    return {
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": {"name": name, "labels": labels, "annotations": annotations},
    }


def binding(preview: Preview, name: str, target: Target) -> Json:
    """The rights of the ServiceAccount in one namespace. Pure."""
    return {
        "apiVersion": f"{RBAC}/v1",
        "kind": "RoleBinding",
        "metadata": {**meta(preview, BINDING), "namespace": name},
        "roleRef": {"apiGroup": RBAC, "kind": "ClusterRole", "name": "cluster-admin"},
        "subjects": [{"kind": "ServiceAccount", "name": target.name, "namespace": target.namespace}],
    }
