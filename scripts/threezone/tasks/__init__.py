"""The tasks, one module per namespace. `collection()` is what another repository's tasks.py imports."""

from __future__ import annotations

import atexit
import sys
from importlib import import_module

from invoke import Collection

NAMESPACES = (
    "addon",
    "app",
    "ci",
    "cluster",
    "engine",
    "flux",
    "gitops",
    "image",
    "kubeconfig",
    "registry",
    "report",
    "tools",
    "zones",
)


def collection() -> Collection:
    """All tasks of threezone, assembled, for a project's tasks.py to call its namespace."""
    from threezone.tasks import doctor, gitops_check, lab, runtime

    sys.excepthook = runtime.uncaught
    atexit.register(runtime.flush)

    root = Collection(lab.up, lab.down, lab.status, doctor.doctor)
    for name in NAMESPACES:
        root.add_collection(Collection.from_module(import_module(f"threezone.tasks.{name}"), name=name))
    for each in (gitops_check.check, gitops_check.diff):
        root.collections["gitops"].add_task(each)
    return root
