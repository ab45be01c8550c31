"""Who owns the fields of an object: read from its managedFields, which the API server writes. Pure.

https://kubernetes.io/docs/reference/using-api/server-side-apply/#field-management
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from threezone.clients.kubernetes.api import Json

# Kubernetes itself writes outside an object's status too: the Deployment's revision, say.
EXPECTED = {"kustomize-controller", "kube-controller-manager", "kubelet"}
SHOWN = 4  # fields that are named


def managers(items: Iterable[Json]) -> set[str]:
    """The field managers of the objects; the name of one that writes a status says so."""
    return {
        f"{entry['manager']} ({entry['subresource']})" if entry.get("subresource") else str(entry["manager"])
        for item in items
        for entry in _entries(item)
    }


def foreign(items: Iterable[Json]) -> list[str]:
    """A line for each manager beside Flux that owns declared fields: the object, the manager, its fields.

    A status is not declared: whoever runs the object writes it.
    """
    return [
        f"{item.get('kind', 'object')} {item['metadata'].get('namespace', '')}/{item['metadata']['name']}: "
        f"{entry['manager']} owns {_summary(entry.get('fieldsV1') or {})}"
        for item in items
        for entry in _entries(item)
        if entry["manager"] not in EXPECTED and entry.get("subresource") != "status"
    ]


def owns(item: Json, manager: str) -> bool:
    """Whether `manager` owns any field of the object."""
    return any(entry["manager"] == manager for entry in _entries(item))


def _entries(item: Json) -> list[Json]:
    return list(item["metadata"].get("managedFields") or [])


def _summary(fields: Json) -> str:
    names = sorted(_paths(fields))
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more


def _paths(fields: Json, parent: str = "") -> Iterator[str]:
    """The leaves of a fieldsV1 set as paths: `f:spec: {f:replicas: {}}` is `spec.replicas`."""
    for key, children in fields.items():
        path = parent + key.removeprefix("f:")
        if children and children.keys() != {"."}:
            yield from _paths(children, f"{path}.")
        elif key != ".":
            yield path
