"""The lab's plan carried out. Every step may be run again: it looks before it changes."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import NoReturn

from threezone import process
from threezone.cluster import kind, kubeadm, leftovers, lifecycle
from threezone.cluster.file import quick
from threezone.cluster.settling import ALL_PODS
from threezone.errors import ClusterError, Declined, UsageError
from threezone.events import note, step
from threezone.gitops import delivery, flux, flux_installation, flux_manifests, forward, remote, repository, server
from threezone.gitops.repository import Commit
from threezone.images import build, preload
from threezone.images.docker import Image
from threezone.images.load import cluster_image, load
from threezone.kube import pods
from threezone.kube.client import Json
from threezone.kube.waiting import World, condition, namespace_usable, wait_for
from threezone.lab import connection, git_store, proxy, registry, rescue, restart, standing
from threezone.lab.observe import ALL_DEPLOYMENTS, app_answer
from threezone.lab.session import Session
from threezone.plan import Action
from threezone.tools import install
from threezone.zones import connect as zone
from threezone.zones import place

APP_IMAGE = build.APP  # as local/gitops/apps/hello names it
HOW = {"release": "released files and images, by checksum", "source": "built from Go modules and Debian packages"}
GENTLE_SECONDS = 300.0
PULLED = (
    "push the image to a registry of that cluster and name it with --image, "
    "or set threezone.gitops.url in invoke.yaml to a repository that the cluster reaches"
)


def supplies(session: Session) -> tuple[Action, ...]:
    """What has to be fetched or built before a cluster can be made, with an estimate; empty when all is here."""
    actions = []
    programs = [name for name in install.NAMES if install.find(name, session.asked, session.lab.root) is None]
    if programs:
        actions.append(
            Action("tools", f"get {', '.join(programs)} ({HOW[session.channel]})", "./run invoke tools.install")
        )
    present = build.observe(session.images, session.channel)
    lacking = [name for name in session.images if name not in present]
    if lacking:
        minutes = build.plan(lacking, session.channel).seconds / 60
        how = f"{HOW[session.channel]}, about {max(1, round(minutes))} min"
        command = f"./run invoke image.build {lacking[0] if len(lacking) == 1 else 'all'}"
        actions.append(Action("images", f"get the images {', '.join(lacking)} ({how})", command))
    elif not preload.observe(session.images, session.channel, present)[1]:
        sentence = (
            f"put Flux, the Git server and the sample app into the node image (once, about {preload.ABOUT_SECONDS} s)"
        )
        actions.append(Action("images", sentence, f"./run invoke image.build {preload.NAME}"))
    return tuple(actions)


def get_images(session: Session) -> None:
    """Get every image at once, so that what can overlap does, and the node image that holds the others."""
    preload.ensure(session.images, session.channel)


def delete(session: Session) -> None:
    """Remove the cluster's nodes."""
    lifecycle.delete(session.lab.name, session.tools["kind"])


def create(session: Session) -> None:
    """Get the node image and create the cluster; nothing is asked of the user's kubeconfig here."""
    kind_path = session.tools["kind"]
    lifecycle.preflight(session.declared, session.overlays, session.engine)
    node, inside = examined(session)
    image = cluster_image(node.reference, session.lab.name, session.kubernetes, quick.files())
    session.fresh = lifecycle.create(
        session.lab.name, session.declared, session.overlays, kind=kind_path, image=image, retain=session.retain
    )
    session.inside = inside
    if told := kubeadm.check_made(session.declared, session.lab.name):
        note(told)


def examined(session: Session) -> tuple[Image, frozenset[str]]:
    """The node image with the names of the lab's images in it; its kubeadm and kubelet take what is declared."""
    node, inside = preload.ensure(session.images, session.channel)
    kubeadm.check(session.declared, node.reference, session.kubernetes)
    return node, inside


def recreate(session: Session) -> None:
    """Delete a cluster that is to be made anew. From here on it counts as interrupted: any later `up` makes it anew."""
    found = kind.nodes(session.lab.name)
    lifecycle.preflight(session.declared, session.overlays, session.engine, going=found)
    examined(session)  # what cannot be made costs no cluster
    for node in found:
        if node.role == "control-plane" and node.state == "running":
            kind.unmark(node)
    delete(session)


