"""The lab's Git server: in the cluster, reached by a push and by Flux, and taken away again."""

from __future__ import annotations

from threezone.cluster import node_images
from threezone.cluster.context import GENTLE_SECONDS, Session
from threezone.core.events import step
from threezone.core.plan import Action
from threezone.delivery import git_backup, git_forward, git_server, git_storage, sync
from threezone.images import build


def serve(session: Session, repository: str = "", image: str = "") -> tuple[str, ...]:
    """Serve Git in the cluster, with `repository` beside those that are served, and wait. Returns all of them."""
    repositories = start(session, repository, image)
    wait(session)
    reach(session)
    return repositories


def wait(session: Session) -> None:
    """Wait until the Git server takes a push. Whether Flux reaches it is asked later: meanwhile its address spreads."""
    git_server.wait_ready(session.api, GENTLE_SECONDS)
    session.to_reach = True


def reach(session: Session) -> None:
    """Wait until the Git server answers at its Service's address, as Flux will ask there."""
    git_server.reach(session.api, session.tools["kubectl"], session.lab.context)
    session.to_reach = False


def start(session: Session, repository: str = "", image: str = "") -> tuple[str, ...]:
    """Have the Git server in the cluster, without waiting for it. Returns the repositories that it serves.

    The sample app's image comes along, so that a commit finds it in the node. `image` names a Git server's image that
    the cluster pulls itself: then nothing is loaded.
    """
    name = git_server.repository_name(repository or session.lab.settings.gitops.repository)
    if not image:
        made = build.ensure_all(("git-server", "hello"), session.channel)
        (git,), (hello,) = made["git-server"], made["hello"]
        node_images.load_missing(session, (git, node_images.lasting(hello)))
        image = git.reference
    secret = git_server.password(session.api, session.lab.key)
    more = git_backup.names(session.lab.key)
    node = git_storage.prepare(session)
    return git_server.serve(session.api, image=image, repository=name, secret=secret, more=more, node=node)


def plan_remove(session: Session) -> tuple[Action, ...]:
    """What removes the Git server; a question, for the commits in it may be nowhere else."""
    if not git_server.is_here(session.api):
        return ()
    held = ", ".join(git_server.served(session.api.get(f"{git_server.DEPLOYMENTS}/{git_server.NAME}"))) or "none"
    sentence = f"remove the Git server of {session.lab.context} with its repositories ({held}) and what they delivered"
    return (Action("git", sentence, f"kubectl delete namespace {git_server.NAMESPACE}", asks=True),)


def remove(session: Session) -> bool:
    """Remove the Git server, and what Flux applied from it; False when there is none of ours."""
    import shutil

    git_forward.close(session.lab.context)
    shutil.rmtree(git_server.password_file(session.lab.key).parent, ignore_errors=True)
    if not git_server.is_here(session.api):
        return False
    with step("remove the Git server and what it delivered"):
        # The Kustomization first: it takes what it applied with it, as long as its source and Flux are there.
        sync.forget(session.api, session.lab.delivery, GENTLE_SECONDS)
        git_storage.take_down(session, lambda: git_server.remove(session.api, GENTLE_SECONDS))
    return True
