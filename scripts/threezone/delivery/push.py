"""Push a commit, and have Flux deliver it."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from threezone.cluster.lab import WAIT_SECONDS, Lab
from threezone.delivery import git_server as server
from threezone.delivery import handover, remote, repository, serve, sync, wait
from threezone.delivery.repository import Commit
from threezone.delivery.secrets import age_key
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
    if not (flux := components.observe(lab.api)).ready:
        components.wait_ready(lab.api, flux.names, WAIT_SECONDS)
    if reach:
        server.wait_reachable(lab)
    return reconcile(lab, commit)


def push(lab: Lab, commit: Commit, *, branch: str = "", force: bool = False) -> None:
    """Push a commit to the branch that Flux follows, or another one. Raises DeliveryError where no server takes it.

    A push that failed may be tried again.
    """
    gitops = lab.settings.gitops
    if gitops.url:
        remote.push(lab.root, commit, remote.check(gitops.url), gitops.branch, force=force)
        return
    deployment = server.find_deployment(lab.api)
    if deployment and gitops.repository not in server.repositories(deployment):  # the setting was changed
        serve.start(lab, image=server.image(deployment))
        server.wait_ready(lab.api, WAIT_SECONDS)
        server.wait_reachable(lab)
    secret = server.password(lab.api, lab.key)
    with server.forwarded(lab) as forward:
        repository.push(
            lab.root, commit, f"http://{forward.address}/{gitops.repository}.git", branch or gitops.branch,
            path=gitops.path, user=server.USER, password=secret, force=force,
        )  # fmt: skip


def reconcile(lab: Lab, commit: Commit, newest: Callable[[], str] = lambda: "") -> str:
    """Have Flux fetch and apply a pushed commit, wait for all that it brings, and return the revision.

    The wait ends with Overtaken when `newest` names a commit that is wanted instead.
    """
    gitops, target = lab.settings.gitops, sync.target_of(lab)
    if gitops.url and lab.foreign:
        server.make_namespace(lab.api)
    old = handover.former(handover.observe(lab.api, target), target)
    held = handover.release(lab.api, old) if old else ()
    sync.declare(
        lab.api,
        name=gitops.repository,
        url=gitops.url or server.url(gitops.repository),
        branch=gitops.branch,
        path=commit.path,
        namespace=target.namespace,
        secret=give_credentials(lab, target) if gitops.url else "",
        decryption=age_key.give(lab),
    )
    revision = f"{gitops.branch}@sha1:{commit.sha}"
    history = repository.history(lab.root, revision, newest)
    stamp = sync.request(lab.api, target)
    applied = wait.wait_delivered(lab.api, target, revision, stamp, gitops.timeout, history=history)
    if old:
        handover.finish(lab.api, target, old, held)
    return applied


def give_credentials(lab: Lab, target: sync.Target) -> str:
    """Write the credentials of the remote source into a Secret for Flux; without any, an existing Secret stays.

    Returns the Secret's name, "" when there is none: the repository is public then.
    """
    gitops, name = lab.settings.gitops, f"{target.name}-git"
    path = f"/api/v1/namespaces/{target.namespace}/secrets/{name}"
    file, known_hosts = (lab.root / Path(each).expanduser() for each in (gitops.credentials, gitops.known_hosts))
    credentials = remote.credentials(gitops.url, file if gitops.credentials else None, known_hosts, os.environ)
    if credentials is None:
        return name if lab.api.get(path) else ""
    lab.api.apply(path, remote.secret(name, target.namespace, credentials))
    return name