def ready(session: Session) -> bool:
    """Wait until every node is Ready, then mark the cluster as created to the end. False: a pod network is lacking."""
    complete = nodes_ready(session)
    mark(session)
    return complete


def nodes_ready(session: Session) -> bool:
    """Wait until every node is Ready, and tell them of the local registry. False: a pod network is lacking.

    It is the user's to install where kind's own is declared off, so that it is not waited for.
    """
    world = lifecycle.wait_ready(
        session.api,
        expected=len(session.declared.nodes),
        version=session.kubernetes,
        seconds=session.lab.settings.cluster.ready_timeout,
        pod_network=session.declared.pod_network,
    )
    registry.tell(session)
    waiting = [
        node["metadata"]["name"] for node in world[lifecycle.NODES].values() if lifecycle.only_lacks_network(node)
    ]
    if waiting:
        note(f"{', '.join(waiting)}: not Ready until you install a pod network, for disableDefaultCNI is declared")
    return not waiting


def mark(session: Session) -> None:
    """Mark the cluster as created to the end. Until then it counts as interrupted, and `up` makes it anew."""
    planes = [node for node in kind.nodes(session.lab.name) if node.role == "control-plane"]
    for node in planes:
        kind.mark(node, standing.mark(session) if session.fresh else "")
    if session.fresh:
        standing.annotate(session, planes)


def no_pod_network(session: Session) -> ClusterError:
    """Why nothing can run in a cluster whose nodes only lack their pod network."""
    return ClusterError(
        f"the cluster {session.lab.name} runs, but no pod can: its pod network is yours to install, for "
        f"disableDefaultCNI is declared ({session.declared.spots.at('networking', 'disableDefaultCNI')})",
        fix=f"kubectl --context {session.lab.context} apply --filename YOUR-CNI.yaml && ./run invoke up",
    )


def load_images(session: Session, wanted: Sequence[Image], fix: str = PULLED) -> None:
    """Put images into every node that lacks them. Raises UsageError where the nodes are not the engine's here."""
    cluster = session.kind_cluster
    if not cluster:
        names = ", ".join(image.reference for image in wanted)
        raise UsageError(
            f"the nodes of {session.lab.context} are no nodes of kind's on the engine here: they get no image from it",
            evidence=f"needed there: {names}",
            fix=fix,
        )
    if missing := [image for image in wanted if image.reference.partition("@")[0] not in session.inside]:
        nodes = [n.name for n in kind.nodes(cluster) if n.role in ("control-plane", "worker")]
        load(session.tools["kind"], cluster, nodes, missing)


@functools.cache
def flux_objects(program: Path, components: tuple[str, ...], *, ours: bool = True) -> list[Json]:
    """The objects that the CLI carries for these components; `ours` with what we make quicker."""
    manifest = flux_manifests.export(program, components, flux.NAMESPACE)
    return flux_manifests.parse(flux_manifests.impatient(manifest) if ours else manifest)


def plan_flux(session: Session, asked: Sequence[str] = ()) -> tuple[flux_installation.Plan, list[Json]]:
    """What installs the asked components (none: those that run, or the channel's), and the objects that it applies."""
    seen = flux_installation.observe(session.api)
    components = flux_installation.choose(asked, session.channel, seen)
    objects = flux_objects(session.tools["flux"], components)
    # What we like better is no reason to take a Flux of others over.
    compared = flux_objects(session.tools["flux"], components, ours=False) if seen and not seen.ours else objects
    changes = flux_manifests.changes(session.api, compared) if seen else ()
    version = flux_manifests.version(objects)
    return flux_installation.plan(seen, flux.NAMESPACE, version, components, changes), objects


def install_flux(session: Session) -> None:
    """Apply the components that run, or the channel's, and wait for none. Raises Declined for a Flux of others."""
    plan, objects = plan_flux(session)
    if asking := [action for action in plan.actions if action.asks]:
        raise Declined(f"left alone, for it needs a yes: {asking[0].sentence}", fix="./run invoke flux.install --yes")
    apply_flux(session, [action for action in plan.actions if action.key == "flux.apply"], objects)


