"""A commit on its way: pushed, fetched by Flux, applied."""

from __future__ import annotations

import os
from pathlib import Path

from threezone.cluster.context import GENTLE_SECONDS, Session
from threezone.delivery import git_server as server
from threezone.delivery import remote, repository, serve, sync, wait
from threezone.delivery.repository import Commit
from threezone.flux import components


def deliver(session: Session, *, force: bool = False) -> str:
    """Push HEAD, have Flux reconcile it, and wait for exactly that revision. Returns the revision."""
    components.require(components.observe(session.api))
    commit = repository.head(session.lab.root, session.lab.settings.gitops.path)
    push(session, commit, force=force)
    return reconcile(session, commit)


def deliver_to_new(session: Session) -> str:
    """As `deliver`, where Flux may still be starting: the commit is pushed meanwhile."""
    commit = repository.head(session.lab.root, session.lab.settings.gitops.path)
    push(session, commit)
    if not (seen := components.observe(session.api)).ready:
        components.wait_ready(session.api, [part.name for part in seen.components], GENTLE_SECONDS)
    if session.to_reach:
        serve.reach(session)
    return reconcile(session, commit)


def push(session: Session, commit: Commit, *, force: bool = False) -> None:
    """Push a commit to the branch that Flux follows. Raises DeliveryError without a Git server that takes it.

    Nothing is left behind by a push that failed: it may be tried again.
    """
    gitops = session.lab.settings.gitops
    if gitops.url:
        remote.push(session.lab.root, commit, remote.check(gitops.url), gitops.branch, force=force)
        return
    secret = server.password(session.api, session.lab.key)
    with repository.forwarded(
        session.tools["kubectl"], session.lab.context, server.NAMESPACE, f"service/{server.NAME}", 80
    ) as forward:
        repository.push(
            session.lab.root, commit, f"http://{forward.address}/{gitops.repository}.git", gitops.branch,
            path=gitops.path, user=server.USER, password=secret, force=force,
        )  # fmt: skip


def reconcile(session: Session, commit: Commit) -> str:
    """Have Flux fetch and apply a pushed commit and wait for exactly that revision, which is returned."""
    gitops, at = session.lab.settings.gitops, session.lab.delivery
    if gitops.url and session.lab.foreign:
        server.make_namespace(session.api)
    sync.declare(
        session.api,
        name=gitops.repository,
        url=gitops.url or server.url(gitops.repository),
        branch=gitops.branch,
        path=commit.path,
        namespace=at.namespace,
        secret=give_credentials(session, at) if gitops.url else "",
    )
    revision = f"{gitops.branch}@sha1:{commit.sha}"
    return wait.wait_applied(session.api, at, revision, sync.request(session.api, at), gitops.timeout)


def give_credentials(session: Session, at: sync.Target) -> str:
    """Bring what Flux reads the remote source with into a Secret; without any, what is there already stays.

    Returns the Secret's name, "" when there is none: the repository is public then.
    """
    gitops, name = session.lab.settings.gitops, f"{at.name}-git"
    path = f"/api/v1/namespaces/{at.namespace}/secrets/{name}"
    file, known_hosts = (
        session.lab.root / Path(each).expanduser() for each in (gitops.credentials, gitops.known_hosts)
    )
    found = remote.credentials(gitops.url, file if gitops.credentials else None, known_hosts, os.environ)
    if found is None:
        return name if session.api.get(path) else ""
    session.api.apply(path, remote.secret(name, at.namespace, found))
    return name
