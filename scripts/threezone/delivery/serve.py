"""The lab's Git server: in the cluster, reached by a push and by Flux, and taken away again."""

from __future__ import annotations

from threezone.cluster import node_images
from threezone.cluster.lab import GENTLE_SECONDS, Lab
from threezone.core.events import step
from threezone.core.plan import Step, StepKind
from threezone.delivery import git_backup, git_forward, git_server, git_storage, sync
from threezone.images import build


def serve(lab: Lab, repository: str = "", image: str = "") -> tuple[str, ...]:
    """Serve Git in the cluster, with `repository` beside those that are served, and wait. Returns all of them."""
    repositories = start(lab, repository, image)
    git_server.wait_ready(lab.api, GENTLE_SECONDS)
    reach(lab)
    return repositories


def wait(lab: Lab) -> None:
    """Wait until the Git server takes a push. Whether Flux reaches it is asked later: meanwhile its address spreads."""
    git_server.wait_ready(lab.api, GENTLE_SECONDS)


def reach(lab: Lab) -> None:
    """Wait until the Git server answers at its Service's address, as Flux will ask there."""
    git_server.reach(lab.api, lab.tools["kubectl"], lab.context)


def start(lab: Lab, repository: str = "", image: str = "", present: frozenset[str] = frozenset()) -> tuple[str, ...]:
    """Have the Git server in the cluster, without waiting for it. Returns the repositories that it serves.

    The sample app's image comes along, so that a commit finds it in the node. `image` names a Git server's image that
    the cluster pulls itself: then nothing is loaded. `present` are images that every node is known to have.
    """
    name = git_server.repository_name(repository or lab.settings.gitops.repository)
    if not image:
        made = build.ensure_all(("git-server", "hello"), lab.channel)
        (git,), (hello,) = made["git-server"], made["hello"]
        node_images.load_missing(lab, (git, node_images.lasting(hello)), present=present)
        image = git.reference
    secret = git_server.password(lab.api, lab.key)
    more = git_backup.names(lab.key)
    node = git_storage.prepare(lab)
    return git_server.serve(lab.api, image=image, repository=name, secret=secret, more=more, node=node)


def plan_remove(lab: Lab) -> tuple[Step, ...]:
    """What removes the Git server; a question, for the commits in it may be nowhere else."""
    if not git_server.is_here(lab.api):
        return ()
    held = ", ".join(git_server.served(lab.api.get(f"{git_server.DEPLOYMENTS}/{git_server.NAME}"))) or "none"
    sentence = f"remove the Git server of {lab.context} with its repositories ({held}) and what they delivered"
    return (Step(StepKind.REMOVE_GIT, sentence, f"kubectl delete namespace {git_server.NAMESPACE}", asks=True),)


def remove(lab: Lab) -> bool:
    """Remove the Git server, and what Flux applied from it; False when there is none of ours."""
    git_forward.close(lab.context)
    git_server.forget(lab.key)
    if not git_server.is_here(lab.api):
        return False
    with step("remove the Git server and what it delivered"):
        # The Kustomization first: it takes what it applied with it, as long as its source and Flux are there.
        sync.forget(lab.api, sync.target_of(lab), GENTLE_SECONDS)
        git_storage.take_down(lab, lambda: git_server.remove(lab.api, GENTLE_SECONDS))
    return True