def apply_flux(session: Session, actions: Sequence[Action], objects: list[Json]) -> None:
    """Carry a plan of `plan_flux` out."""
    components = flux_manifests.components(objects)
    if actions and session.channel == "source":
        load_images(session, build.ensure("flux", session.channel), "./run invoke flux.install --channel release")
    for action in actions:
        if action.key == "flux.apply":
            with step("install Flux") as running:
                namespace_usable(session.api, flux.NAMESPACE)  # after an uninstall it takes a while to go
                flux_manifests.apply(session.api, objects)
                running.result = f"{len(objects)} objects"
        else:
            flux.wait_ready(session.api, components, GENTLE_SECONDS)


def serve(session: Session, repository: str = "", image: str = "") -> tuple[str, ...]:
    """Serve Git in the cluster, with `repository` beside those that are served, and wait. Returns all of them."""
    repositories = start_git(session, repository, image)
    wait_git(session)
    reach_git(session)
    return repositories


def wait_git(session: Session) -> None:
    """Wait until the Git server takes a push. Whether Flux reaches it is asked later: meanwhile its address spreads."""
    server.wait_ready(session.api, GENTLE_SECONDS)
    session.to_reach = True


def reach_git(session: Session) -> None:
    """Wait until the Git server answers at its Service's address, as Flux will ask there."""
    server.reach(session.api, session.tools["kubectl"], session.lab.context)
    session.to_reach = False


def start_git(session: Session, repository: str = "", image: str = "") -> tuple[str, ...]:
    """Have the Git server in the cluster, without waiting for it. Returns the repositories that it serves.

    The sample app's image comes along, so that a commit finds it in the node. `image` names a Git server's image that
    the cluster pulls itself: then nothing is loaded.
    """
    name = server.repository_name(repository or session.lab.settings.gitops.repository)
    if not image:
        made = build.ensure_all(("git-server", "hello"), session.channel)
        (git,), (hello,) = made["git-server"], made["hello"]
        # Built images are named by their content; what stands in a commit needs a name that lasts.
        process.run(["docker", "tag", hello.reference, APP_IMAGE], timeout=30)
        load_images(session, (git, replace(hello, reference=APP_IMAGE)))
        image = git.reference
    secret = server.password(session.api, session.lab.key)
    more = rescue.names(session.lab.key)
    node = git_store.prepare(session)
    return server.serve(session.api, image=image, repository=name, secret=secret, more=more, node=node)


def plan_remove(session: Session) -> tuple[Action, ...]:
    """What removes the Git server; a question, for the commits in it may be nowhere else."""
    if not server.is_here(session.api):
        return ()
    held = ", ".join(server.served(session.api.get(f"{server.DEPLOYMENTS}/{server.NAME}"))) or "none"
    sentence = f"remove the Git server of {session.lab.context} with its repositories ({held}) and what they delivered"
    return (Action("git", sentence, f"kubectl delete namespace {server.NAMESPACE}", asks=True),)


def remove(session: Session) -> bool:
    """Remove the Git server, and what Flux applied from it; False when there is none of ours."""
    import shutil

    forward.close(session.lab.context)
    shutil.rmtree(server.password_file(session.lab.key).parent, ignore_errors=True)
    if not server.is_here(session.api):
        return False
    with step("remove the Git server and what it delivered"):
        # The Kustomization first: it takes what it applied with it, as long as its source and Flux are there.
        delivery.forget(session.api, session.lab.delivery, GENTLE_SECONDS)
        git_store.take_down(session, lambda: server.remove(session.api, GENTLE_SECONDS))
    return True


def deliver(session: Session, *, force: bool = False) -> str:
    """Push HEAD, have Flux reconcile it, and wait for exactly that revision. Returns the revision."""
    flux.require(flux.observe(session.api))
    commit = repository.head(session.lab.root, session.lab.settings.gitops.path)
    push(session, commit, force=force)
    return reconcile(session, commit)


def deliver_to_new(session: Session) -> str:
    """As `deliver`, where Flux may still be starting: the commit is pushed meanwhile."""
    commit = repository.head(session.lab.root, session.lab.settings.gitops.path)
    push(session, commit)
    if not (seen := flux.observe(session.api)).ready:
        flux.wait_ready(session.api, [part.name for part in seen.components], GENTLE_SECONDS)
    if session.to_reach:
        reach_git(session)
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
    delivery.declare(
        session.api,
        name=gitops.repository,
        url=gitops.url or server.url(gitops.repository),
        branch=gitops.branch,
        path=commit.path,
        namespace=at.namespace,
        secret=give_credentials(session, at) if gitops.url else "",
    )
    revision = f"{gitops.branch}@sha1:{commit.sha}"
    return delivery.wait_applied(session.api, at, revision, delivery.request(session.api, at), gitops.timeout)


