"""Kustomizations and objects as data, for the tests of rules."""

from __future__ import annotations

from typing import Any

from threezone.clients.kubernetes.api import Json
from threezone.delivery.check.model import Group, Id, Key, Rendering
from threezone.delivery.check.variables import Unknown

SOURCE = "GitRepository/flux-system/lab"


def thing(kind: str, name: str, namespace: str = "", version: str = "v1", **rest: Any) -> Json:
    where = {"namespace": namespace} if namespace else {}
    return {"apiVersion": version, "kind": kind, "metadata": {"name": name, **where}, **rest}


def config(name: str, namespace: str = "app", **data: str) -> Json:
    return thing("ConfigMap", name, namespace, data=data)


def flux(name: str, **spec: Any) -> Json:
    settings = {"path": f"./{name}", "sourceRef": {"kind": "GitRepository", "name": "lab"}, **spec}
    return thing("Kustomization", name, "flux-system", "kustomize.toolkit.fluxcd.io/v1", spec=settings)


def group(name: str, *objects: Json, parent: str = "", complete: bool = True, **spec: Any) -> Group:
    above = Key("flux-system", parent) if parent else None
    return Group(flux(name, **spec), objects, above, complete=complete)


def rendering(*groups: Group, **more: Any) -> Rendering:
    return Rendering(groups, **{"local": {SOURCE: "./"}, **more})


def definition(kind: str, group: str = "example.com", schema: Json | None = None) -> Json:
    versions = [{"name": "v1", "served": True, "schema": {"openAPIV3Schema": schema or {}}}]
    spec = {"group": group, "names": {"kind": kind}, "versions": versions}
    name = f"{kind.lower()}s.{group}"
    return thing("CustomResourceDefinition", name, "", "apiextensions.k8s.io/v1", spec=spec)


def nothing(_: Id) -> Json | None:
    """A cluster that has nothing."""
    return None


def unknown(_: Id) -> Json | None:
    """No cluster."""
    raise Unknown
