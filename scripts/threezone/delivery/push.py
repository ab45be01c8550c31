"""A commit on its way: pushed, fetched by Flux, applied."""

from __future__ import annotations

import os
from pathlib import Path

from threezone.cluster.lab import GENTLE_SECONDS, Lab
from threezone.delivery import git_server as server
from threezone.delivery import remote, repository, sync, verdict, wait
from threezone.delivery.repository import Commit
from threezone.flux import components


def deliver(lab: Lab, *, force: bool = False) -> str:
    """Push HEAD, have Flux reconcile it, and wait for exactly that revision. Returns the revision."""
    components.require(components.observe(lab.api))
    commit = repository.head(lab.root, lab.settings.gitops.path)
    push(lab, commit, force=force)
    return reconcile(lab, commit)


def deliver_to_new(lab: Lab, *, reach: bool = False) -> str:
    """As `deliver`, where Flux may still be starting: the commit is pushed meanwhile.

    With `reach`, Flux waits until the Git server's Service leads there: a new server's address spreads slowly.
    """
    commit = repository.head(lab.root, lab.settings.gitops.path)
    push(lab, commit)
    if not (seen := components.observe(lab.api)).ready:
        components.wait_ready(lab.api, [part.name for part in seen.components], GENTLE_SECONDS)
    if reach:
        server.wait_reachable(lab)
    return reconcile(lab, commit)


def push(lab: Lab, commit: Commit, *, force: bool = False) -> None:
    """Push a commit to the branch that Flux follows. Raises DeliveryError without a Git server that takes it.

    Nothing is left behind by a push that failed: it may be tried again.
    """
    gitops = lab.settings.gitops
    if gitops.url:
        remote.push(lab.root, commit, remote.check(gitops.url), gitops.branch, force=force)
        return
    secret = server.password(lab.api, lab.key)
    with server.forwarded(lab) as forward:
        repository.push(
            lab.root, commit, f"http://{forward.address}/{gitops.repository}.git", gitops.branch,
            path=gitops.path, user=server.USER, password=secret, force=force,
        )  # fmt: skip


def reconcile(lab: Lab, commit: Commit) -> str:
    """Have Flux fetch and apply a pushed commit, wait for all that it brings, and return the revision."""
    gitops, at = lab.settings.gitops, sync.target_of(lab)
    if gitops.url and lab.foreign:
        server.make_namespace(lab.api)
    sync.declare(
        lab.api,
        name=gitops.repository,
        url=gitops.url or server.url(gitops.repository),
        branch=gitops.branch,
        path=commit.path,
        namespace=at.namespace,
        secret=give_credentials(lab, at) if gitops.url else "",
    )
    revision = f"{gitops.branch}@sha1:{commit.sha}"
    applied = wait.wait_applied(lab.api, at, revision, sync.request(lab.api, at), gitops.timeout)
    verdict.wait(lab.api, at, gitops.timeout)
    return applied


def give_credentials(lab: Lab, at: sync.Target) -> str:
    """Bring what Flux reads the remote source with into a Secret; without any, what is there already stays.

    Returns the Secret's name, "" when there is none: the repository is public then.
    """
    gitops, name = lab.settings.gitops, f"{at.name}-git"
    path = f"/api/v1/namespaces/{at.namespace}/secrets/{name}"
    file, known_hosts = (lab.root / Path(each).expanduser() for each in (gitops.credentials, gitops.known_hosts))
    found = remote.credentials(gitops.url, file if gitops.credentials else None, known_hosts, os.environ)
    if found is None:
        return name if lab.api.get(path) else ""
    lab.api.apply(path, remote.secret(name, at.namespace, found))
    return name
