"""The tasks, one module per namespace. `collection()` is what another repository's tasks.py imports."""

from __future__ import annotations

from importlib import import_module

from invoke import Collection

NAMESPACES = ("engine",)


def collection() -> Collection:
    """All tasks of threezone as an invoke collection: `from threezone.tasks import collection; namespace = collection()`."""
    root = Collection()
    for name in NAMESPACES:
        root.add_collection(Collection.from_module(import_module(f"threezone.tasks.{name}"), name=name))
    return root
