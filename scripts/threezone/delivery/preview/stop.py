"""Stop previews: everything of theirs is removed, and main is not touched. Repeating it continues where it ended."""

from __future__ import annotations

import tempfile
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from threezone.clients.git.checkout import Checkout
from threezone.clients.git.command import refs
from threezone.clients.git.own import Own
from threezone.clients.kubernetes.watch import NAMESPACES, key_of
from threezone.cluster.lab import WAIT_SECONDS, Lab
from threezone.core.errors import DeliveryError
from threezone.core.events import note, step
from threezone.core.plan import Step, StepKind
from threezone.delivery import git_server
from threezone.delivery.preview import cluster
from threezone.delivery.preview.model import EXPIRES, Preview
from threezone.flux import deletion, objects


def ended(lab: Lab, now: datetime) -> tuple[tuple[Preview, str], ...]:
    """The previews whose time has ended or whose branch is gone, each with the reason."""
    previews = cluster.observe(lab)
    served = branches(lab) if previews else None
    checkout = Checkout(lab.root)

    def is_deleted(preview: Preview) -> bool:
        # A checkout that never had the commit knows nothing about the branch: it may be a colleague's.
        known = bool(preview.commit) and checkout.revision(preview.commit).ok
        return known and not checkout.revision(f"refs/heads/{preview.branch}").ok

    reasons = ((preview, reason(preview, now, served, deleted=is_deleted(preview))) for preview in previews)
    return tuple((preview, words) for preview, words in reasons if words)


def reason(preview: Preview, now: datetime, served: Collection[str] | None, *, deleted: bool) -> str:
    """Why a preview has ended, "" when it has not; `served` are the Git server's branches, None where it is not asked.

    One that was never pushed has no branch on the server: it is being started. Pure.
    """
    if preview.is_expired(now):
        return f"its time ended at {preview.expires.isoformat()}" if preview.expires else ""
    if deleted:
        return "its branch is deleted"
    if served is not None and preview.applied and preview.branch not in served:
        return "its branch is not on the lab's Git server"
    return ""


def branches(lab: Lab) -> frozenset[str] | None:
    """The branches of the lab's repository on its Git server; None where no Git server runs."""
    if not git_server.is_installed(lab.api):
        return None
    with _server(lab) as (own, url):
        answer = own.remote_refs(url, "--heads")
    if not answer.ok:
        raise DeliveryError("the lab's Git server does not answer", evidence=answer.words, fix="./run invoke status")
    return frozenset(name.removeprefix("refs/heads/") for name in refs(answer.text))


@contextmanager
def _server(lab: Lab) -> Iterator[tuple[Own, str]]:
    """An empty repository of ours, and the address of the lab's repository on its Git server."""
    with git_server.forwarded(lab) as forward, tempfile.TemporaryDirectory(prefix="threezone-") as directory:
        own = Own(Path(directory, "empty.git"))
        own.init()
        yield own, f"http://{forward.address}/{lab.settings.gitops.repository}.git"


def plan(lab: Lab, previews: Iterable[tuple[Preview, str]]) -> tuple[Step, ...]:
    """A step for each preview, with the reason. Pure."""
    return tuple(
        Step(
            StepKind.STOP_PREVIEW,
            f"remove the preview of {preview.branch} with {', '.join(preview.namespaces.values()) or 'what it has'}, "
            f"and its branch on the lab's Git server{f': {words}' if words else ''}",
            f"./run invoke preview.stop --branch {preview.branch}",
            asks=bool(lab.foreign),
            target=preview.branch,
        )
        for preview, words in previews
    )


def stop(lab: Lab, preview: Preview) -> None:
    """Remove a preview: what Flux applied, its namespaces, the branch on the lab's Git server, and then its record."""
    api, target = lab.api, cluster.target_of(lab, preview.branch)
    source, kustomization = target.paths
    with step(f"remove the preview of {preview.branch}"):
        if api.get(source):  # from now on its time has ended: no watch starts it again, and prune ends what is killed
            past = {EXPIRES: datetime.now(UTC).isoformat()}
            api.merge(source, {"metadata": {"annotations": past}})
        if item := api.get(kustomization):
            deletion.delete(api, kustomization)
            deletion.wait_gone(api, {target.kustomizations: [key_of(item)]}, WAIT_SECONDS, f"the end of {target.name}")
            wanted: dict[str, list[str]] = {}
            for entry in objects.inventory(item):
                wanted.setdefault(entry.collection, []).append(entry.key)
            deletion.wait_gone(api, wanted, WAIT_SECONDS, f"the end of what {target.name} applied")
        names = cluster.namespaces(api, preview.branch)
        for name in names:
            deletion.delete(api, f"{NAMESPACES}/{name}")
        deletion.wait_gone(api, {NAMESPACES: [f"/{name}" for name in names]}, WAIT_SECONDS, "the end of its namespaces")
        deletion.delete(api, cluster.account_path(target))
        _delete_branch(lab, preview)
        if item := api.get(source):
            deletion.delete(api, source)
            deletion.wait_gone(api, {target.sources: [key_of(item)]}, WAIT_SECONDS, f"the end of {target.name}")


def _delete_branch(lab: Lab, preview: Preview) -> None:
    """Delete the branch on the lab's Git server, never that of main."""
    if not git_server.is_installed(lab.api) or preview.branch == lab.settings.gitops.branch:
        return
    secret = git_server.password(lab.api, lab.key)
    ref = f"refs/heads/{preview.branch}"
    with _server(lab) as (own, url):
        listed = own.remote_refs(url, "--heads")
        sha = refs(listed.text).get(ref, "")
        if listed.ok and not sha:
            return
        answer = own.push(url, [f":{ref}"], user=git_server.USER, password=secret) if listed.ok else listed
    if "deletion of the current branch" in answer.words:  # HEAD of the repository is always there
        note(f"the branch {preview.branch} stays on the lab's Git server: it is the repository's first one")
        return
    if not answer.ok:
        raise DeliveryError(
            f"the branch {preview.branch} could not be deleted on the lab's Git server",
            evidence=answer.words,
            fix="./run invoke gitops.serve, and the same again",
        )
    note(f"the branch {preview.branch} was at {sha[:7]}")
