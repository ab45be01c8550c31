"""Rows about the lab's Git server, its password and the forward to it."""

from __future__ import annotations

from threezone.clients.kubernetes import pods
from threezone.clients.kubernetes.watch import key_of
from threezone.core.plan import Step, StepKind
from threezone.delivery import git_server
from threezone.doctor.catalogue.cluster import NO_CLUSTER
from threezone.doctor.catalogue.engine import DOWN
from threezone.doctor.catalogue.flux import MOST, objects
from threezone.doctor.catalogue.nodes import NODES_DOWN, PARTS_DOWN, deployment, scale
from threezone.doctor.catalogue.workloads import PODS_DOWN
from threezone.doctor.facts import Facts
from threezone.doctor.row import Evidence, Row, when


def _git(facts: Facts) -> Evidence | None:
    item, zero, line = deployment(facts, git_server.NAMESPACE, git_server.NAME)
    if item is None:
        namespaces = [key_of(each).lstrip("/") for each in (facts.world.namespaces if facts.world else ())]
        if git_server.NAMESPACE not in namespaces or not _uses_git(facts):
            return None
        return Evidence(("there is no Deployment threezone/git",), steps=_serve(facts))
    if zero:
        steps = scale(facts, git_server.NAMESPACE, git_server.NAME)
        return Evidence((line,), steps[0].command, steps)
    own = [
        f"pod {key_of(pod)}: {pods.problem(pod) or 'not ready'}"
        for pod in (facts.world.pods if facts.world else ())
        if pod["metadata"]["namespace"] == git_server.NAMESPACE and not pods.is_ready(pod)
    ]
    return when(line, line, *own[:MOST])


def _uses_git(facts: Facts) -> bool:
    """Whether a source of Flux is on the lab's own Git server."""
    host = f"{git_server.NAME}.{git_server.NAMESPACE}.svc"
    return any(host in str((one.item.get("spec") or {}).get("url")) for one in objects(facts, "GitRepository"))


def _serve(facts: Facts) -> tuple[Step, ...]:
    command = "./run invoke gitops.serve" + facts.subject.option
    return (Step(StepKind.SERVE_GIT, "serve Git in the cluster again", command, asks=facts.subject.foreign),)


def _password(facts: Facts) -> Evidence | None:
    world = facts.world
    if world is None or (world.git_secret is not False and world.git_password is not False):
        return None
    line = "the password here is not the one in the Secret threezone/git-password"
    if world.git_secret is False:
        line = "there is no Secret threezone/git-password"
    return Evidence((line,), steps=_serve(facts))


def _daemons(facts: Facts) -> Evidence | None:
    daemons = facts.here.daemons if facts.here else ()
    steps = tuple(
        Step(StepKind.END_DAEMON, f"end {name}", f"./run invoke gitops.serve --stop-forward{facts.subject.option}",
             target=name)
        for name, _ in daemons
    )  # fmt: skip
    return when(daemons, *(f"{name}: {why}" for name, why in daemons), steps=steps)


ROWS = (
    Row(
        "git-server-down", "delivery", "the lab's Git server does not serve",
        "fatal: unable to access 'http://127.0.0.1:8418/lab.git/': Empty reply from server",
        "Its Deployment is scaled to zero or gone, or its pod cannot start.", "./run invoke gitops.serve",
        "./run invoke gitops.serve", "the Deployment threezone/git", "safe",
        because_of=(*NODES_DOWN, *PARTS_DOWN, *PODS_DOWN), detect=_git,
    ),
    Row(
        "git-password-lost", "delivery", "the password of the lab's Git server is lost",
        "fatal: Authentication failed for 'http://127.0.0.1:8418/lab.git/'",
        "The Secret in the cluster was deleted or changed, or the copy on this machine is old.",
        "./run invoke gitops.serve", "./run invoke gitops.serve",
        "the file here compared with the Secret; neither is shown", "safe", r"Authentication failed for 'http://",
        detect=_password,
    ),
    Row(
        "forward-dangling", "delivery", "a forward or proxy of ours leads nowhere",
        "error: lost connection to pod; Empty reply from server",
        "A daemon on this machine forwards to a cluster that is gone, was created again, or does not answer.",
        "./run invoke gitops.serve --stop-forward", "https://kubernetes.io/docs/reference/kubectl/generated/kubectl_port-forward/",
        "the daemons of this user, and whether they answer", "safe", r"lost connection to pod",
        (*DOWN, *NO_CLUSTER, "git-server-down"), detect=_daemons,
    ),
)  # fmt: skip
