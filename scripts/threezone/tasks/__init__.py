"""The tasks, one module per namespace. `collection()` is what another repository's tasks.py imports."""

from __future__ import annotations

import atexit
import sys
from importlib import import_module

from invoke import Collection

# The namespaces by what one wants to do, as `threezone --list` shows them. The first group has the tasks of the root.
GROUPS: dict[str, tuple[str, ...]] = {
    "The whole lab": (),
    "Deliver by commit": ("gitops", "preview", "secret", "flux", "report"),
    "The cluster": ("cluster",),
    "Reach it from where you are": ("kubeconfig", "zones"),
    "Images": ("image", "registry", "bundle"),
    "Apps and add-ons": ("app", "addon"),
    "Pipelines": ("ci",),
    "The engine and the tools": ("engine", "tools"),
}
NAMESPACES = tuple(namespace for namespaces in GROUPS.values() for namespace in namespaces)


def collection() -> Collection:
    """All tasks of threezone, assembled, for a project's tasks.py to call its namespace."""
    from threezone.tasks import doctor, gitops_check, init, lab, runtime

    sys.excepthook = runtime.uncaught
    atexit.register(runtime.flush)

    root = Collection(init.init, lab.up, lab.down, lab.status, doctor.doctor)
    for name in NAMESPACES:
        root.add_collection(Collection.from_module(import_module(f"threezone.tasks.{name}"), name=name))
    for each in (gitops_check.check, gitops_check.diff):
        root.collections["gitops"].add_task(each)
    return root
