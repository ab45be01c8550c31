"""Waiting for a revision that somebody pushed: by hand, in a pipeline, through another tool."""

from __future__ import annotations

from threezone.clients.kubernetes.api import Forbidden
from threezone.cluster.lab import Lab
from threezone.core.events import note
from threezone.delivery import repository, sync
from threezone.delivery import wait as arrival
from threezone.delivery.revision import is_revision
from threezone.flux import components


def wait(lab: Lab, revision: str, kustomization: str = "", seconds: float = 0.0) -> str:
    """Ask Flux to reconcile and wait until it has applied exactly that revision, for `seconds` (0: as settings say).

    `revision` is a full or short SHA, `branch@sha1:SHA`, or a name that the project's repository knows (HEAD);
    `kustomization` is `name` or `namespace/name`, by default the lab's. Returns the revision as Flux spells it.
    Raises UsageError for a revision that nobody knows, DeliveryError as soon as it cannot be applied.
    """
    gitops = lab.settings.gitops
    wanted = revision if is_revision(revision) else repository.resolve(lab.root, revision)
    components.require(components.observe(lab.api))
    ours = sync.target_of(lab)
    namespace, _, name = (kustomization or f"{ours.namespace}/{ours.name}").rpartition("/")
    at = sync.target(lab.api, name, namespace or components.NAMESPACE)
    try:
        stamp = sync.request(lab.api, at)
    except Forbidden as no:  # a job that may only look: whoever may change Flux's objects may have it apply anything
        stamp = ""
        note(f"{no.message}: Flux looks by itself, at its own interval")
    return arrival.wait_applied(lab.api, at, wanted, stamp, seconds or gitops.timeout)