def give_credentials(session: Session, at: delivery.Target) -> str:
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


def unsettled(world: World) -> list[str]:
    """The judge of a settled lab: every Deployment available; a pod that never can be ends the wait. Pure."""
    broken = pods.missing(world[ALL_PODS].values())
    lines = [
        f"deployment {key}"
        for key, item in world[ALL_DEPLOYMENTS].items()
        if condition(item, "Available").get("status") != "True"
    ]
    return lines + [line for line in broken if "kube-system/" in line] if lines or broken else []


def settle(session: Session) -> None:
    """One true wait at the end: every workload of the cluster, CoreDNS included."""
    with step("wait until every workload is available"):
        wait_for(session.api, [ALL_DEPLOYMENTS, ALL_PODS], unsettled, seconds=GENTLE_SECONDS, what="the lab")


STEPS: dict[str, Callable[[Session], object]] = {
    "tools": lambda session: session.tools,
    "images": get_images,
    "delete": delete,
    "labels": standing.relabel,
    "rescue": rescue.take,
    "recreate": recreate,
    "create": create,
    "start": restart.start,
    "revive": restart.revive,
    "connect": connection.connect_lab,
    "git": start_git,
    "flux": install_flux,
    "serve": wait_git,
    "restore": rescue.put_back,
    "deliver": deliver_to_new,
    "settle": settle,
}


def apply(session: Session, actions: Sequence[Action]) -> None:
    """Carry out a plan in its order; what does not wait for another goes on beside it.

    Actions without a step of their own (announcements) are only said.
    """
    keys = {action.key for action in actions}
    fresh = {"create", "flux", "git"} <= keys  # with every image in its nodes
    started: dict[str, Future[object]] = {}
    with ThreadPoolExecutor(2) as beside:
        for action in actions:
            if fresh and action.key == "create":
                # It asks no cluster and takes a second: there is one to spare while kind works.
                beside.submit(flux_objects, session.tools["flux"], flux_installation.choose((), session.channel, None))
            if fresh and action.key == "flux":
                started["git"] = beside.submit(STEPS["git"], session)
            if action.key in started:
                started[action.key].result()
            elif action.key == "ready":
                complete = nodes_ready(session)
                started["mark"] = beside.submit(mark, session)
                if not complete:
                    raise no_pod_network(session)
            elif action.key in STEPS:
                STEPS[action.key](session)
            else:
                note(action.sentence)
        for each in started.values():
            each.result()


def answer(session: Session) -> str:
    """What the sample app answers over HTTP now."""
    return app_answer(session.api, session.lab.settings.app)


def open_app(session: Session, port: int, opened: Callable[[str], None]) -> NoReturn:
    """Keep the app open on a loopback port; `opened` is told each address. Ends by Ctrl-C, or when it cannot be opened.

    A forward ends with its pod, and a new text brings a new pod: it is opened again, on the same port.
    """
    app = session.lab.settings.app
    where = (session.tools["kubectl"], session.lab.context, app.namespace, f"service/{app.service}", app.port)
    while True:
        with repository.forwarded(*where, local=port) as forward:
            opened(forward.address)
            port = int(forward.address.rpartition(":")[2])
            forward.wait()


def down(session: Session, *, ours: bool) -> None:
    """Remove what `up` made: the cluster, its leavings, the kubeconfig entry, our network attachment, our state."""
    import shutil

    if ours:
        lifecycle.delete(session.lab.name, session.tools["kind"])
    with step(f"remove the context {session.lab.context}") as running:
        running.result = "" if zone.disconnect(session.lab.name) else "there was none"
    leftovers.remove(leftovers.observe(session.lab.name))
    forward.close(session.lab.context)
    proxy.stop(session.lab.context)
    shutil.rmtree(server.password_file(session.lab.key).parent, ignore_errors=True)
    if ours:
        place.forget(session.lab.name)
