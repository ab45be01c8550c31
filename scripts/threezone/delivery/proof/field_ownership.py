"""Who owns the fields of an object: read from its managedFields, which the API server keeps. Pure.

https://kubernetes.io/docs/reference/using-api/server-side-apply/#field-management
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from threezone.clients.kubernetes.api import Json

FLUX = "kustomize-controller"
# What Kubernetes itself writes outside an object's status: the Deployment's revision, say.
KUBERNETES = {"kube-controller-manager", "kubelet"}
SHOWN = 4  # fields of a foreign manager that are named


def seen(items: Iterable[Json]) -> list[str]:
    """The managers of the objects, those of a status alone marked so."""
    return sorted({_name(entry) for item in items for entry in _entries(item)})


def foreign(items: Iterable[Json]) -> list[str]:
    """A line for each manager beside Flux that owns what is declared: the object, the manager, its fields.

    A status is not declared: whoever runs the object writes it.
    """
    return [
        f"{item.get('kind', 'object')} {item['metadata'].get('namespace', '')}/{item['metadata']['name']}: "
        f"{entry['manager']} owns {_shown(entry)}"
        for item in items
        for entry in _entries(item)
        if entry["manager"] != FLUX and entry["manager"] not in KUBERNETES and entry.get("subresource") != "status"
    ]


def owns(item: Json, manager: str) -> bool:
    """Whether `manager` owns any field of the object."""
    return any(entry["manager"] == manager for entry in _entries(item))


def _entries(item: Json) -> list[Json]:
    return list(item["metadata"].get("managedFields") or [])


def _name(entry: Json) -> str:
    return f"{entry['manager']} ({entry['subresource']})" if entry.get("subresource") else str(entry["manager"])


def _shown(entry: Json) -> str:
    names = sorted(_fields(entry.get("fieldsV1") or {}))
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more


def _fields(tree: Json, above: str = "") -> Iterator[str]:
    """The leaves of a fieldsV1 set as paths: `f:spec: {f:replicas: {}}` is `spec.replicas`."""
    for key, below in tree.items():
        if key == ".":
            continue
        path = f"{above}.{key.removeprefix('f:')}" if above else key.removeprefix("f:")
        if below and below.keys() != {"."}:
            yield from _fields(below, path)
        else:
            yield path
